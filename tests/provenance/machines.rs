//! Two machines with one remote cache: the second one has neither the tree nor the disk, and tells
//! the same of its export.

use crate::world::{Small, world};

#[test]
fn sidecars_are_the_same_on_a_machine_without_the_tree() {
    let remote = tempfile::tempdir_in(world().root.parent().unwrap()).unwrap();
    let remote = remote.path().to_str().unwrap();
    let mut one = Small::fork().with("KUTH_CACHE_REMOTE", remote);
    one.sign();
    // Something has to be made for it to be brought.
    let made = one.build(&[
        "--rebuild",
        "rootfs",
        "--rebuild",
        "base",
        "--rebuild",
        "disk",
        "--rebuild",
        "image",
    ]);
    assert_eq!(made["failed"], 0);
    let key = std::fs::read_to_string(one.root.join("key")).unwrap();
    let two = Small::new().with("KUTH_CACHE_REMOTE", remote).with("KUTH_CACHE_KEY", key.trim());
    let built = two.build(&["--offline"]);
    assert_eq!((&built["run"], &built["cached"]), (&0.into(), &5.into()));
    assert_eq!(two.names(), one.names());
    for name in one.names() {
        let read = |project: &Small| std::fs::read(project.out(&name)).unwrap();
        assert!(read(&one) == read(&two), "{name}");
    }
    // The tree and the disk stayed where they are.
    let tree = one.object("base");
    let name = tree.file_name().unwrap().to_str().unwrap();
    assert!(!two.root.join("cache/objects").join(&name[..2]).join(name).exists());
}
