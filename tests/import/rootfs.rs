//! The tar of a root file system: the tree that GNU tar packed comes out.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kuth::archive::Options;
use kuth::cancel::Cancel;
use kuth::import::{Imported, rootfs};
use kuth::units::Bytes;

use crate::same;
use crate::world::{EPOCH, World, assert_same, have, run, text};

fn import(world: &World, tar: &Path) -> Result<Imported, String> {
    let to = world.at("imported.tar");
    let _ = std::fs::remove_file(&to);
    let cancel = Cancel::default();
    let options = Options {
        limit: Some(Bytes::gib(1)),
        threads: 2,
        epoch: EPOCH,
        work: world.directory.path(),
        cancel: &cancel,
        report: &|_, _| (),
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
    // Without the attributes, which no format of GNU tar but posix keeps.
    let without = world.at("without");
    run("cp", &["-a", "--no-preserve=xattr", text(&root), text(&without)]);
    run("setfacl", &["-R", "-b", text(&without)]);
    let plain = world.at("plain-expected.tar");
    crate::world::packed(&without, &plain);
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
        let (expected, root) = match attributes.is_empty() {
            true => (&plain, &without),
            false => (&expected, &root),
        };
        let (to, from) = (tar.display(), root.display());
        run("sh", &["-c", &format!("tar -caf '{to}' {options} {attributes} -C '{from}' .")]);
        import(&world, &tar).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_same(expected, &world.at("imported.tar"));
        same::judge(&world.at("imported.tar"), root);
    }
}

/// Files with data in `parts` and with this length, of which the rest are holes.
fn sparse(root: &Path, name: &str, length: u64, parts: &[(u64, usize)]) {
    let file = File::create(root.join("srv").join(name)).unwrap();
    file.set_len(length).unwrap();
    for (at, count) in parts {
        let bytes: Vec<u8> = (0..*count).map(|i| (i as u64 * 7 + at) as u8 | 1).collect();
        file.write_all_at(&bytes, *at).unwrap();
    }
}

#[test]
fn sparse_files_come_back_byte_by_byte() {
    if !have(&["tar", "xz"]) {
        return;
    }
    let world = World::new();
    let (root, _) = world.small_tree("/dev/vda1 / ext4 defaults 0 1\n");
    let mib = 1 << 20;
    sparse(&root, "all hole", 5 * mib + 3, &[]);
    sparse(&root, "at the beginning", 3 * mib + 700, &[(3 * mib - 41, 741)]);
    sparse(&root, "in the middle", 4 * mib, &[(0, 513), (4 * mib - 1, 1)]);
    sparse(&root, "at the end", 6 * mib + 511, &[(0, 300_000)]);
    sparse(&root, "at both ends", 2 * mib, &[(mib + 9, 70_000)]);
    sparse(&root, "none", 200_000, &[(0, 200_000)]);
    sparse(&root, "a byte", 1, &[]);
    // A header has room for 4 parts, each block behind it for 21; the end of the file may be one.
    let counts = [3, 4, 5, 24, 25, 26, 46, 47, 130];
    for count in counts {
        let parts: Vec<(u64, usize)> = (0..count).map(|i| (i * 40_960 + 5, 300)).collect();
        let length = count * 40_960;
        sparse(&root, &format!("{count} and a hole"), length, &parts);
        sparse(
            &root,
            &format!("{count} parts"),
            length + 77,
            &[&parts[..], &[(length, 77)]].concat(),
        );
    }
    let time = format!("@{}", crate::world::ROOT_TIME);
    run("find", &[text(&root), "-exec", "touch", "-h", "-d", &time, "{}", "+"]);
    let expected = world.at("expected.tar");
    crate::world::packed(&root, &expected);
    for (name, options) in [
        ("raw.tar", "--hole-detection=raw"),
        ("seek.tar", "--hole-detection=seek"),
        ("raw.tar.xz", "--hole-detection=raw"),
    ] {
        let tar = world.at(name);
        let (to, from) = (tar.display(), root.display());
        run("sh", &["-c", &format!("tar -caSf '{to}' --format=gnu {options} -C '{from}' .")]);
        if name == "raw.tar" {
            let mut archive = tar::Archive::new(File::open(&tar).unwrap());
            let kinds = archive.entries().unwrap().map(|entry| entry.unwrap());
            let (mut sparse, mut extended) = (0, 0);
            for header in kinds.map(|entry| entry.header().clone()) {
                sparse += usize::from(header.entry_type().is_gnu_sparse());
                extended += usize::from(header.as_gnu().is_some_and(|gnu| gnu.is_extended()));
            }
            assert!(sparse > 20 && extended > 12, "{sparse} {extended}");
        }
        import(&world, &tar).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_same(&expected, &world.at("imported.tar"));
        same::judge(&world.at("imported.tar"), &root);
    }
}

/// What is cut off is an error, not a shorter file.
#[test]
fn a_tar_that_is_cut_short_is_refused() {
    if !have(&["tar"]) {
        return;
    }
    let world = World::new();
    let (root, _) = world.small_tree("/dev/vda1 / ext4 defaults 0 1\n");
    sparse(&root, "parts", 1 << 20, &[(5, 300), (400_000, 300), (900_000, 9000)]);
    for options in ["--format=gnu", "--format=gnu -S"] {
        let tar = world.at("cut.tar");
        let files = "etc usr boot srv/parts";
        let (to, from) = (tar.display(), root.display());
        run("sh", &["-c", &format!("tar -cf '{to}' {options} -C '{from}' {files}")]);
        import(&world, &tar).unwrap();
        let whole = std::fs::read(&tar).unwrap();
        let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
        for length in [end, end - 300, end - 9000, end - 1_000_000] {
            std::fs::write(&tar, &whole[..length]).unwrap();
            let error = import(&world, &tar).unwrap_err();
            assert!(error.contains("cut short"), "{options} {length}: {error}");
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
    assert!(error.ends_with("what is compressed is not a tar"), "{error}");
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
        ("add('x')", "it is not a root file system"),
        ("add('etc/../../x')", "it leads out of the tree"),
        ("add('etc',b'2','usr'); add('etc/passwd')", "it lies below etc, which is not a directory"),
        ("add('etc/a',b'1','etc/b')", "it is a hard link to etc/b, which is not there yet"),
        ("add('etc',b'5'); add('etc')", "it was a directory before"),
        ("add('etc',b'5'); add('etc/a',b'Q')", "unknown kind `Q`"),
    ] {
        let error = make(code);
        assert!(error.contains(why), "{code}: {error}");
    }
}

#[test]
fn access_lists_that_are_texts_become_lists_as_bytes() {
    if !have(&["tar", "bsdtar", "setfacl", "setfattr"]) {
        return;
    }
    let world = World::new();
    let (root, expected) = world.tree("/dev/vda1 / ext4 defaults 0 1\n");
    // As this host calls the ids in the lists, which is how tar writes them.
    let name = |list: &str, id: &str| {
        let found = run("sh", &["-c", &format!("getent {list} {id} | cut -d: -f1")]);
        Some(found.trim().to_string()).filter(|name| !name.is_empty()).unwrap_or("ops".to_string())
    };
    let (user, group) = (name("passwd", "1000"), name("group", "7"));
    let users = format!("root:x:0:0::/root:/bin/sh\n{user}:x:1000:7::/:\n");
    std::fs::write(root.join("etc/passwd"), users).unwrap();
    std::fs::write(root.join("etc/group"), format!("root:x:0:\n{group}:x:7:\n")).unwrap();
    crate::world::packed(&root, &expected);
    let tar = world.at("lists.tar");
    let (to, from) = (tar.display(), root.display());
    let gnu = format!(
        "tar -cf '{to}' --format=posix --acls --xattrs --xattrs-include='user.*' \
         --xattrs-include='security.*' --xattrs-include='trusted.*' -C '{from}' ."
    );
    let libarchive = format!("bsdtar -cf '{to}' --format=pax --acls --xattrs -C '{from}' .");
    for command in [gnu.clone(), libarchive] {
        run("sh", &["-c", &command]);
        let bytes = std::fs::read(&tar).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("SCHILY.acl.access=") && text.contains("SCHILY.acl.default="));
        import(&world, &tar).unwrap_or_else(|error| panic!("{command}: {error}"));
        assert_same(&expected, &world.at("imported.tar"));
    }
    // Names are those of the system in the tar, and without one a list says nothing.
    std::fs::write(root.join("etc/group"), "root:x:0:\n").unwrap();
    run("sh", &["-c", &gnu]);
    let bytes = std::fs::read(&tar).unwrap();
    if String::from_utf8_lossy(&bytes).contains(&format!("group:{group}:")) {
        let error = import(&world, &tar).unwrap_err();
        let expected = format!("the access list of /etc/fstab: acl: `{group}` has no id");
        assert!(error.contains(&expected), "{error}");
    }
}
