//! How much an import may make: exactly as much as all files read as, holes counted and a file with
//! two names once, whatever the image; and a refusal leaves nothing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kuth::archive;
use kuth::cancel::Cancel;
use kuth::import::{self, Options, OtherFiles, rootfs};
use kuth::units::Bytes;

use crate::world::{EPOCH, World, have, root_owner, run, text};

const MIB: u64 = 1 << 20;
const FSTAB: &str = "/dev/vda1 / ext4\n";
/// What the files below are together.
const TOTAL: u64 = FSTAB.len() as u64 + 5 * MIB + 7 + MIB + 1;

/// A system of a table of mounts, a file with holes, one without and, with `twin`, that under a
/// second name.
fn tree(world: &World, twin: bool) -> PathBuf {
    let root = world.at("root");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/fstab"), FSTAB).unwrap();
    let sparse = File::create(root.join("etc/sparse")).unwrap();
    sparse.write_all_at(b"in the middle", 2 * MIB + 99).unwrap();
    sparse.write_all_at(b"end", 5 * MIB + 4).unwrap();
    std::fs::write(root.join("etc/data"), vec![7; MIB as usize + 1]).unwrap();
    if twin {
        std::fs::hard_link(root.join("etc/data"), root.join("etc/twin")).unwrap();
    }
    root
}

/// Imports an image or, where it is one, a tar.
fn limited(world: &World, image: &Path, limit: u64) -> Result<(), String> {
    let to = world.at("limited.tar");
    let _ = std::fs::remove_file(&to);
    let (cancel, limit) = (Cancel::default(), Bytes(limit));
    let made = if text(image).contains(".tar") {
        let work = world.at("work");
        std::fs::create_dir_all(&work).unwrap();
        let options = archive::Options {
            limit: Some(limit),
            threads: 2,
            epoch: EPOCH,
            work: &work,
            cancel: &cancel,
            report: &|_, _| (),
        };
        let made = rootfs::import(image, &to, &options);
        assert_eq!(work.read_dir().unwrap().count(), 0);
        // Nothing is written before all is read.
        assert_eq!(made.is_ok(), to.exists());
        made
    } else {
        let options = Options { epoch: EPOCH, limit, cancel: &cancel, report: &|_| () };
        import::open(image, OtherFiles::Refused)
            .and_then(|image| import::import(&image, None, &to, &options))
    };
    let shown = |error| format!("{error:#} [{}]", kuth::error::hints(&error).join("; "));
    made.map(|_| ()).map_err(shown)
}

/// `total` is enough, and a byte less is not.
fn check(world: &World, image: &Path, total: u64) {
    limited(world, image, total).unwrap_or_else(|error| panic!("{}: {error}", text(image)));
    for limit in [total - 1, MIB, 1] {
        let error = limited(world, image, limit).unwrap_err();
        let why = format!("the files are more than {}", Bytes(limit));
        assert!(error.contains(&why), "{}: {error}", text(image));
        assert!(error.contains("set `limit` to a larger size"), "{error}");
    }
}

#[test]
fn every_file_system_ends_at_the_limit() {
    if !have(&["mke2fs", "mkfs.vfat", "mcopy", "mksquashfs", "mkfs.xfs"]) {
        return;
    }
    let world = World::new();
    let root = tree(&world, true);
    let blank = |name: &str, size: u64| {
        let image = world.at(name);
        File::create(&image).unwrap().set_len(size * MIB).unwrap();
        image
    };
    let ext4 = blank("ext4.raw", 32);
    let owner = root_owner();
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-E", &owner, "-d", text(&root), text(&ext4)]);
    check(&world, &ext4, TOTAL);

    let squashfs = world.at("fs.squashfs");
    run("mksquashfs", &[text(&root), text(&squashfs), "-quiet", "-no-progress"]);
    check(&world, &squashfs, TOTAL);

    let mut proto = "/none\n0 0\nd--755 0 0\n etc d--755 0 0\n".to_string();
    for name in ["fstab", "sparse", "data"] {
        proto += &format!("  {name} ---644 0 0 {}\n", text(&root.join("etc").join(name)));
    }
    std::fs::write(world.at("proto"), proto + " $\n$\n").unwrap();
    let xfs = blank("xfs.raw", 301);
    let command = format!("mkfs.xfs -q -p '{}' '{}'", world.at("proto").display(), xfs.display());
    run("sh", &["-c", &command]);
    check(&world, &xfs, TOTAL);

    // It knows no second names.
    std::fs::remove_file(root.join("etc/twin")).unwrap();
    let fat = blank("fat.raw", 32);
    run("mkfs.vfat", &[text(&fat)]);
    run("mcopy", &["-s", "-i", text(&fat), text(&root.join("etc")), "::"]);
    check(&world, &fat, TOTAL);
}

#[test]
fn every_tar_ends_at_the_limit() {
    if !have(&["tar", "gzip", "xz", "zstd", "bzip2"]) {
        return;
    }
    let world = World::new();
    let root = tree(&world, true);
    for (name, options) in [
        ("plain.tar", "--format=gnu"),
        ("sparse.tar", "--format=gnu --sparse"),
        ("pax.tar.gz", "--format=posix"),
        ("sparse.tar.xz", "--format=gnu --sparse"),
        ("plain.tar.zst", "--format=gnu"),
        ("sparse.tar.bz2", "--format=gnu --sparse"),
    ] {
        let (to, from) = (world.at(name), root.display());
        let command = format!("tar -caf '{}' {options} -C '{from}' .", to.display());
        run("sh", &["-c", &command]);
        check(&world, &to, TOTAL);
    }
}

/// A few hundred bytes of tar that read as 200 GiB take neither time nor room.
#[test]
fn a_huge_hole_is_refused_before_it_is_read() {
    if !have(&["tar"]) {
        return;
    }
    let world = World::new();
    let root = tree(&world, false);
    File::create(root.join("etc/huge")).unwrap().set_len(200 << 30).unwrap();
    let tar = world.at("huge.tar");
    run("tar", &["-cSf", text(&tar), "--format=gnu", "-C", text(&root), "."]);
    assert!(tar.metadata().unwrap().len() < 2 * MIB);
    let error = limited(&world, &tar, 100 << 30).unwrap_err();
    assert!(error.contains("etc/huge: the files are more than 100 GiB"), "{error}");
}

/// All that is below a directory, but directories.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in directory.read_dir().unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

#[test]
fn a_stage_that_ends_at_its_limit_leaves_nothing() {
    if !have(&["tar", "mke2fs"]) {
        return;
    }
    let world = World::new();
    let root = tree(&world, false);
    let directory = world.directory.path().display().to_string();
    let image = world.at("fs.raw");
    File::create(&image).unwrap().set_len(32 * MIB).unwrap();
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-d", text(&root), text(&image)]);
    run("tar", &["-czf", text(&world.at("root.tgz")), "-C", text(&root), "."]);
    std::fs::remove_dir_all(&root).unwrap();
    let mut pipeline = "[pipeline]\nname = \"p\"\n".to_string();
    for (stage, file) in [("image", "fs.raw"), ("tar", "root.tgz")] {
        pipeline += &format!(
            "[stage.{stage}]\nkind = \"download\"\nurl = \"file://{directory}/{file}\"\n\
             [stage.import-{stage}]\nkind = \"import\"\nfrom = \"{stage}\"\nlimit = \"6 MiB\"\n"
        );
    }
    pipeline += "[stage.unpack]\nkind = \"unpack\"\nfrom = \"tar\"\nlimit = \"6 MiB\"\n";
    std::fs::write(world.at("p.toml"), &pipeline).unwrap();
    world.kuth(&["build", "p.toml", "image", "tar"]).ok();
    let large = || {
        let mut large = files(&world.at("cache"));
        large.retain(|file| file.metadata().unwrap().len() > MIB / 2);
        large.sort();
        large
    };
    let before = large();
    for (stage, why) in [
        ("import-image", "the files are more than 6 MiB"),
        ("import-tar", "the files are more than 6 MiB"),
        ("unpack", "the archive unpacks to more than 6 MiB"),
    ] {
        let err = world.kuth(&["build", "p.toml", stage]).ended(1).err;
        assert!(err.contains(why), "{err}");
        assert!(err.contains("set `limit` to a larger size"), "{err}");
        assert_eq!(large(), before, "{stage}");
        assert_ne!(world.kuth(&["path", "p.toml", stage]).status, 0, "{stage}");
    }
    // With a larger limit the same stages are made.
    std::fs::write(world.at("p.toml"), pipeline.replace("6 MiB", "7 MiB")).unwrap();
    for stage in ["import-image", "import-tar", "unpack"] {
        world.kuth(&["build", "p.toml", stage]).ok();
    }
}
