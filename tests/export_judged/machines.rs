//! The formats with a machine: `ova` and `tar.bz2`, taken apart by tar, bzip2 and qemu-img.

use std::path::Path;

use kuth::archive::{self, Options};
use kuth::cancel::Cancel;
use kuth::digest::Digest;
use kuth::stage::Stage;
use kuth::stage::export::Export;
use kuth::virtualbox;

use crate::bench::{Bench, Zeros, export, here};
use kuth_test_support::judge::{tool, tool_in};

fn compare(raw: &Path, format: &str, image: &Path) {
    let (raw, image) = (raw.to_str().unwrap(), image.to_str().unwrap());
    if let Some(out) = tool("qemu-img", &["compare", "-f", "raw", "-F", format, raw, image]) {
        assert!(out.contains("Images are identical."), "{out}");
    }
}

#[test]
fn an_ova_is_a_tar_of_what_its_manifest_says() {
    let bench = Bench::new();
    let (context, disk) = (bench.context("image", 2), bench.disk(Zeros::Holes));
    let export = export("ova");
    let artifact = bench.run(&export, &context, &disk).unwrap();
    let path = here(export.materialize(&context, &artifact).unwrap());
    assert!(path.ends_with("out/debian/debian.ova"));
    assert_eq!(Digest::of(std::fs::read(&path).unwrap()), artifact.digest);
    let directory = bench.directory.path().join("apart");
    std::fs::create_dir(&directory).unwrap();
    let path = path.to_str().unwrap();
    let Some(list) = tool_in(&directory, "tar", &["-tvf", path, "--utc", "--numeric-owner"]) else {
        return;
    };
    let names: Vec<&str> = list.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(names, ["debian.ovf", "debian.mf", "debian-disk1.vmdk"]);
    assert!(list.lines().all(|line| line.starts_with("-rw-r--r-- 0/0")), "{list}");
    tool_in(&directory, "tar", &["-xf", path]).unwrap();
    let manifest = std::fs::read_to_string(directory.join("debian.mf")).unwrap();
    assert_eq!(manifest.lines().count(), 2);
    for line in manifest.lines() {
        let (name, digest) = line.strip_prefix("SHA256(").unwrap().split_once(")= ").unwrap();
        assert_eq!(Digest::of(std::fs::read(directory.join(name)).unwrap()).to_string(), digest);
    }
    compare(&bench.cache.object(&disk), "vmdk", &directory.join("debian-disk1.vmdk"));
    // And the way back.
    let kept = directory.join("kept.tar");
    archive::unpack(Path::new(path), &kept, &options(&directory, &Cancel::default())).unwrap();
    let members = archive::extract::members(&kept).unwrap();
    assert_eq!(members.len(), 4);
}

#[test]
fn a_box_is_a_directory_with_settings_and_a_disk() {
    let bench = Bench::new();
    let (context, disk) = (bench.context("image", 2), bench.disk(Zeros::Holes));
    let export = export("tar.bz2");
    let artifact = bench.run(&export, &context, &disk).unwrap();
    let path = here(export.materialize(&context, &artifact).unwrap());
    assert!(path.ends_with("out/debian/debian.tar.bz2"));
    let directory = bench.directory.path().join("apart");
    std::fs::create_dir(&directory).unwrap();
    let name = path.to_str().unwrap();
    if tool_in(&directory, "bzip2", &["-t", name]).is_none() {
        return;
    }
    tool_in(&directory, "tar", &["-xjf", name]).unwrap();
    compare(&bench.cache.object(&disk), "vdi", &directory.join("debian/debian.vdi"));
    let settings = std::fs::read_to_string(directory.join("debian/debian.vbox")).unwrap();
    // The header of the VDI and the settings name it alike.
    let vdi = std::fs::read(directory.join("debian/debian.vdi")).unwrap();
    let id: [u8; 16] = vdi[392..408].try_into().unwrap();
    let id = kuth::format::Guid::from_mixed_endian(id).to_string();
    assert_eq!(settings.matches(&format!("{{{id}}}")).count(), 2, "{settings}");
    // And the way back, on any number of threads.
    let kept = directory.join("kept.tar");
    archive::unpack(&path, &kept, &options(&directory, &Cancel::default())).unwrap();
    let to = directory.join("back");
    archive::extract::extract(&kept, &to, &Cancel::default()).unwrap();
    assert!(std::fs::read(to.join("debian/debian.vdi")).unwrap() == vdi);
    // As a stage `register` reads it.
    let digest = Digest::of("the directory");
    let (read, settings) =
        virtualbox::directory::open(&kept, &digest, &directory, &Cancel::default()).unwrap();
    compare(&read.file, "raw", &bench.cache.object(&disk));
    assert_eq!((settings.cpus, settings.memory, settings.disks.len()), (1, 1024, 1));
}

/// A kept directory of these files.
fn kept(directory: &Path, files: &[(&str, &str)]) -> std::path::PathBuf {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    let (from, to) = (directory.join("from.tar"), directory.join("kept.tar"));
    std::fs::write(&from, tar.into_inner().unwrap()).unwrap();
    archive::unpack(&from, &to, &options(directory, &Cancel::default())).unwrap();
    to
}

#[test]
fn directories_that_are_no_machine_are_refused() {
    let machine = |disks: &str, attached: &str| {
        format!(
            "<VirtualBox><Machine><MediaRegistry><HardDisks>{disks}</HardDisks></MediaRegistry>\
             <StorageControllers><StorageController name='a' type='AHCI' PortCount='2'>{attached}\
             </StorageController></StorageControllers></Machine></VirtualBox>"
        )
    };
    let disk = |format, file| format!("<HardDisk uuid='1' location='{file}' format='{format}'/>");
    let attached = "<AttachedDevice type='HardDisk' port='0' device='0'><Image uuid='1'/>\
                    </AttachedDevice>";
    let twice = attached.repeat(2);
    for (files, why) in [
        (vec![("a/b", "c".to_string())], "holds no `.vbox` file"),
        (vec![("a.vbox", String::new()), ("b.vbox", String::new())], "several machines"),
        (vec![("a.vbox", machine("", ""))], "no hard disk"),
        (vec![("a.vbox", machine(&disk("VDI", "a.vdi"), &twice))], "2 hard disks"),
        (
            vec![("a.vbox", machine(&disk("HDD", "a.hdd"), attached))],
            "only VDI, VMDK and VHD are read",
        ),
        (
            vec![("a.vbox", machine(&disk("VDI", "C:\\vms\\a.vdi"), attached))],
            "its disk is C:\\vms\\a.vdi, a path of a Windows host",
        ),
        (vec![("a.vbox", machine(&disk("VDI", "d\\a.vdi"), attached))], "holds no file d/a.vdi"),
        (
            vec![
                ("a.vbox", machine(&disk("VMDK", "a.vmdk"), attached)),
                ("a.vmdk", "x".repeat(999)),
            ],
            "not an image of this format",
        ),
        (vec![("a.vbox", machine(&disk("VDI", "../a.vdi"), attached))], "outside its directory"),
        (vec![("a.vbox", machine(&disk("VDI", "/a.vdi"), attached))], "outside its directory"),
        (vec![("a.vbox", machine(&disk("VDI", "a.vdi"), attached))], "holds no file a.vdi"),
        (
            vec![("a.vbox", machine(&disk("VDI", "a.vdi"), attached)), ("a.vdi", "x".repeat(999))],
            "not an image of this format",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let tar = kept(directory.path(), &files);
        let (digest, cancel) = (Digest::of("the directory"), Cancel::default());
        let error =
            virtualbox::directory::open(&tar, &digest, directory.path(), &cancel).unwrap_err();
        assert!(format!("{error:#}").contains(why), "{error:#}");
    }
}

fn options<'a>(work: &'a Path, cancel: &'a Cancel) -> Options<'a> {
    Options { limit: None, threads: 3, epoch: 2_000_000_000, work, cancel, report: &|_, _| () }
}

/// The machine's name is in these, and so its file's name.
#[test]
fn the_bytes_depend_on_the_name_and_on_nothing_else_of_the_place() {
    let (one, other) = (Bench::new(), Bench::new());
    let (holes, zeros) = (one.disk(Zeros::Holes), other.disk(Zeros::Written));
    for word in ["ova", "tar.bz2"] {
        let made = one.run(&export(word), &one.context("image", 1), &holes).unwrap();
        for jobs in [2, 7] {
            let again = other.run(&export(word), &other.context("picture", jobs), &zeros).unwrap();
            assert_eq!(made, again, "{word} {jobs}");
        }
        let named = Export { name: Some("other".into()), ..export(word) };
        let named = one.run(&named, &one.context("image", 1), &holes).unwrap();
        assert_ne!(made.digest, named.digest, "{word}");
    }
}

/// Raise `REVISION` in src/stage/export/mod.rs when one of these moves.
#[test]
fn the_bytes_are_pinned() {
    let bench = Bench::new();
    let (context, disk) = (bench.context("image", 2), bench.disk(Zeros::Holes));
    let digest = |word| bench.run(&export(word), &context, &disk).unwrap().digest.short();
    assert_eq!(["ova", "tar.bz2"].map(digest), ["fa0ea0b8e83f", "138a5ead20d6"]);
}

#[test]
fn machines_of_other_architectures_are_refused() {
    let bench = Bench::new();
    let (mut context, disk) = (bench.context("image", 2), bench.disk(Zeros::Holes));
    let settings =
        kuth::stage::Settings { architecture: "arm64".into(), ..(*context.settings).clone() };
    context.settings = std::sync::Arc::new(settings);
    for word in ["ova", "tar.bz2"] {
        let error = bench.run(&export(word), &context, &disk).unwrap_err();
        assert!(error.to_string().contains("not of arm64"), "{error:#}");
    }
}
