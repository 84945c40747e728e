//! Archives that the usual tools make, of a directory with what directories have.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use kuth::archive::extract::members;
use kuth::digest::Digest;
use kuth::units::Bytes;

use crate::bench::Bench;
use kuth_test_support::judge::tool_in;

/// Makes `root` with files large and small, links, modes, a sparse file and long names.
fn fill(root: &Path) {
    let deep = root.join("a").join("d".repeat(90)).join("e".repeat(90));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("f"), "deep\n").unwrap();
    std::fs::write(root.join("empty"), "").unwrap();
    let noise: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(i >> 7) >> 3) as u8).collect();
    std::fs::write(root.join("noise"), noise).unwrap();
    std::fs::set_permissions(root.join("noise"), PermissionsExt::from_mode(0o750)).unwrap();
    std::fs::hard_link(root.join("noise"), root.join("a/again")).unwrap();
    symlink("../noise", root.join("a/link")).unwrap();
    let disk = File::create(root.join("disk.img")).unwrap();
    disk.set_len(200 << 20).unwrap();
    for at in [0, 5 << 20, (90 << 20) + 7, (200 << 20) - 3] {
        disk.write_all_at(b"abc", at).unwrap();
    }
    // More parts than a header and a block behind it hold.
    for at in 0..40 {
        disk.write_all_at(&[7; 5000], (100 << 20) + at * (1 << 18)).unwrap();
    }
    for (name, length, data) in [
        ("all hole", (3 << 20) + 5, None),
        ("hole first", (2 << 20) + 700, Some(2 << 20)),
        ("hole last", (2 << 20) + 701, Some(0)),
    ] {
        let file = File::create(root.join(name)).unwrap();
        file.set_len(length).unwrap();
        if let Some(at) = data {
            file.write_all_at(&[9; 700], at).unwrap();
        }
    }
}

#[test]
fn every_way_to_make_an_archive_gives_one_directory() {
    let bench = Bench::new();
    fill(&bench.path("in"));
    let ways: [(&str, &[&str]); 10] = [
        ("gnu.tar", &["--format=gnu"]),
        ("ustar.tar", &["--format=ustar", "--sort=name"]),
        ("pax.tar", &["--format=pax"]),
        ("sparse-old.tar", &["-S", "--format=gnu"]),
        ("sparse-1.0.tar", &["-S", "--format=pax", "--sparse-version=1.0"]),
        ("sparse-0.1.tar", &["-S", "--format=pax", "--sparse-version=0.1"]),
        ("sparse-0.0.tar", &["-S", "--format=pax", "--sparse-version=0.0"]),
        ("x.tar.bz2", &["-S", "-j"]),
        ("x.tar.xz", &["-J"]),
        ("x.tar.gz", &["-z"]),
    ];
    let mut expected = None;
    for (name, options) in ways {
        let path = bench.path(name);
        let args = [&["-c", "-f", path.to_str().unwrap()], options, &["-C", "in", "."]].concat();
        if tool_in(bench.directory.path(), "tar", &args).is_none() {
            return;
        }
        let kept = format!("{name}.kept");
        let unpacked = bench.unpack(&path, &kept, None).unwrap();
        assert_eq!(unpacked.digest, Digest::of(std::fs::read(bench.path(&kept)).unwrap()));
        // The noise, and a few blocks of the files with holes.
        assert!(unpacked.size < Bytes(3_000_000 + (52 << 16) + 24_000), "{name}: {unpacked:?}");
        assert_eq!(*expected.get_or_insert(unpacked), unpacked, "{name}");
    }
    if tool_in(bench.directory.path(), "zstd", &["-q", "gnu.tar", "-o", "x.tar.zst"]).is_some() {
        let unpacked = bench.unpack(&bench.path("x.tar.zst"), "zst.kept", None).unwrap();
        assert_eq!(Some(unpacked), expected);
    }
}

#[test]
fn the_kept_directory_is_read_by_others_too() {
    let bench = Bench::new();
    fill(&bench.path("in"));
    let directory = bench.directory.path();
    if tool_in(directory, "tar", &["-c", "-S", "-f", "x.tar", "-C", "in", "."]).is_none() {
        return;
    }
    let ours = bench.unpacked(&bench.path("x.tar"));
    let kept = bench.path("kept.tar");
    let kept = kept.to_str().unwrap();
    let theirs = bench.made_by("tar", &["-x", "-f", kept]).unwrap();
    assert_eq!(ours, theirs);
    let python = ["-m", "tarfile", "-e", kept];
    if let Some(theirs) = bench.made_by("python3", &python) {
        // Python gives every directory the mode 700 until the end, but keeps the files' contents.
        let contents = |listed: &std::collections::BTreeMap<std::path::PathBuf, String>| {
            let files = listed.iter().filter(|(_, text)| text.starts_with("file"));
            files
                .map(|(name, text)| (name.clone(), text.rsplit(' ').next().unwrap().to_string()))
                .collect::<Vec<_>>()
        };
        assert_eq!(contents(&ours), contents(&theirs));
    }
    let disk = bench.path("kuth/disk.img").metadata().unwrap();
    assert!(disk.blocks() * 512 < 8 << 20, "holes stay holes: {}", disk.blocks());
    let members = members(&bench.path("kept.tar")).unwrap();
    let disk = members.iter().find(|member| member.path == Path::new("disk.img")).unwrap();
    assert_eq!(disk.size, Bytes::mib(200));
}

#[test]
fn a_zip_is_read_as_unzip_reads_it() {
    let bench = Bench::new();
    let root = bench.path("in");
    std::fs::create_dir_all(root.join("d")).unwrap();
    std::fs::write(root.join("d/one"), "text ".repeat(10_000)).unwrap();
    std::fs::write(root.join("two"), [0, 1, 2]).unwrap();
    std::fs::set_permissions(root.join("two"), PermissionsExt::from_mode(0o711)).unwrap();
    symlink("d/one", root.join("link")).unwrap();
    if tool_in(&root, "zip", &["-q", "-r", "-y", "../x.zip", "."]).is_none() {
        return;
    }
    let ours = bench.unpacked(&bench.path("x.zip"));
    let path = bench.path("x.zip");
    let Some(theirs) = bench.made_by("unzip", &["-q", path.to_str().unwrap()]) else { return };
    assert_eq!(ours, theirs);
}

#[test]
fn a_zip_of_windows_has_its_directories_and_the_letters_of_its_names() {
    let bench = Bench::new();
    let root = bench.path("in");
    std::fs::create_dir_all(&root).unwrap();
    let names = ["one_file", "gr_n", "plain"];
    for name in names {
        std::fs::write(root.join(name), "text").unwrap();
    }
    let args = [&["-q", "-X", "../x.zip"][..], &names].concat();
    if tool_in(&root, "zip", &args).is_none() {
        return;
    }
    let mut zip = std::fs::read(bench.path("x.zip")).unwrap();
    for at in 0..zip.len() - 10 {
        match &zip[at..] {
            bytes if bytes.starts_with(b"one_file") => zip[at + 3] = b'\\',
            // An u with two dots, in IBM 437.
            bytes if bytes.starts_with(b"gr_n") => zip[at + 2] = 0x81,
            // Made by MS-DOS.
            bytes if bytes.starts_with(b"PK\x01\x02") => zip[at + 5] = 0,
            _ => {}
        }
    }
    std::fs::write(bench.path("windows.zip"), &zip).unwrap();
    let found: Vec<_> = bench.unpacked(&bench.path("windows.zip")).into_keys().collect();
    let expected = ["gr\u{fc}n", "one", "one/file", "plain"];
    assert_eq!(found, expected.map(std::path::PathBuf::from));
}

#[test]
fn any_number_of_threads_and_any_tool_decompress_bzip2_alike() {
    let bench = Bench::new();
    fill(&bench.path("in"));
    let directory = bench.directory.path();
    if tool_in(directory, "tar", &["-c", "-f", "x.tar", "-C", "in", "noise", "a"]).is_none() {
        return;
    }
    for level in ["-1", "-9"] {
        if tool_in(directory, "bzip2", &["-k", "-f", level, "x.tar"]).is_none() {
            return;
        }
        let expected = bench.unpack(&bench.path("x.tar"), "plain.kept", None).unwrap();
        for threads in [1, 2, 7] {
            let made = bench.unpack_with(&bench.path("x.tar.bz2"), "kept", None, threads).unwrap();
            assert_eq!(made, expected, "{level} {threads}");
            std::fs::remove_file(bench.path("kept")).unwrap();
        }
        std::fs::remove_file(bench.path("plain.kept")).unwrap();
    }
}
