//! The tar of a root file system: the tree that GNU tar packed comes out.

use std::path::Path;

use kuth::archive::Options;
use kuth::import::{Imported, rootfs};
use kuth::process::Cancel;
use kuth::units::Bytes;

use crate::world::{EPOCH, World, assert_same, have, run, text};

fn import(world: &World, tar: &Path) -> Result<Imported, String> {
    let to = world.at("imported.tar");
    let _ = std::fs::remove_file(&to);
    let cancel = Cancel::default();
    let options = Options {
        limit: Some(Bytes::gib(1)),
        threads: 2,
        epoch: EPOCH,
        work: world.folder.path(),
        cancel: &cancel,
        told: &|_, _| (),
    };
    rootfs::import(tar, &to, &options).map_err(|error| format!("{error:#}"))
}

#[test]
fn a_root_tar_is_a_tree() {
    if !have(&["tar", "gzip", "xz", "zstd", "bzip2", "setfacl", "setfattr"]) {
        return;
    }
    let world = World::new();
    let (root, expected) = world.tree("/dev/vda1 / ext4 defaults 0 1\n");
    std::fs::write(root.join("proc/left"), "out").unwrap();
    run("touch", &["-d", "@1600000000", text(&root.join("proc"))]);
    crate::world::packed(&root, &expected);
    for (options, name) in [
        ("--format=gnu", "plain.tar"),
        ("--format=posix --sort=name", "posix.tar.zst"),
        ("--format=gnu --sparse", "sparse.tar.gz"),
        ("--format=posix", "xz.tar.xz"),
        ("--format=posix", "bz.tar.bz2"),
    ] {
        let tar = world.at(name);
        let attributes = match options.contains("posix") {
            true => "--xattrs --xattrs-include='*'",
            false => "",
        };
        let (to, from) = (tar.display(), root.display());
        run("sh", &["-c", &format!("tar -caf '{to}' {options} {attributes} -C '{from}' .")]);
        import(&world, &tar).unwrap_or_else(|error| panic!("{name}: {error}"));
        if !attributes.is_empty() {
            assert_same(&expected, &world.at("imported.tar"));
        }
    }
}

#[test]
fn a_compressed_image_is_told_apart() {
    if !have(&["xz"]) {
        return;
    }
    let world = World::new();
    std::fs::write(world.at("disk.raw"), vec![7; 100_000]).unwrap();
    run("xz", &[text(&world.at("disk.raw"))]);
    let error = import(&world, &world.at("disk.raw.xz")).unwrap_err();
    assert!(error.ends_with("what is compressed is no tar"), "{error}");
}

#[test]
fn what_is_no_root_is_refused() {
    if !have(&["tar", "python3"]) {
        return;
    }
    let world = World::new();
    let make = |code: &str| {
        let tar = world.at("made.tar");
        let head = "import tarfile,io,sys\nt=tarfile.open(sys.argv[1],'w')\n\
            def add(name,kind=b'0',link='',data=b''):\n i=tarfile.TarInfo(name);i.type=kind;\
            i.linkname=link;i.size=len(data);t.addfile(i,io.BytesIO(data))\n";
        run("python3", &["-c", &format!("{head}{code}\nt.close()"), text(&tar)]);
        import(&world, &tar).unwrap_err()
    };
    for (code, why) in [
        ("add('x')", "it is no root file system"),
        ("add('etc/../../x')", "it leads out of the tree"),
        ("add('etc',b'2','usr'); add('etc/passwd')", "it lies below etc, which is no folder"),
        ("add('etc/a',b'1','etc/b')", "it is a hard link to etc/b, which is not there yet"),
        ("add('etc',b'5'); add('etc')", "it was a folder before"),
        ("add('etc',b'5'); add('etc/a',b'Q')", "unknown kind `Q`"),
    ] {
        let error = make(code);
        assert!(error.contains(why), "{code}: {error}");
    }
}
