//! The stage, as a pipeline asks for it: a file, a directory, a root tar.

use crate::world::{World, have, root_owner, run, text};

#[test]
fn a_file_a_directory_and_a_tar_give_one_tree() {
    if !have(&["mke2fs", "qemu-img", "tar", "debugfs"]) {
        return;
    }
    let world = World::new();
    let (root, _) = world.small_tree("/dev/vda1 / ext4 defaults 0 1\n");
    std::fs::create_dir_all(root.join("usr/lib")).unwrap();
    let release = "ID=debian\nVERSION_CODENAME=trixie\n";
    std::fs::write(root.join("usr/lib/os-release"), release).unwrap();
    let time = format!("@{}", crate::world::ROOT_TIME);
    run("find", &[text(&root), "-exec", "touch", "-h", "-d", &time, "{}", "+"]);
    let directory = world.directory.path().display().to_string();
    let sh = |command: &str| run("sh", &["-c", &format!("cd '{directory}' && {command}")]);
    let owner = root_owner();
    sh(&format!("truncate -s 64M base.raw && mke2fs -q -F -t ext4 -E {owner} -d root base.raw"));
    sh(&format!("debugfs -w -R 'set_inode_field <2> mtime {time}' base.raw"));
    sh("qemu-img create -q -f qcow2 -b base.raw -F raw over.qcow2");
    sh("qemu-img convert -O qcow2 -c over.qcow2 alone.qcow2");
    sh("tar -czf images.tar.gz base.raw over.qcow2 && tar -cJf root.tar.xz -C root .");
    let mut pipeline = "[pipeline]\nname = \"p\"\n".to_string();
    for file in ["alone.qcow2", "images.tar.gz", "root.tar.xz", "over.qcow2"] {
        let name = file.split('.').next().unwrap();
        pipeline +=
            &format!("[stage.{name}]\nkind = \"download\"\nurl = \"file://{directory}/{file}\"\n");
    }
    pipeline += "[stage.directory]\nkind = \"unpack\"\nfrom = \"images\"\n";
    for from in ["alone", "directory", "root", "over"] {
        pipeline += &format!("[stage.tree-{from}]\nkind = \"import\"\nfrom = \"{from}\"\n");
    }
    std::fs::write(world.at("p.toml"), pipeline).unwrap();
    world.kuth(&["build", "p.toml", "tree-alone", "tree-directory", "tree-root"]).ok();
    let trees = ["tree-alone", "tree-directory", "tree-root"].map(|stage| world.path_of(stage));
    assert_eq!(trees[0], trees[1]);
    assert_eq!(trees[0], trees[2]);
    let err = world.kuth(&["build", "p.toml", "tree-over"]).ended(1).err;
    assert!(err.contains("it needs the file `base.raw`, and it came alone"), "{err}");
    assert!(
        err.contains("hint: pack both into a tar, `unpack` that, and import the directory"),
        "{err}"
    );
}
