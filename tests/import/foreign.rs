//! What kuth knows by name alone: refused, with the tool that helps. blkid is the judge of volumes,
//! qemu-img makes images.

use std::path::Path;
use std::process::Command;

use kuth::import::{self, OtherFiles};
use kuth_test_support::program;
use kuth_test_support::run::Run;

use crate::world::{World, have, run, text};

/// Why an image cannot be opened, with its hints.
fn refused(path: &Path) -> String {
    let error = import::open(path, OtherFiles::SameDirectory).err();
    let error = error.unwrap_or_else(|| panic!("{} was opened", path.display()));
    let hints: Vec<String> =
        kuth::error::hints(&error).iter().map(|hint| hint.to_string()).collect();
    format!("{error:#} ({})", hints.join(", "))
}

#[test]
fn images_that_qemu_img_makes_and_kuth_does_not_read_are_named() {
    if !have(&["qemu-img"]) {
        return;
    }
    let world = World::new();
    for (format, name) in
        [("vhdx", "a VHDX image"), ("parallels", "a Parallels image"), ("qed", "a QED image")]
    {
        let path = world.at(format);
        run("qemu-img", &["create", "-q", "-f", format, text(&path), "8M"]);
        let said = refused(&path);
        assert!(said.contains(&format!("it is {name}, which kuth does not read")), "{said}");
        assert!(said.contains("qemu-img convert"), "{said}");
    }
}

#[test]
fn images_of_other_programs_are_named() {
    let world = World::new();
    for (name, start, end, expected) in [
        ("bochs", &b"Bochs Virtual HD Image\0"[..], &b""[..], ["a Bochs image", "qemu-img"]),
        ("cloop", b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop", b"", ["a cloop image", "cloop"]),
        ("dmg", b"", b"koly\0\0\0\x04", ["a DMG image", "-f dmg"]),
        ("e01", b"EVF\x09\x0d\x0a\xff\x00\x01", b"", ["an EnCase image (E01)", "ewfexport"]),
    ] {
        let mut bytes = vec![0; 1 << 20];
        bytes[..start.len()].copy_from_slice(start);
        let at = bytes.len() - 512;
        bytes[at..at + end.len()].copy_from_slice(end);
        std::fs::write(world.at(name), &bytes).unwrap();
        let said = refused(&world.at(name));
        assert!(expected.iter().all(|part| said.contains(part)), "{said}");
    }
}

/// A superblock of md 1 that is at this place.
fn md_1(at: u64) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..8].copy_from_slice(b"\xfc\x4e\x2b\xa9\x01\0\0\0");
    block[144..152].copy_from_slice(&(at / 512).to_le_bytes());
    block
}

#[test]
fn members_of_arrays_and_foreign_file_systems_are_named_as_blkid_names_them() {
    let world = World::new();
    let size: u64 = (4 << 20) + 5 * 512;
    let near_end = (size / 512 - 16) / 8 * 8 * 512;
    let md_0 = [0xa92b_4efc_u32, 0, 90, 0].map(u32::to_le_bytes).concat();
    let raid = "a member of a RAID";
    for (at, bytes, name, kind) in [
        ((4 << 20) - (64 << 10), md_0, raid, "linux_raid_member"),
        (0, md_1(0), raid, "linux_raid_member"),
        (4096, md_1(4096), raid, "linux_raid_member"),
        (near_end, md_1(near_end), raid, "linux_raid_member"),
        (size - 512, vec![0xde, 0x11, 0xde, 0x11], "a member of a RAID (DDF)", "ddf_raid_member"),
        (3, b"EXFAT   ".to_vec(), "exFAT", "exfat"),
        (3, b"-FVE-FS-".to_vec(), "BitLocker, encrypted", ""),
    ] {
        let mut disk = vec![0; size as usize];
        disk[at as usize..][..bytes.len()].copy_from_slice(&bytes);
        let path = world.at("disk");
        std::fs::write(&path, &disk).unwrap();
        // Of BitLocker blkid wants more than the name.
        if !kind.is_empty() {
            if !have(&["blkid"]) {
                return;
            }
            let judged = run("blkid", &["-p", "-o", "value", "-s", "TYPE", text(&path)]);
            assert_eq!(judged.trim(), kind, "{name} at {at}");
        }
        let inspected = Run::to_end(Command::new(program()).arg("inspect").arg(&path)).ended(1).out;
        let words = "the whole disk cannot be read: kuth does not read it: ";
        assert!(inspected.contains(name) && inspected.contains(words), "{inspected}");
    }
}

#[test]
fn the_label_of_a_fat_is_that_of_its_root_directory() {
    if !have(&["mkfs.vfat", "blkid"]) {
        return;
    }
    let world = World::new();
    let path = world.at("fat");
    for (bits, size, label_at) in [("12", "4096", 43), ("16", "16384", 43), ("32", "65536", 71)] {
        let _ = std::fs::remove_file(&path);
        run("mkfs.vfat", &["-F", bits, "-n", "OF ROOT", "-C", text(&path), size]);
        let mut disk = std::fs::read(&path).unwrap();
        disk[label_at..label_at + 11].copy_from_slice(b"OF BOOT    ");
        std::fs::write(&path, &disk).unwrap();
        let judged = run("blkid", &["-p", "-o", "value", "-s", "LABEL", text(&path)]);
        assert_eq!(judged.trim(), "OF ROOT");
        let image = import::open(&path, OtherFiles::Refused).unwrap_or_else(|e| panic!("{e:#}"));
        let report = import::inspect(&image).unwrap();
        assert_eq!(report.parts[0].label.as_deref(), Some("OF ROOT"), "FAT{bits}");
    }
}

#[test]
fn names_on_a_disk_reach_no_terminal_as_they_are() {
    if !have(&["mkfs.ext4"]) {
        return;
    }
    let world = World::new();
    let path = world.at("disk");
    std::fs::write(&path, vec![0; 8 << 20]).unwrap();
    let fstab = "UUID=\u{1b}[2J\u{7} /srv\u{1b}[31m\u{202e} ext4 defaults 0 0\n";
    std::fs::create_dir_all(world.at("root/etc")).unwrap();
    std::fs::write(world.at("root/etc/fstab"), fstab).unwrap();
    let label = "a\u{1b}]0;x\u{7}b";
    run("mkfs.ext4", &["-q", "-L", label, "-d", text(&world.at("root")), text(&path)]);
    let run = Run::to_end(Command::new(program()).arg("inspect").arg(&path));
    let all = format!("{}{}", run.out, run.err);
    assert!(
        all.contains("a\\u{1b}]0;x\\u{7}b") && all.contains("/srv\\u{1b}[31m\\u{202e}"),
        "{all}"
    );
    let raw = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!all.contains(raw), "{all:?}");
}
