//! One file system that fills the whole disk.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use kuth::sandbox::owners::Owners;
use kuth::sandbox::pack::pack;

use crate::world::{
    ROOT_TIME, World, assert_same, have, import_until, is_root, root_owner, run, text,
};

const TOOLS: &[&str] = &["mke2fs", "setfacl", "setfattr", "setcap"];

fn mke2fs(world: &World, options: &[&str]) -> std::path::PathBuf {
    let image = world.at("fs.raw");
    File::create(&image).unwrap().set_len(256 << 20).unwrap();
    let root = world.at("root");
    let owner = root_owner();
    let mut arguments = vec!["-q", "-F", "-E", &owner, "-d", text(&root)];
    arguments.extend(options);
    arguments.push(text(&image));
    run("mke2fs", &arguments);
    let command = format!("set_inode_field <2> mtime @{ROOT_TIME}");
    run("debugfs", &["-w", "-R", &command, text(&image)]);
    image
}

#[test]
fn ext4_as_debian_makes_it() {
    if !have(TOOLS) {
        return;
    }
    let world = World::new();
    let (_, expected) = world.tree("/dev/vda1 / ext4 defaults 0 1\n");
    world.check(&mke2fs(&world, &["-t", "ext4"]), &expected);
}

#[test]
fn ext4_of_other_features() {
    if !have(TOOLS) {
        return;
    }
    let world = World::new();
    let (_, expected) = world.tree("/dev/vda1 / ext4 defaults 0 1\n");
    for options in [
        ["-t", "ext4", "-b", "1024", "-O", "inline_data,^64bit"],
        ["-t", "ext4", "-b", "4096", "-O", "^metadata_csum,uninit_bg"],
        ["-t", "ext4", "-b", "2048", "-O", "bigalloc,meta_bg,^resize_inode"],
        ["-t", "ext4", "-b", "1024", "-O", "bigalloc,metadata_csum"],
        ["-t", "ext4", "-b", "1024", "-O", "bigalloc,meta_bg,^resize_inode"],
        ["-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"],
        ["-t", "ext4", "-b", "4096", "-O", "metadata_csum_seed,large_dir,ea_inode"],
    ] {
        world.check(&mke2fs(&world, &options), &expected);
    }
}

/// Gives a file what one under fs-verity has: blocks behind its end, its flag, and a descriptor that
/// Linux shows nobody.
#[test]
fn files_under_fs_verity_are_their_content() {
    if !have(TOOLS) {
        return;
    }
    let world = World::new();
    let root = world.at("root");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/fstab"), "/dev/vda1 / ext4\n").unwrap();
    let content: Vec<u8> = (0..200_000u32).map(|i| (i * 7) as u8).collect();
    std::fs::write(root.join("etc/sealed"), &content).unwrap();
    let image = mke2fs(&world, &["-t", "ext4", "-O", "verity"]);
    let commands = "sif /etc/sealed size 100000\nsif /etc/sealed flags 0x180000\n\
                    ea_set /etc/sealed user.v descriptor\n";
    std::fs::write(world.at("commands"), commands).unwrap();
    run("debugfs", &["-w", "-f", text(&world.at("commands")), text(&image)]);
    // The kind of the attribute, `user.`, becomes that of fs-verity.
    let mut bytes = std::fs::read(&image).unwrap();
    let entry = [1, 1];
    let at = bytes.windows(2).zip(1..).zip(bytes.windows(20)).filter(|((two, _), all)| {
        **two == entry && all[4..8] == [0; 4] && all[8..12] == [10, 0, 0, 0] && all[16] == b'v'
    });
    let at: Vec<usize> = at.map(|((_, at), _)| at).collect();
    assert_eq!(at.len(), 1);
    bytes[at[0]] = 11;
    std::fs::write(&image, bytes).unwrap();
    // Only checksums are wrong now.
    run("sh", &["-c", &format!("e2fsck -fy '{}' >/dev/null 2>&1; test $? -lt 4", image.display())]);
    let to = world.at("out.tar");
    crate::world::import(&image, &to).unwrap();
    std::fs::create_dir(world.at("out")).unwrap();
    run("tar", &["-xf", text(&to), "-C", text(&world.at("out"))]);
    assert!(std::fs::read(world.at("out/etc/sealed")).unwrap() == content[..100_000]);
}

/// What Linux does not read either: e2fsck says that it is damaged, and kuth refuses.
#[test]
fn damaged_directories_and_small_files_are_refused_as_e2fsck_finds_them() {
    if !have(TOOLS) {
        return;
    }
    let world = World::new();
    let root = world.at("root");
    std::fs::create_dir_all(root.join("etc/many")).unwrap();
    std::fs::write(root.join("etc/fstab"), "/dev/vda1 / ext4\n").unwrap();
    std::fs::write(root.join("etc/small"), [7; 120]).unwrap();
    for i in 0..900 {
        std::fs::write(root.join(format!("etc/many/{i}-{}", "n".repeat(60))), "").unwrap();
    }
    let image = mke2fs(&world, &["-t", "ext4", "-b", "1024", "-O", "inline_data,metadata_csum"]);
    // The hash tree is e2fsck's.
    let fix = |image: &Path, options: &str| {
        let command =
            format!("e2fsck {options} '{}' >/dev/null 2>&1; test $? -lt 4", image.display());
        run("sh", &["-c", &command]);
    };
    fix(&image, "-fyD");
    let to = world.at("out.tar");
    crate::world::import(&image, &to).unwrap();
    let whole = std::fs::read(&image).unwrap();
    let blocks = run("debugfs", &["-R", "blocks /etc/many", text(&image)]);
    let blocks: Vec<usize> = blocks.split_whitespace().filter_map(|it| it.parse().ok()).collect();
    assert!(blocks.len() > 60, "{blocks:?}");
    let root_block = blocks[0] * 1024;
    let node = blocks
        .iter()
        .map(|block| block * 1024)
        .find(|at| *at != root_block && whole[at + 4..at + 6] == 1024_u16.to_le_bytes());
    let leaf =
        blocks.iter().map(|block| block * 1024).find(|at| *at != root_block && Some(*at) != node);
    let mut damages = vec![("its root", root_block + 40), ("a sum", leaf.unwrap() + 1023)];
    damages.extend(node.map(|node| ("a node", node + 20)));
    damages.push(("what marks a sum", leaf.unwrap() + 1019));
    for (name, at) in damages {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&image, bytes).unwrap();
        refused(&image, &to, name);
    }
    std::fs::write(&image, &whole).unwrap();
    run("debugfs", &["-w", "-R", "sif /etc/many size 1000000", text(&image)]);
    refused(&image, &to, "a hole at the end");
    // e2fsck does not compare this.
    std::fs::write(&image, &whole).unwrap();
    run("debugfs", &["-w", "-R", "sif /etc/small size 200", text(&image)]);
    let error = crate::world::import(&image, &to).unwrap_err();
    assert!(error.contains("is cut short"), "{error}");
}

fn refused(image: &Path, to: &Path, name: &str) {
    let judged = std::process::Command::new("e2fsck").arg("-fn").arg(image).output().unwrap();
    assert_ne!(judged.status.code(), Some(0), "{name}: e2fsck finds nothing");
    assert!(crate::world::import(image, to).is_err(), "{name} was read");
}

#[test]
fn ext2_and_ext3() {
    if !have(TOOLS) {
        return;
    }
    let world = World::new();
    let (_, expected) = world.tree("/dev/vda1 / ext2 defaults 0 1\n");
    for options in [["-t", "ext2", "-b", "1024"], ["-t", "ext3", "-b", "4096"]] {
        world.check(&mke2fs(&world, &options), &expected);
    }
}

/// Lines of a protofile for mkfs.xfs: what is below `directory`, then the end of it.
fn prototype(directory: &Path, lines: &mut String) {
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let mode = metadata.mode();
        let kind = match mode & 0o170_000 {
            0o040_000 => 'd',
            0o120_000 => 'l',
            0o010_000 => 'p',
            0o020_000 => 'c',
            0o060_000 => 'b',
            _ => '-',
        };
        let set = |bit, letter| if mode & bit != 0 { letter } else { '-' };
        let (set_user, set_group) = (set(0o4000, 'u'), set(0o2000, 'g'));
        let (name, bits) = (path.file_name().unwrap().to_str().unwrap(), mode & 0o777);
        let (uid, gid, device) = (metadata.uid(), metadata.gid(), metadata.rdev());
        let content = match kind {
            '-' => text(&path).to_string(),
            'l' => text(&path.read_link().unwrap()).to_string(),
            'c' | 'b' => format!("{} {}", rustix::fs::major(device), rustix::fs::minor(device)),
            _ => String::new(),
        };
        *lines += &format!("{name} {kind}{set_user}{set_group}{bits:03o} {uid} {gid} {content}\n");
        if kind == 'd' {
            prototype(&path, lines);
        }
    }
    *lines += "$\n";
}

/// mkfs.xfs itself fills the file system, since many kernels mount no version 4 any more.
#[test]
fn xfs_of_version_4() {
    if !have(&["mkfs.xfs", "xfs_db", "setfattr"]) {
        return;
    }
    let world = World::new();
    let root = world.at("root");
    for name in ["etc", "usr/bin", "var/many", "srv"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    let file = |name: &str, content: &[u8]| std::fs::write(root.join(name), content).unwrap();
    file("etc/fstab", b"/dev/vda1 / xfs defaults 0 1\n");
    file("etc/empty", b"");
    file("usr/bin/tool", &vec![7; 300_001]);
    let mode = Permissions::from_mode(0o6755);
    std::fs::set_permissions(root.join("usr/bin/tool"), mode).unwrap();
    symlink("tool", root.join("usr/bin/soft")).unwrap();
    // Longer than an inode of 256 bytes has room for.
    symlink("/usr/lib/".to_string() + &"long/".repeat(60), root.join("usr/far")).unwrap();
    // Directories in an inode, in one block, and with leaves and nodes of their own.
    for (directory, entries) in [("etc", 30), ("var/many", 1500)] {
        for i in 0..entries {
            file(&format!("{directory}/a-file-with-a-name-of-some-length-{i}"), &[i as u8]);
        }
    }
    run("mkfifo", &[text(&root.join("srv/pipe"))]);
    if is_root() {
        run("mknod", &[text(&root.join("srv/block")), "b", "8", "300"]);
        run("mknod", &[text(&root.join("srv/char")), "c", "5", "1"]);
        run("chown", &["1000:70000", text(&root.join("etc/empty"))]);
    }
    // Values in the inode, in a leaf, and (with blocks of 1 KiB) in a block of their own; xfs_db
    // writes nothing but this letter.
    let attributes = [
        ("etc/fstab", vec![("note", 20)]),
        ("usr/bin/tool", vec![("note", 20), ("short", 100), ("long", 900)]),
    ];
    for (path, attributes) in &attributes {
        for (name, length) in attributes {
            let (name, value) = (format!("user.{name}"), "v".repeat(*length));
            run("setfattr", &["-n", &name, "-v", &value, text(&root.join(path))]);
        }
    }
    std::fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
    let expected = world.at("expected.tar");
    // Protofiles know no times: everything is newer than this.
    pack(&root, &expected, ROOT_TIME, &Owners::default()).unwrap();

    let (uid, gid) = (root.metadata().unwrap().uid(), root.metadata().unwrap().gid());
    let mut lines = format!("/none\n0 0\nd--755 {uid} {gid}\n");
    prototype(&root, &mut lines);
    std::fs::write(world.at("proto"), lines).unwrap();
    for options in ["-n ftype=0 -i size=256", "-b size=1024 -n size=8192", "-i size=2048"] {
        let image = world.at("fs.raw");
        File::create(&image).unwrap().set_len(400 << 20).unwrap();
        let proto = world.at("proto");
        let made =
            format!("mkfs.xfs -f -q -m crc=0 {options} -p '{}' '{}'", text(&proto), text(&image));
        run("sh", &["-c", &made]);
        for (path, attributes) in &attributes {
            let mut command = vec!["-x".to_string(), "-c".into(), format!("path /{path}")];
            for (name, length) in attributes {
                command.extend(["-c".into(), format!("attr_set -u -v {length} {name}")]);
            }
            command.push(text(&image).to_string());
            run("xfs_db", &command.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let imported = world.at("imported.tar");
        import_until(ROOT_TIME, &image, None, &imported).unwrap_or_else(|error| panic!("{error}"));
        assert_same(&expected, &imported);
    }
}
