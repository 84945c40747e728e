//! Disks made by kuth's own `disk` stage, and by the usual tools, pass the comparison with their
//! plan; the same disks against another plan do not, and every difference is told.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kuth::artifact::Artifact;
use kuth::installer::compare;

use crate::disk::{Bench, Disk, Tree, disk_of};
use crate::world::{read, text};
use kuth_test_support::judge::{is_there, tool};

const KEYS: &str = r#"
size = "1 GiB"
firmware = ["bios"]
[[stage.disk.partition]]
name = "boot"
size = "128 MiB"
filesystem = "ext4"
mount = "/boot"
[[stage.disk.partition]]
name = "system"
size = "rest"
lvm = "vg0"
[[stage.disk.volume]]
name = "root"
size = "256 MiB"
filesystem = "ext4"
mount = "/"
[[stage.disk.volume]]
name = "usr"
size = "128 MiB"
filesystem = "ext4"
mount = "/usr"
[[stage.disk.volume]]
name = "swap"
size = "64 MiB"
filesystem = "swap"
"#;

fn disk(keys: &str) -> (Bench, Disk) {
    let bench = Bench::new();
    let tree: Artifact = bench.tree(&Tree::bootable().finish());
    let (disk, _) = bench.run(&*disk_of(keys).unwrap(), &tree).unwrap();
    (bench, disk)
}

/// What is wrong with the disk of KEYS where `keys` was wanted.
fn wrong(disk: &Disk, keys: &str) -> String {
    wrong_at(&disk.image, keys)
}

fn wrong_at(disk: &Path, keys: &str) -> String {
    let (config, layout) = read(keys);
    match compare::check(disk, &config, &layout) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_disk_is_compared_with_its_plan() {
    let (_bench, disk) = disk(KEYS);
    let (config, layout) = read(KEYS);
    let installed = compare::check(&disk.image, &config, &layout).unwrap();
    assert_eq!(installed.root, "/dev/mapper/vg0-root");
    assert_eq!(installed.root_uuid, disk.artifact.facts.disk().unwrap().root_uuid);
    assert!(installed.lines.contains(&"the volume vg0/usr: ext4, 128 MiB, on /usr".to_string()));

    let changed = |from: &str, to: &str| {
        assert!(KEYS.contains(from), "{from}");
        wrong(&disk, &KEYS.replacen(from, to, 1))
    };
    for (from, to, expected) in [
        (
            "name = \"usr\"\nsize = \"128 MiB\"",
            "name = \"usr\"\nsize = \"132 MiB\"",
            "the volume vg0/usr on /usr has 128 MiB, not 132 MiB",
        ),
        ("name = \"usr\"", "name = \"us2\"", "the volume vg0/us2 on /usr is the volume vg0/usr"),
        ("lvm = \"vg0\"", "lvm = \"vg1\"", "the volume vg1/root on / is the volume vg0/root"),
        ("mount = \"/usr\"", "mount = \"/opt\"", "the volume vg0/usr on /opt is not there"),
        (
            "mount = \"/usr\"",
            "mount = \"/opt\"",
            "nobody asked for the volume vg0/usr (ext4, on /usr)",
        ),
        (
            "size = \"128 MiB\"\nfilesystem = \"ext4\"\nmount = \"/boot\"",
            "size = \"160 MiB\"\nfilesystem = \"ext4\"\nmount = \"/boot\"",
            "the partition boot on /boot has 128 MiB, not 160 MiB",
        ),
        (
            "firmware = [\"bios\"]",
            "firmware = [\"bios\"]\ntable = \"mbr\"",
            "the disk has GPT, not MBR",
        ),
        (
            "name = \"swap\"\nsize = \"64 MiB\"",
            "name = \"swap\"\nsize = \"68 MiB\"",
            "the volume vg0/swap has 64 MiB, not 68 MiB",
        ),
        ("name = \"swap\"", "name = \"swop\"", "the volume vg0/swop is not there"),
    ] {
        let found = changed(from, to);
        assert!(
            found.starts_with("the installer made another disk than was asked for:"),
            "{found}"
        );
        assert!(found.contains(&format!("\n  {expected}\n")), "{expected}\nis not in\n{found}");
    }
    // A partition may be off by what alignment takes.
    let near = KEYS.replacen("size = \"128 MiB\"", "size = \"129 MiB\"", 1);
    assert_eq!(wrong(&disk, &near), "");
}

#[test]
fn the_rest_may_be_a_little_more_or_less() {
    let rest = KEYS.replacen(
        "size = \"128 MiB\"\nfilesystem = \"ext4\"\nmount = \"/usr\"",
        "size = \"rest\"\nfilesystem = \"ext4\"\nmount = \"/usr\"",
        1,
    );
    let (_bench, disk) = disk(&rest);
    assert_eq!(wrong(&disk, &rest), "");
    let larger = |size: &str| rest.replacen("size = \"1 GiB\"", &format!("size = \"{size}\""), 1);
    assert_eq!(wrong(&disk, &larger("1040 MiB")), "");
    assert!(
        wrong(&disk, &larger("2 GiB")).contains("not about"),
        "{}",
        wrong(&disk, &larger("2 GiB"))
    );
}

const PLAIN: &str = r#"
size = "1 GiB"
table = "mbr"
firmware = ["bios"]
[[stage.disk.partition]]
name = "boot"
size = "128 MiB"
filesystem = "ext4"
mount = "/boot"
[[stage.disk.partition]]
name = "swap"
size = "64 MiB"
filesystem = "swap"
[[stage.disk.partition]]
name = "root"
size = "rest"
filesystem = "ext4"
mount = "/"
"#;

const UUID: &str = "11111111-2222-4333-8444-555555555555";
const MIB: u64 = 1 << 20;

/// What PLAIN says, by sfdisk, mke2fs and mkswap; kuth has no part in it.
fn plain(directory: &Path) -> PathBuf {
    let disk = directory.join("disk.raw");
    let file = File::create(&disk).unwrap();
    file.set_len(1024 * MIB).unwrap();
    let mut sfdisk =
        Command::new("sfdisk").args(["-q", text(&disk)]).stdin(Stdio::piped()).spawn().unwrap();
    let script = "label: dos\nstart=1MiB, size=128MiB, type=83, bootable\n\
        start=129MiB, size=64MiB, type=82\nstart=193MiB, type=83\n";
    sfdisk.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(sfdisk.wait().unwrap().success());
    let (root, boot) = (directory.join("root"), directory.join("boot"));
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::create_dir_all(root.join("boot")).unwrap();
    std::fs::create_dir_all(&boot).unwrap();
    std::fs::write(boot.join("vmlinuz"), "x").unwrap();
    let fstab = "/dev/sda3 / ext4 defaults 0 1\n/dev/sda1 /boot ext4 defaults 0 2\n\
        /dev/sda2 none swap sw 0 0\n";
    std::fs::write(root.join("etc/fstab"), fstab).unwrap();
    for (from, offset, size, uuid) in [(&boot, 1, 128, "random"), (&root, 193, 1024 - 193, UUID)] {
        let (offset, size) = (format!("offset={}", offset * MIB), format!("{size}M"));
        let of = ["-q", "-F", "-t", "ext4", "-U", uuid, "-E", &offset, "-d", text(from)];
        tool("mke2fs", &[&of[..], &[text(&disk), &size]].concat());
    }
    let swap = directory.join("swap");
    File::create(&swap).unwrap().set_len(64 * MIB).unwrap();
    tool("mkswap", &["-q", text(&swap)]);
    file.write_all_at(&std::fs::read(&swap).unwrap(), 129 * MIB).unwrap();
    disk
}

#[test]
fn a_disk_of_the_usual_tools_is_compared_with_its_plan() {
    if !["sfdisk", "mke2fs", "mkswap"].iter().all(|name| is_there(name)) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let disk = plain(directory.path());
    let (config, layout) = read(PLAIN);
    let installed = compare::check(&disk, &config, &layout).unwrap();
    assert_eq!(installed.root, format!("UUID={UUID}"));
    assert_eq!(installed.root_uuid, UUID);
    assert_eq!(
        installed.lines,
        [
            "partition 1: ext4, 128 MiB, on /boot",
            "partition 2: swap, 64 MiB",
            "partition 3: ext4, 831 MiB, on /",
        ]
    );
    for (from, to, expected) in [
        ("128 MiB", "140 MiB", "the partition boot on /boot has 128 MiB, not 140 MiB"),
        ("64 MiB", "80 MiB", "the partition swap is not there"),
        ("mount = \"/boot\"", "mount = \"/srv\"", "the partition boot on /srv is not there"),
        ("mount = \"/boot\"", "mount = \"/srv\"", "nobody asked for partition 1 (ext4, on /boot)"),
        ("size = \"1 GiB\"", "size = \"2 GiB\"", "the partition root on / has 831 MiB, not about"),
        ("table = \"mbr\"", "table = \"gpt\"", "the disk has MBR, not GPT"),
        (
            "filesystem = \"ext4\"\nmount = \"/boot\"",
            "filesystem = \"vfat\"\nmount = \"/boot\"",
            "the partition boot on /boot is ext4, not vfat",
        ),
    ] {
        assert!(PLAIN.contains(from), "{from}");
        let found = wrong_at(&disk, &PLAIN.replacen(from, to, 1));
        assert!(found.contains(&format!("\n  {expected}")), "{expected}\nis not in\n{found}");
    }
}
