//! A disk with a swap file: what it gets of it, what it needs, and the script, run with the real tools
//! in a directory.

mod disk;

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use disk::{Bench, Tree, disk_of, layout_of};
use kuth::disk::swap_file;
use kuth::error::hints;
use kuth_test_support::judge;
use tar::EntryType;

const KEYS: &str = r#"
size = "1 GiB"
swap-file = "64 MiB"
[[stage.disk.partition]]
name = "root"
size = "rest"
filesystem = "ext4"
mount = "/"
"#;

/// A tree with systemd and mkswap, as far as a disk looks.
fn tree() -> Tree {
    let mut tree = Tree::bootable();
    for directory in ["usr/lib/", "usr/lib/systemd/", "usr/lib/systemd/system/", "usr/lib/kuth/"] {
        tree.entry(directory, EntryType::Directory, 0o755, b"", "");
    }
    tree.file("usr/lib/systemd/systemd", b"systemd");
    tree.file("usr/sbin/mkswap", b"mkswap");
    tree.file("usr/lib/kuth/swap-file", b"of the machine that the tree was imported from\n");
    tree
}

#[test]
fn a_disk_with_a_swap_file_has_what_makes_it() {
    let bench = Bench::new();
    let tree = bench.tree(&tree().finish());
    let (made, _) = bench.run(disk_of(KEYS).unwrap().as_ref(), &tree).unwrap();
    let root = layout_of(KEYS).unwrap().mounted("/").unwrap().offset.0;
    let cat = |image: &std::path::Path, path: &str| {
        let image = format!("{}?offset={root}", image.display());
        let command = format!("cat {path}");
        let (_, text, faults) = judge::verdict("debugfs", &["-R", &command, &image])?;
        Some(text + &faults)
    };
    let Some(fstab) = cat(&made.image, "/etc/fstab") else { return };
    assert!(fstab.contains(swap_file::FSTAB_LINE), "{fstab}");
    let script = cat(&made.image, swap_file::SCRIPT).unwrap();
    assert!(script.contains("--length 67108864 "), "{script}");
    let unit = cat(&made.image, swap_file::UNIT).unwrap();
    assert!(unit.contains(&format!("ExecStart=/bin/sh {}\n", swap_file::SCRIPT)), "{unit}");
    assert!(unit.contains(&format!("ConditionPathExists=!{}\n", swap_file::PATH)), "{unit}");

    let image = format!("{}?offset={root}", made.image.display());
    let link = format!("stat {}", swap_file::REQUIRED);
    let (_, link, _) = judge::verdict("debugfs", &["-R", &link, &image]).unwrap();
    assert!(link.contains(swap_file::UNIT), "{link}");

    let plain = KEYS.replace("swap-file = \"64 MiB\"\n", "");
    let (made, _) = bench.run(disk_of(&plain).unwrap().as_ref(), &tree).unwrap();
    let script = cat(&made.image, swap_file::SCRIPT).unwrap();
    assert!(script.contains("File not found"), "nothing of another disk is kept: {script}");
    assert!(!cat(&made.image, "/etc/fstab").unwrap().contains("swap"));
}

#[test]
fn what_a_swap_file_needs_is_there_or_it_is_refused() {
    let bench = Bench::new();
    let stage = disk_of(KEYS).unwrap();
    let error = bench.run(stage.as_ref(), &bench.tree(&Tree::bootable().finish())).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the first boot is to make a swap file, but the tree has no usr/lib/systemd/systemd and no \
         usr/sbin/mkswap"
    );
    assert_eq!(
        hints(&error),
        ["add `systemd-sysv` and `util-linux` to `packages` of the customise stage"]
    );

    // Beside the files of the tree, where no fault of the pipeline can see it.
    let mut full = tree();
    full.file("usr/data", &vec![7; 40 << 20]);
    let keys = KEYS.replace("\"64 MiB\"", "\"860 MiB\"");
    let fits = bench.run(disk_of(&keys).unwrap().as_ref(), &bench.tree(&tree().finish()));
    assert!(fits.is_ok());
    let error =
        bench.run(disk_of(&keys).unwrap().as_ref(), &bench.tree(&full.finish())).err().unwrap();
    let text = error.to_string();
    assert!(text.starts_with("the swap file of 860 MiB has no room: `root` has "), "{text}");
    assert_eq!(hints(&error), ["make `root` larger, or `swap-file` smaller"]);
}

#[test]
fn the_script_makes_a_whole_file_for_swap_alone() {
    let directory = tempfile::tempdir_in(kuth_test_support::target_tmp()).unwrap();
    let file = directory.path().join("swapfile");
    let script = swap_file::script(&layout_of(KEYS).unwrap()).unwrap();
    let script = script.replace(swap_file::PATH, file.to_str().unwrap());
    // What a reset left.
    std::fs::write(directory.path().join("swapfile.new"), "half").unwrap();
    let run = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    let made = std::fs::metadata(&file).unwrap();
    assert_eq!((made.len(), made.mode() & 0o7777), (64 << 20, 0o600));
    assert!(made.blocks() * 512 >= made.len(), "it has holes");
    assert!(!directory.path().join("swapfile.new").exists());
    let Some(said) =
        judge::tool("blkid", &["-p", "-o", "value", "-s", "TYPE", file.to_str().unwrap()])
    else {
        return;
    };
    assert_eq!(said.trim(), "swap");
}
