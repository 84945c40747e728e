//! One file system that fills the whole disk.

use std::fs::File;

use crate::world::{ROOT_TIME, World, have, root_owner, run, text};

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
        ["-t", "ext4", "-b", "4096", "-O", "metadata_csum_seed,large_dir,ea_inode"],
    ] {
        world.check(&mke2fs(&world, &options), &expected);
    }
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
