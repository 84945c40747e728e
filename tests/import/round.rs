//! A tree that kuth made a disk of, exported to every format, comes back: the same from each, and
//! the same as it was but for the files that the disk added.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use kuth::cancel::Cancel;
use kuth::cancel::Progress;
use kuth::digest::Digest;
use kuth::format::vmdk::Level;
use kuth::image::{self, Container, Identity};
use tar::EntryType;

use crate::disk::{Bench, EPOCH, Tree, disk_of};
use crate::inspected::inspect;
use crate::world::{World, import, text};
use kuth_test_support::judge::{missing, verdict};

const KEYS: &str = r#"
size = "2 GiB"
[[stage.disk.partition]]
name = "boot"
size = "128 MiB"
filesystem = "ext4"
mount = "/boot"
[[stage.disk.partition]]
name = "system"
size = "rest"
lvm = "vg-0"
[[stage.disk.volume]]
name = "root"
size = "256 MiB"
filesystem = "ext4"
mount = "/"
[[stage.disk.volume]]
name = "usr-1"
size = "128 MiB"
filesystem = "ext4"
mount = "/usr"
[[stage.disk.volume]]
name = "home"
size = "320 MiB"
filesystem = "xfs"
mount = "/home"
[[stage.disk.volume]]
name = "swap"
size = "64 MiB"
filesystem = "swap"
"#;

/// Everything else, in one file system.
const OTHER_KEYS: &str = r#"
size = "1 GiB"
table = "mbr"
firmware = "bios"
[[stage.disk.partition]]
name = "root"
size = "rest"
filesystem = "ext4"
mount = "/"
"#;

fn tree() -> Vec<u8> {
    let mut tree = Tree::bootable();
    tree.file("home/file", b"content");
    tree.entry("home/link", EntryType::Symlink, 0o777, b"", "file");
    tree.file_with(
        "usr/sbin/ping",
        "security.capability",
        b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    );
    tree.file_with("var/note", "user.note", b"some value");
    tree.entry("usr/sbin/lvs", EntryType::Link, 0o644, b"", "usr/sbin/lvm");
    tree.file("usr/sbin/large", &vec![9; 5_000_000]);
    tree.entry("var/secret", EntryType::Regular, 0o4750, b"s", "");
    tree.finish()
}

/// What a tar says of each name, in words.
fn entries(tar: impl Read) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(tar);
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut records = Vec::new();
        for record in entry.pax_extensions().unwrap().into_iter().flatten() {
            let record = record.unwrap();
            records.push((record.key().unwrap().to_string(), record.value_bytes().to_vec()));
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        let link = entry.link_name().unwrap().map(|link| link.display().to_string());
        let told = format!(
            "{:?} {:o} {}:{} {} {link:?} {} {records:?}",
            header.entry_type(),
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            header.mtime().unwrap(),
            Digest::of(&content).short(),
        );
        let name = entry.path().unwrap().display().to_string();
        found.insert(name.trim_end_matches('/').to_string(), told);
    }
    found
}

fn differing(one: &BTreeMap<String, String>, two: &BTreeMap<String, String>) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = one.keys().chain(two.keys()).collect();
    names.into_iter().filter(|name| one.get(*name) != two.get(*name)).cloned().collect()
}

fn imported(world: &World, image: &Path) -> Digest {
    let to = world.at("imported.tar");
    import(image, &to).unwrap_or_else(|error| panic!("{}: {error}", image.display())).digest
}

#[test]
fn a_disk_comes_back_from_every_format() {
    let (world, bench) = (World::new(), Bench::new());
    let original = tree();
    let made = bench.tree(&original);
    let (disk, _) = bench.run(&*disk_of(KEYS).unwrap(), &made).unwrap();
    let digest = imported(&world, &disk.image);
    let back = std::fs::read(world.at("imported.tar")).unwrap();

    let (before, after) = (entries(original.as_slice()), entries(back.as_slice()));
    let added = [
        "boot/efi",
        "boot/efi/EFI",
        "boot/efi/EFI/BOOT",
        "boot/efi/EFI/BOOT/BOOTX64.EFI",
        "boot/efi/EFI/debian",
        "boot/efi/EFI/debian/grub.cfg",
        "boot/grub",
        "boot/grub/grub.cfg",
        "etc/fstab",
    ];
    // The names of a hard link are sorted, so the second is the one that says so.
    assert_eq!(differing(&before, &after), added);

    assert_eq!(
        inspect(&disk.image),
        [
            "raw, 2.0 GiB, GPT table",
            "partition 1 1.0 MiB unknown data bios",
            "partition 2 62.0 MiB vfat ESP /boot/efi",
            "partition 3 128.0 MiB ext4 boot /boot",
            "partition 4 1.8 GiB LVM2 physical volume system",
            "the volume vg-0/root 256.0 MiB ext4 root /",
            "the volume vg-0/usr-1 128.0 MiB ext4 usr-1 /usr",
            "the volume vg-0/home 320.0 MiB xfs home /home",
            "the volume vg-0/swap 64.0 MiB swap",
        ]
    );
    let identity = Identity { disk: disk.artifact.digest, epoch: EPOCH };
    let cancel = Cancel::default();
    for (name, container) in [
        ("qcow2", Container::Qcow2),
        ("vdi", Container::Vdi),
        ("vhd", Container::Vhd),
        ("vmdk", Container::Vmdk(Level(1))),
    ] {
        let image = world.at(name);
        let progress = Progress { cancel: &cancel, report: &|_, _| () };
        image::write(&disk.image, container, identity, &image, 2, progress).unwrap();
        assert_eq!(imported(&world, &image), digest, "{name}");
        std::fs::remove_file(&image).unwrap();
    }
    for options in ["qcow2 -c", "vmdk", "vdi", "vpc"] {
        let image = world.at("by-qemu");
        let arguments: Vec<&str> = options.split(' ').collect();
        let mut all = vec!["convert", "-f", "raw", "-O"];
        all.extend(&arguments);
        all.extend([text(&disk.image), text(&image)]);
        let Some((success, ..)) = verdict("qemu-img", &all) else { return missing("qemu-img") };
        assert!(success, "{all:?}");
        assert_eq!(imported(&world, &image), digest, "{options}");
        std::fs::remove_file(&image).unwrap();
    }

    // Laid out anew, it is the same but for what says how it is laid out.
    let again = bench.tree(&back);
    let (other, _) = bench.run(&*disk_of(OTHER_KEYS).unwrap(), &again).unwrap();
    imported(&world, &other.image);
    let third = entries(File::open(world.at("imported.tar")).unwrap());
    assert_eq!(differing(&after, &third), ["boot/grub/grub.cfg", "etc/fstab"]);
}
