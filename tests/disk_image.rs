//! Disks made by the real tools and judged by others: e2fsck, sgdisk, pvck, debugfs.

mod disk;
use kuth_test_support::judge;

use std::io::Read;
use std::path::Path;

use disk::{Bench, Tree, disk_of};
use kuth::artifact::Firmware;
use tar::EntryType;

const KEYS: &str = r#"
size = "1 GiB"
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

/// Offsets of boot, root and usr in a disk of KEYS.
const BOOT: u64 = 64 << 20;
const ROOT: u64 = BOOT + (128 << 20) + (1 << 20);
const USR: u64 = ROOT + (256 << 20);

/// The size of the EFI system partition, at 2 MiB.
const ESP_SIZE: u64 = 62 << 20;

/// What a command says, which must succeed; `None`, said, where the host lacks it.
fn judged(program: &str, args: &[&str]) -> Option<String> {
    let (success, text, faults) = judge::verdict(program, args)?;
    assert!(success, "{program} {args:?}\n{text}{faults}");
    Some(text + &faults)
}

fn at(image: &Path, offset: u64) -> String {
    format!("{}?offset={offset}", image.display())
}

fn debugfs(image: &Path, offset: u64, command: &str) -> Option<String> {
    judged("debugfs", &["-R", command, &at(image, offset)])
}

#[test]
fn a_disk_is_sound_and_comes_out_the_same() {
    let stage = disk_of(KEYS).unwrap();
    let build = || {
        let bench = Bench::new();
        let tree = bench.tree(&Tree::bootable().finish());
        let (disk, _) = bench.run(stage.as_ref(), &tree).unwrap();
        (bench, disk)
    };
    let (_bench, disk) = build();
    assert_eq!(disk.artifact.size, 1 << 30);
    let facts = disk.artifact.facts.disk().unwrap();
    assert_eq!(facts.firmware, [Firmware::Bios, Firmware::Uefi]);
    for offset in [BOOT, ROOT, USR] {
        judged("e2fsck", &["-fn", &at(&disk.image, offset)]);
    }
    let esp = disk.image.with_extension("esp");
    let count = format!("count={}", ESP_SIZE >> 20);
    let (from, to) = (format!("if={}", disk.image.display()), format!("of={}", esp.display()));
    judged("dd", &[&from, &to, "bs=1M", "skip=2", &count]);
    judged("fsck.vfat", &["-nv", esp.to_str().unwrap()]);
    if let Some(text) = judged("sgdisk", &["-v", disk.image.to_str().unwrap()]) {
        assert!(text.contains("No problems found"), "{text}");
    }
    if let Some(fstab) = debugfs(&disk.image, ROOT, "cat /etc/fstab") {
        assert!(fstab.contains("/dev/mapper/vg0-root\t/\text4"), "{fstab}");
        assert!(!fstab.contains("the tree's own"), "{fstab}");
    }
    if let Some(menu) = debugfs(&disk.image, BOOT, "cat /grub/grub.cfg") {
        assert!(menu.contains("linux /vmlinuz-6.12.1 root=/dev/mapper/vg0-root ro"), "{menu}");
    }
    let (_bench, again) = build();
    assert_eq!(disk.artifact, again.artifact);
}

#[test]
fn a_change_under_etc_rebuilds_only_the_root_volume() {
    let stage = disk_of(KEYS).unwrap();
    let bench = Bench::new();
    let (first, log) = bench.run(stage.as_ref(), &bench.tree(&Tree::bootable().finish())).unwrap();
    assert!(log.contains("volume usr: made in"), "{log}");
    let mut tree = Tree::bootable();
    tree.file("etc/motd", b"changed\n");
    let (second, log) = bench.run(stage.as_ref(), &bench.tree(&tree.finish())).unwrap();
    for line in ["volume usr: from the cache", "partition boot: from the cache"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(log.contains("volume root: made in"), "{log}");
    assert_ne!(first.artifact.digest, second.artifact.digest);
}

#[test]
fn all_metadata_of_files_is_kept() {
    let bench = Bench::new();
    let mut tree = Tree::bootable();
    let long = format!("usr/{}/F\u{151}tan\u{fa}s\u{ed}tv\u{e1}ny.crt", "long-name".repeat(20));
    let directory = long.rsplit_once('/').unwrap().0;
    tree.entry(&format!("{directory}/"), EntryType::Directory, 0o750, b"", "");
    tree.file_with(&long, "user.note", b"a\nb\0=c");
    tree.file_with("usr/sp ace \"q", "trusted.x", b"y");
    let capability = [1, 0, 0, 2, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    tree.file_with("usr/ping", "security.capability", &capability);
    tree.entry("usr/link", EntryType::Link, 0o644, b"", "usr/ping");
    let tree = bench.tree(&tree.finish());
    let (disk, _) = bench.run(disk_of(KEYS).unwrap().as_ref(), &tree).unwrap();
    judged("e2fsck", &["-fn", &at(&disk.image, USR)]);
    let attribute = |path: &str, name: &str| {
        debugfs(&disk.image, USR, &format!("ea_get -x \"/{path}\" {name}"))
    };
    let inner = long.strip_prefix("usr/").unwrap();
    let expected = [
        (inner, "user.note", "61 0a 62 00 3d 63"),
        ("sp ace \"\"q", "trusted.x", "79"),
        ("link", "security.capability", "01 00 00 02 00 0a 00"),
    ];
    for (path, name, value) in expected {
        if let Some(text) = attribute(path, name) {
            assert!(text.contains(value), "{path} {name}: {text}");
        }
    }
}

#[test]
fn what_ext4_cannot_hold_is_refused_by_name() {
    let bench = Bench::new();
    let mut tree = Tree::bootable();
    tree.file_with("usr/odd", "system.richacl", b"x");
    let tree = bench.tree(&tree.finish());
    let error = bench.run(disk_of(KEYS).unwrap().as_ref(), &tree).err().unwrap();
    let text = format!("{error:#}");
    assert!(text.contains("`/odd`") && text.contains("system.richacl"), "{text}");
}

#[test]
fn files_that_do_not_fit_name_their_filesystem() {
    let bench = Bench::new();
    let mut tree = Tree::bootable();
    let noise: Vec<u8> = (0u32..(127 << 18)).flat_map(|n| (n | 1).to_le_bytes()).collect();
    tree.file("usr/big", &noise);
    let tree = bench.tree(&tree.finish());
    let error = bench.run(disk_of(KEYS).unwrap().as_ref(), &tree).err().unwrap();
    assert!(format!("{error:#}").contains("making the filesystem usr"), "{error:#}");
    assert!(kuth::error::hints(&error).iter().any(|hint| hint.contains("`usr` larger")));
}

/// A disk with every format, without LVM, behind an MBR.
const FORMATS: &str = r#"
size = "1 GiB"
table = "mbr"
firmware = ["bios"]
[[stage.disk.partition]]
name = "root"
size = "rest"
filesystem = "ext4"
mount = "/"
[[stage.disk.partition]]
name = "var"
size = "300 MiB"
filesystem = "xfs"
mount = "/var"
[[stage.disk.partition]]
name = "share"
size = "64 MiB"
filesystem = "vfat"
mount = "/srv"
[[stage.disk.partition]]
name = "swap"
size = "64 MiB"
filesystem = "swap"
"#;

#[test]
fn every_format_is_sound_and_comes_out_the_same() {
    let mut tree = Tree::bootable();
    tree.entry("srv/", EntryType::Directory, 0o755, b"", "");
    tree.file("srv/A long name.text", &[b'x'; 5000]);
    tree.entry("srv/empty directory/", EntryType::Directory, 0o755, b"", "");
    tree.file("srv/nothing", b"");
    tree.entry("var/tmp/", EntryType::Directory, 0o1777, b"", "");
    tree.entry("var/lib/", EntryType::Directory, 0o2750, b"", "");
    tree.file("var/lib/with space", &[b'y'; 70_000]);
    tree.entry("var/lib/link", EntryType::Symlink, 0o777, b"", "../tmp");
    tree.file("var/z", b"z");
    let tar = tree.finish();
    let build = || {
        let bench = Bench::new();
        let disk = bench.run(disk_of(FORMATS).unwrap().as_ref(), &bench.tree(&tar)).unwrap().0;
        (bench, disk)
    };
    let (bench, disk) = build();
    for artifact in bench.filesystems() {
        let image = artifact.to_str().unwrap();
        let mut magic = [0; 4];
        std::fs::File::open(&artifact).unwrap().read_exact(&mut magic).unwrap();
        match &magic {
            b"XFSB" => {
                judged("xfs_repair", &["-n", image]);
                if let Some(text) =
                    judged("xfs_db", &["-c", "path /tmp", "-c", "p core.mode", image])
                {
                    assert!(text.contains("041777"), "{text}");
                }
            }
            [0xeb, 0x58, ..] => {
                judged("fsck.vfat", &["-nv", image]);
                if let Some(text) = judged("mdir", &["-i", image, "-b", "::"]) {
                    assert!(text.contains("A long name.text"), "{text}");
                }
            }
            _ => {}
        }
    }
    judged("e2fsck", &["-fn", &at(&disk.image, 1 << 20)]);
    if let Some(text) = judged("sfdisk", &["-d", disk.image.to_str().unwrap()]) {
        assert!(text.contains("label: dos") && text.contains("bootable"), "{text}");
    }
    let (_bench, again) = build();
    assert_eq!(disk.artifact.digest, again.artifact.digest);
}
