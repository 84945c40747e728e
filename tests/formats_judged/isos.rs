//! ISO 9660, written for others and read from them.

use std::fs::{self, File};
use std::io::Read;

use kuth::format::iso9660;

use crate::tools::{text, tool, verdict};

/// A seed with a directory, a long name and a file of many sectors.
fn seed() -> iso9660::Volume {
    let file = |path: &str, bytes: Vec<u8>| iso9660::File { path: path.into(), bytes };
    iso9660::Volume {
        label: "cidata".into(),
        time: 1_767_225_600,
        files: vec![
            file("user-data", b"#cloud-config\nhostname: a\n".to_vec()),
            file("meta-data", b"instance-id: 1\n".to_vec()),
            file("network-config", b"version: 2\n".to_vec()),
            file("openstack/latest/a-rather-long-name.with.dots.json", vec![b'x'; 70_001]),
            file("empty", Vec::new()),
        ],
    }
}

#[test]
fn iso_passes_blkid_and_xorriso() {
    let dir = tempfile::tempdir().unwrap();
    let volume = seed();
    let disk = dir.path().join("seed.iso");
    fs::write(&disk, volume.write().unwrap()).unwrap();
    if let Some(out) = tool("blkid", &["-p", "-o", "export", text(&disk)]) {
        assert!(out.contains("TYPE=iso9660") && out.contains("LABEL=cidata"), "{out}");
    }
    // Once by Rock Ridge, once by Joliet.
    for view in ["any", "norock"] {
        let out = dir.path().join(view);
        let args = [
            "-read_fs",
            view,
            "-osirrox",
            "on",
            "-indev",
            text(&disk),
            "-extract",
            "/",
            text(&out),
        ];
        let Some((success, said, err)) = verdict("xorriso", &args) else { return };
        assert!(success && !err.contains("WARNING") && !err.contains("FAILURE"), "{said}{err}");
        if view == "any" {
            assert!(err.contains("Volume id    : 'cidata'"), "{said}{err}");
        }
        for file in &volume.files {
            let read = fs::read(out.join(&file.path)).unwrap();
            assert_eq!(read, file.bytes, "{} by {view}", file.path);
        }
    }
    if let Some(out) = tool("isoinfo", &["-d", "-i", text(&disk)]) {
        assert!(out.contains("Joliet with UCS level 3") && out.contains("Rock Ridge"), "{out}");
    }
}

#[test]
fn xorriso_s_images_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    let name = "n".repeat(200);
    fs::write(tree.join("a/b").join(&name), vec![7; 5000]).unwrap();
    for i in 0..100 {
        fs::write(tree.join(format!("a/file-{i}.txt")), format!("{i}")).unwrap();
    }
    std::os::unix::fs::symlink("../x/y", tree.join("a/link")).unwrap();
    let disk = dir.path().join("x.iso");
    let args = ["-as", "mkisofs", "-quiet", "-R", "-J", "-V", "FROM_XORRISO", "-o", text(&disk)];
    let args = [&args[..], &[text(&tree)]].concat();
    if tool("xorriso", &args).is_none() {
        return;
    }
    let mut image = iso9660::Image::open(File::open(&disk).unwrap()).unwrap();
    assert_eq!(image.label(), "FROM_XORRISO");
    let directory = image.find("a").unwrap().unwrap();
    assert_eq!(image.entries(&directory).unwrap().len(), 102);
    let link = image.find("a/link").unwrap().unwrap();
    assert_eq!(link.kind, iso9660::Kind::Link("../x/y".into()));
    let file = image.find(&format!("a/b/{name}")).unwrap().unwrap();
    let mut bytes = Vec::new();
    image.contents(&file).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, vec![7; 5000]);
    let file = image.find("a/file-57.txt").unwrap().unwrap();
    let mut bytes = String::new();
    image.contents(&file).read_to_string(&mut bytes).unwrap();
    assert_eq!(bytes, "57");
}
