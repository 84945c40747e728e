//! Digests of disks of many layouts, made of one tree: a change of kuth that reaches the bytes of images
//! shows here, layout by layout. Such a change needs a line in CHANGELOG.md. KUTH_BLESS=1 writes the golden
//! file anew. The bytes depend on the tools of the file systems too, so that with others than those of the
//! golden file the test is skipped. tests/export_judged has the digests of the formats.

mod disk;

use std::fmt::Write;

use disk::{Bench, Tree, disk_of};
use kuth::digest::Digest;
use kuth_test_support::home::golden;
use kuth_test_support::{checkout, judge};
use tar::EntryType;

const GOLDEN: &str = "digests-disks.txt";

const ROOT: &str = "[[stage.disk.partition]]\nname = \"root\"\nsize = \"rest\"\nfilesystem = \"ext4\"\nmount = \"/\"\n";

/// A physical volume for [`volume`].
const GROUP: &str = "[[stage.disk.partition]]\nname = \"system\"\nsize = \"rest\"\nlvm = \"vg0\"\n";

fn partition(name: &str, size: &str, filesystem: &str, mount: &str) -> String {
    let mount = match mount {
        "" => String::new(),
        mount => format!("mount = \"{mount}\"\n"),
    };
    format!(
        "[[stage.disk.partition]]\nname = \"{name}\"\nsize = \"{size}\"\nfilesystem = \"{filesystem}\"\n{mount}"
    )
}

fn volume(name: &str, size: &str, filesystem: &str, mount: &str) -> String {
    partition(name, size, filesystem, mount).replace("disk.partition", "disk.volume")
}

/// Name and keys of each layout.
fn layouts() -> Vec<(&'static str, String)> {
    let head = |more: &str| format!("size = \"1 GiB\"\n{more}");
    let bios = "firmware = \"bios\"\n";
    let mbr = "firmware = \"bios\"\ntable = \"mbr\"\n";
    vec![
        ("gpt, both firmwares", head(ROOT)),
        ("gpt, bios", head(bios) + ROOT),
        ("gpt, uefi, unsigned", head("firmware = \"uefi\"\nsecure-boot = false\n") + ROOT),
        ("mbr", head(mbr) + ROOT),
        ("label and command line", head("cmdline = \"quiet\"\n") + ROOT + "label = \"system\"\n"),
        ("swap file", head("swap-file = \"64 MiB\"\n") + ROOT),
        ("root that grows", head("") + ROOT + "grow = true\n"),
        (
            "fstab alone",
            head("") + ROOT + "options = [\"noatime\"]\n[[stage.disk.tmpfs]]\nmount = \"/tmp\"\n",
        ),
        ("mount points", head("") + &partition("home", "64 MiB", "ext4", "/home") + ROOT),
        ("xfs beside ext4", head(bios) + &partition("var", "300 MiB", "xfs", "/var") + ROOT),
        (
            "vfat and swap",
            head(mbr)
                + &partition("data", "64 MiB", "vfat", "/srv")
                + &partition("swap", "64 MiB", "swap", "")
                + ROOT,
        ),
        (
            "lvm",
            head("")
                + &partition("boot", "64 MiB", "ext4", "/boot")
                + GROUP
                + &volume("root", "256 MiB", "ext4", "/")
                + &volume("var", "64 MiB", "ext4", "/var")
                + &volume("swap", "64 MiB", "swap", ""),
        ),
        ("lvm, the whole group", head("") + GROUP + &volume("root", "rest", "ext4", "/")),
    ]
}

/// Something of every kind that a tree holds, in the order of a canonical tar.
fn tree() -> Vec<u8> {
    let mut tree = Tree::new();
    let directory = |tree: &mut Tree, path: &str, mode: u32| {
        tree.entry(path, EntryType::Directory, mode, b"", "");
    };
    directory(&mut tree, "boot/", 0o755);
    tree.file("boot/initrd.img-6.12.1", b"initrd");
    tree.file("boot/vmlinuz-6.12.1", b"kernel");
    directory(&mut tree, "etc/", 0o755);
    tree.file("etc/hostname", b"a\n");
    for path in ["home/", "srv/"] {
        directory(&mut tree, path, 0o755);
    }
    directory(&mut tree, "tmp/", 0o1777);
    for path in ["usr/", "usr/bin/"] {
        directory(&mut tree, path, 0o755);
    }
    tree.file("usr/bin/large", &[b'l'; 300_000]);
    tree.entry("usr/bin/link", EntryType::Symlink, 0o777, b"", "large");
    tree.entry("usr/bin/second name", EntryType::Link, 0o644, b"", "usr/bin/large");
    tree.entry("usr/bin/set-id", EntryType::Regular, 0o4755, b"id", "");
    for path in ["usr/lib/", "usr/lib/systemd/"] {
        directory(&mut tree, path, 0o755);
    }
    tree.file("usr/lib/systemd/systemd", b"systemd");
    tree.file("usr/lib/systemd/systemd-growfs", b"growfs");
    directory(&mut tree, "usr/sbin/", 0o755);
    for program in ["lvm", "mkswap", "sfdisk"] {
        tree.file(&format!("usr/sbin/{program}"), program.as_bytes());
    }
    directory(&mut tree, "var/", 0o755);
    tree.owned("var/owned", 1000, 1001);
    tree.finish()
}

#[test]
fn disks_have_the_digests_of_the_golden_file() {
    let bench = Bench::new();
    let tools: String = bench.tools().map(|tool| format!("{tool}\n")).collect();
    let of = |name: &str| {
        let line = tools.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not among the tools:\n{tools}")).to_string()
    };
    let mut text = format!(
        "# with {}, {}, {}; all tools: {}\n",
        of("e2fsprogs"),
        of("xfsprogs"),
        of("grub-pc-bin"),
        Digest::of(&tools).short()
    );
    let there = std::fs::read_to_string(checkout().join("tests/golden").join(GOLDEN));
    let theirs = there.unwrap_or_default().lines().next().unwrap_or_default().to_string();
    if theirs != text.trim_end() && std::env::var_os("KUTH_BLESS").is_none() {
        judge::skip(&format!(
            "the golden file is {theirs:?}, and here it is {:?}",
            text.trim_end()
        ));
        return;
    }
    let tree = bench.tree(&tree());
    for (name, keys) in layouts() {
        let stage = disk_of(&keys).unwrap_or_else(|faults| panic!("{name}:\n{faults}"));
        let (made, _) = bench.run(stage.as_ref(), &tree).unwrap();
        writeln!(text, "{}  {name}", made.artifact.digest).unwrap();
    }
    golden(GOLDEN, &text);
}
