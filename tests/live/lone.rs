//! One SquashFS file as an image: whatever way it was compressed and packed, the tree comes out.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::{World, have, import, is_root, need_root, packed, run, text};

const TOOLS: &[&str] = &["mksquashfs", "setfacl", "setfattr", "setcap"];

/// Packs `root` into `to`, which must not exist.
pub fn mksquashfs(root: &Path, to: &Path, options: &str) -> PathBuf {
    let (root, shown) = (root.display(), to.display());
    let _ = std::fs::remove_file(to);
    let owned = if is_root() { "" } else { "-all-root" };
    let command = format!(
        "mksquashfs '{root}' '{shown}' -quiet -no-progress -processors 1 {owned} {options}"
    );
    run("sh", &["-c", &command]);
    to.to_path_buf()
}

/// A tree with everything that SquashFS keeps, and its tar.
fn tree(world: &World) -> (PathBuf, PathBuf) {
    let (root, expected) = world.tree("/dev/vda1 / ext4 defaults 0 1\n");
    // It has no place for access lists.
    run("setfacl", &["-R", "-b", text(&root)]);
    let file = |name: &str, content: &[u8]| std::fs::write(root.join(name), content).unwrap();
    // Values that several files share are stored once.
    for name in ["etc/shared-1", "etc/shared-2", "etc/shared-3"] {
        file(name, b"x");
        run("setfattr", &["-n", "user.shared", "-v", &"s".repeat(2000), text(&root.join(name))]);
        run("setfattr", &["-n", "user.own", "-v", name, text(&root.join(name))]);
    }
    for length in [4095, 4096, 4097, 131_071, 131_072, 131_073, 262_144] {
        file(&format!("srv/{length}"), &vec![length as u8; length]);
    }
    file("etc/copy", &std::fs::read(root.join("srv/random")).unwrap());
    if is_root() {
        let link = root.join("usr/bin/soft");
        run("setfattr", &["-h", "-n", "trusted.of-a-link", "-v", "yes", text(&link)]);
        run("setfattr", &["-n", "trusted.of-a-pipe", "-v", "yes", text(&root.join("srv/pipe"))]);
        run("setfattr", &["-n", "trusted.of-a-device", "-v", "yes", text(&root.join("srv/block"))]);
        run("chown", &["-h", "4000000000:4000000001", text(&link)]);
    }
    let time = format!("@{}", crate::world::ROOT_TIME);
    run("touch", &["-d", &time, text(&root)]);
    packed(&root, &expected);
    (root, expected)
}

#[test]
fn every_compression_and_option_gives_the_tree() {
    if !have(TOOLS) || !need_root() {
        return;
    }
    let world = World::new();
    let (root, expected) = tree(&world);
    for options in [
        "-comp gzip",
        "-comp xz -b 1M -Xbcj x86",
        "-comp xz",
        "-comp zstd -Xcompression-level 3 -b 4096",
        "-comp zstd -Xcompression-level 1 -always-use-fragments",
        "-comp gzip -Xcompression-level 1 -no-fragments -no-duplicates -no-exports",
        "-noI -noD -noF -noX",
        "-no-sparse -nopad -b 8192 -Xcompression-level 1",
    ] {
        let image = mksquashfs(&root, &world.at("fs.squashfs"), options);
        let imported = world.check(&image, &expected);
        let expected = ["a squashfs image", "the whole disk is the root"];
        assert_eq!(imported.notes, expected, "{options}");
    }
}

/// Another writer of the format lays it out in its own way.
#[test]
fn what_another_tool_packed_gives_the_tree() {
    if !have(TOOLS) || !have(&["tar2sqfs", "tar"]) || !need_root() {
        return;
    }
    let world = World::new();
    let (root, expected) = tree(&world);
    let tar = world.at("root.tar");
    let attributes = ["--format=posix", "--xattrs", "--xattrs-include=*", "--sparse"];
    run("tar", &[&attributes[..], &["-cf", text(&tar), "-C", text(&root), "."]].concat());
    for options in ["-c gzip", "-c xz -b 1M", "-c zstd --no-tail-packing --exportable"] {
        let image = world.at("fs.squashfs");
        let (from, to) = (tar.display(), image.display());
        run("sh", &["-c", &format!("tar2sqfs -q -f -s {options} '{to}' < '{from}'")]);
        world.check(&image, &expected);
    }
}

#[test]
fn without_root_and_without_attributes() {
    if !have(TOOLS) {
        return;
    }
    let world = World::new();
    let (root, expected) = world.small_tree("/dev/vda1 / ext4 defaults 0 1\n");
    let time = crate::world::ROOT_TIME;
    let image =
        mksquashfs(&root, &world.at("fs.squashfs"), &format!("-no-xattrs -mkfs-time {time}"));
    // As root the owners are those of the tree anyway.
    if is_root() {
        world.check(&image, &expected);
    } else {
        import(&image, &world.at("imported.tar")).unwrap();
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    if !have(TOOLS) {
        return;
    }
    let world = World::new();
    let (root, _) = world.small_tree("/dev/vda1 / ext4 defaults 0 1\n");
    for way in ["lz4", "lzo"] {
        let image = mksquashfs(&root, &world.at("fs.squashfs"), &format!("-comp {way}"));
        let error = import(&image, &world.at("out.tar")).unwrap_err();
        let why = format!("compressed by {way}, and only gzip, xz and zstd are known");
        assert!(error.contains(&why), "{error}");
    }
    std::fs::create_dir(world.at("empty")).unwrap();
    let image = mksquashfs(&world.at("empty"), &world.at("fs.squashfs"), "");
    let error = import(&image, &world.at("out.tar")).unwrap_err();
    assert!(error.contains("no file system of the disk has an /etc"), "{error}");
}

#[test]
fn what_it_would_grow_to_is_limited() {
    if !have(&["mksquashfs", "truncate"]) {
        return;
    }
    let world = World::new();
    let (root, _) = world.small_tree("/dev/vda1 / ext4 defaults 0 1\n");
    run("truncate", &["-s", "1500M", text(&root.join("srv/huge"))]);
    let image = mksquashfs(&root, &world.at("fs.squashfs"), "-b 1M");
    assert!(image.metadata().unwrap().len() < 10 << 20);
    let error = import(&image, &world.at("out.tar")).unwrap_err();
    assert!(error.contains("the files are more than 1 GiB"), "{error}");
}

#[test]
fn inspect_shows_it() {
    if !have(TOOLS) {
        return;
    }
    let world = World::new();
    let (root, _) = world.small_tree("/dev/vda1 / ext4 defaults 0 1\n");
    let image = mksquashfs(&root, &world.at("fs.squashfs"), "-comp xz");
    let inspect = |image: &Path| {
        Command::new(kuth_test_support::program()).arg("inspect").arg(image).output().unwrap()
    };
    let output = inspect(&image);
    let out = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = out.split_whitespace().collect();
    assert!(output.status.success(), "{out}");
    assert_eq!(words.first(), Some(&"squashfs,"), "{out}");
    assert!(out.contains("the whole disk") && words.last() == Some(&"/"), "{out}");
    // What is damaged has its reason.
    let mut bytes = std::fs::read(&image).unwrap();
    bytes[20] = 5;
    std::fs::write(&image, bytes).unwrap();
    let output = inspect(&image);
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(out.contains("cannot be read: squashfs: compressed by lz4"), "{out}");
}
