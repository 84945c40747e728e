//! Disks that the real tools divided: partitions by sfdisk, logical ones too, volumes by lvm2, and
//! systems that are spread over them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::inspected::inspect;
use crate::world::{
    ROOT_TIME, World, have, import, import_root, lay, loop_devices, need_root, run, text,
};

const TOOLS: &[&str] = &["mke2fs", "sfdisk", "mkfs.vfat", "mcopy", "mkswap"];
const MIB: u64 = 1 << 20;

/// A disk of `size` MiB with the table that `script` describes.
fn divided(world: &World, size: u64, script: &str) -> PathBuf {
    let disk = world.at("disk.raw");
    File::create(&disk).unwrap().set_len(size * MIB).unwrap();
    let command = format!("sfdisk -q '{}' <<'END'\n{script}END\n", disk.display());
    run("sh", &["-c", &command]);
    disk
}

/// Where the partitions of a disk begin, in bytes, by number.
fn starts(disk: &Path) -> Vec<(u32, u64)> {
    let table = run("sfdisk", &["-d", text(disk)]);
    let line = |line: &str| {
        let (name, rest) = line.split_once(" : start=")?;
        let number = name.rsplit("raw").next()?.parse().ok()?;
        let start: u64 = rest.split(',').next()?.trim().parse().ok()?;
        Some((number, start * 512))
    };
    table.lines().filter_map(line).collect()
}

/// An ext4 of `size` MiB of the directory `from`.
fn ext4(world: &World, name: &str, from: &Path, size: u64, options: &[&str]) -> PathBuf {
    let image = world.at(name);
    File::create(&image).unwrap().set_len(size * MIB).unwrap();
    let mut arguments = vec!["-q", "-F", "-t", "ext4", "-d", text(from)];
    arguments.extend(options);
    arguments.push(text(&image));
    run("mke2fs", &arguments);
    let command = format!("set_inode_field <2> mtime @{ROOT_TIME}");
    run("debugfs", &["-w", "-R", &command, text(&image)]);
    image
}

/// The directory `part` of a copy of the tree, and the copy without what is in `part`.
fn split(whole: &Path, part: &str, to: &Path) {
    run("cp", &["-a", text(&whole.join(part)), text(to)]);
    let directory = whole.join(part);
    let command = format!(
        "touch -r '{0}' '{1}.time' && find '{0}' -mindepth 1 -delete && touch -r '{1}.time' '{0}'",
        directory.display(),
        to.display()
    );
    run("sh", &["-c", &command]);
    run("touch", &["-d", &format!("@{ROOT_TIME}"), text(to)]);
}

#[test]
fn a_system_on_logical_partitions() {
    if !have(TOOLS) || !need_root() {
        return;
    }
    let world = World::new();
    let script = "label: dos\nlabel-id: 0xdeadbeef\nsize=40MiB, type=83, bootable\ntype=5\n\
        size=60MiB, type=83\nsize=40MiB, type=c\nsize=8MiB, type=82\n";
    let disk = divided(&world, 160, script);
    let fstab = "PARTUUID=deadbeef-05 / ext4 defaults 0 1\nLABEL=boot /boot ext4 defaults 0 2\n\
        UUID=1234-ABCD /boot/efi vfat umask=0077 0 2\n/dev/sda7 none swap sw 0 0\n\
        /dev/sdb1 /srv ext4 nofail 0 0\ntmpfs /tmp tmpfs defaults 0 0\n";
    let (root, expected) = world.small_tree(fstab);
    split(&root, "boot/efi", &world.at("efi"));
    split(&root, "boot", &world.at("boot"));
    let boot = ext4(&world, "boot.raw", &world.at("boot"), 40, &["-L", "boot"]);
    let main = ext4(&world, "main.raw", &root, 60, &[]);
    let efi = world.at("efi.raw");
    File::create(&efi).unwrap().set_len(40 * MIB).unwrap();
    run("mkfs.vfat", &["-F", "32", "-i", "1234abcd", "-n", "ESP", text(&efi)]);
    let command = format!(
        "TZ=UTC SOURCE_DATE_EPOCH={ROOT_TIME} mcopy -m -s -i '{}' '{}'/* ::",
        efi.display(),
        world.at("efi").display()
    );
    run("sh", &["-c", &command]);
    let swap = world.at("swap.raw");
    File::create(&swap).unwrap().set_len(8 * MIB).unwrap();
    run("mkswap", &["-q", text(&swap)]);
    for (number, start) in starts(&disk) {
        match number {
            1 => lay(&disk, start, &boot),
            5 => lay(&disk, start, &main),
            6 => lay(&disk, start, &efi),
            7 => lay(&disk, start, &swap),
            _ => {}
        }
    }
    let imported = world.check(&disk, &expected);
    assert_eq!(
        imported.notes,
        [
            "a raw image",
            "partition 5 is the root",
            "partition 1 is a part of the tree",
            "partition 6 is a part of the tree",
            "/srv is left out: /dev/sdb1 is not on the disk",
        ]
    );
    assert_eq!(
        inspect(&disk),
        [
            "raw, 160.0 MiB, MBR table",
            "partition 1 40.0 MiB ext4 boot /boot",
            "partition 5 60.0 MiB ext4 /",
            "partition 6 40.0 MiB vfat ESP /boot/efi",
            "partition 7 8.0 MiB swap",
        ]
    );
}

#[test]
fn what_is_missing_is_named() {
    if !have(TOOLS) {
        return;
    }
    let world = World::new();
    let script = "label: gpt\nsize=30MiB\nsize=30MiB\nsize=30MiB\n";
    let disk = divided(&world, 100, script);
    let (root, _) =
        world.small_tree("/dev/vda1 / ext4 defaults 0 1\n/dev/vdb1 /usr ext4 defaults\n");
    let image = ext4(&world, "main.raw", &root, 30, &[]);
    let places = starts(&disk);
    lay(&disk, places[0].1, &image);
    let to = world.at("out.tar");
    assert_eq!(
        import(&disk, &to).unwrap_err(),
        "putting the system together: /etc/fstab mounts /dev/vdb1 at /usr, which is not on the disk \
         [the disk has partition 1 (ext4), partition 2 (unknown data), partition 3 \
         (unknown data)]"
    );
    lay(&disk, places[2].1, &image);
    let error = import(&disk, &to).unwrap_err();
    assert!(error.contains("the disk has 2 systems: partition 1, partition 3"), "{error}");
    let error = import_root(&disk, Some("2"), &to).unwrap_err();
    assert!(error.contains("partition 2 holds unknown data"), "{error}");
    let error = import_root(&disk, Some("9"), &to).unwrap_err();
    assert!(error.contains("`root` names 9, which is not on the disk"), "{error}");
}

/// Runs an lvm2 command on these devices alone, without a device mapper.
fn lvm(devices: &[String], command: &str, arguments: &[&str]) {
    let ours: String = devices.iter().map(|device| format!("\"a|^{device}$|\", ")).collect();
    let config = format!(
        "devices{{use_devicesfile=0 filter=[{ours}\"r|.*|\"]}} backup{{backup=0 archive=0}} \
         activation{{monitoring=0 udev_sync=0 udev_rules=0}}"
    );
    let mut all = vec![command, "--driverloaded", "n", "--config", &config];
    all.extend(arguments);
    run("lvm", &all);
}

#[test]
fn volumes_that_lvm2_made() {
    if !have(TOOLS) || !have(&["lvm", "losetup"]) || !need_root() {
        return;
    }
    let world = World::new();
    let disk = divided(&world, 220, "label: gpt\nsize=100MiB\nsize=100MiB\n");
    let places = starts(&disk);
    let sizes: Vec<_> = places.iter().map(|(_, start)| (*start, 100 * MIB)).collect();
    let fstab =
        "/dev/mapper/my--vg-root / ext4 defaults 0 1\n/dev/my-vg/data /usr ext4 defaults 0 2\n";
    let (root, expected) = world.small_tree(fstab);
    split(&root, "usr", &world.at("usr"));
    {
        let Some(devices) = loop_devices(&disk, &sizes) else { return };
        let names = devices.names();
        let lvm = |command: &str, arguments: &[&str]| lvm(names, command, arguments);
        lvm("pvcreate", &["--metadatacopies", "2", &names[0], &names[1]]);
        lvm("vgcreate", &["first", &names[0], &names[1]]);
        let new = ["-an", "-Zn", "-Wn", "-y"];
        lvm("lvcreate", &[&new[..], &["-i2", "-I64k", "-L40m", "-n", "stripy", "first"]].concat());
        lvm("lvcreate", &[&new[..], &["-L20m", "-n", "lin", "first", &names[0]]].concat());
        lvm("lvextend", &["-l+3", "first/lin", &names[1]]);
        lvm("lvrename", &["first", "lin", "root"]);
        lvm("lvrename", &["first", "stripy", "data"]);
        lvm("lvcreate", &[&new[..], &["-L8m", "-n", "unused", "first"]].concat());
        lvm("vgrename", &["first", "my-vg"]);
        // So many versions that the ring goes round.
        for turn in 0..30 {
            lvm(
                "lvchange",
                &["--addtag", &format!("turn-{turn}-{}", "x".repeat(900)), "my-vg/root"],
            );
        }
    }
    // Five extents of the first disk behind the stripes, then three of the second.
    let main = ext4(&world, "main.raw", &root, 32, &[]);
    let extents = |leg: usize, first: u64| places[leg].1 + MIB + first * 4 * MIB;
    let bytes = std::fs::read(&main).unwrap();
    let file = File::options().write(true).open(&disk).unwrap();
    file.write_all_at(&bytes[..20 << 20], extents(0, 5)).unwrap();
    file.write_all_at(&bytes[20 << 20..], extents(1, 5)).unwrap();
    let usr = std::fs::read(ext4(&world, "usr.raw", &world.at("usr"), 40, &[])).unwrap();
    for (turn, stripe) in usr.chunks(64 << 10).enumerate() {
        let place = extents(turn % 2, 0) + (turn as u64 / 2) * (64 << 10);
        file.write_all_at(stripe, place).unwrap();
    }
    let imported = world.check(&disk, &expected);
    assert_eq!(
        imported.notes[1..],
        ["the volume my-vg/root is the root", "the volume my-vg/data is a part of the tree",]
    );

    // The first copy of the metadata is damaged: there is another.
    file.write_all_at(&[0; 512], places[0].1 + 4096).unwrap();
    world.check(&disk, &expected);

    // Without its second disk the group is not all there.
    let alone = world.at("alone.raw");
    File::create(&alone).unwrap().set_len(100 * MIB).unwrap();
    let mut first = vec![0; 100 << 20];
    File::open(&disk).unwrap().read_exact_at(&mut first, places[0].1).unwrap();
    std::fs::write(&alone, first).unwrap();
    let error = import(&alone, &world.at("out.tar")).unwrap_err();
    assert!(error.contains("of the group `my-vg`, which is not on this disk"), "{error}");
}
