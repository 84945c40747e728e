//! GRUB itself as the judge: a BIOS starts it from both kinds of disk, and it must find the
//! volumes of the LVM group there. The directory of its images is KUTH_GRUB_PC or Debian's.

use std::fs;
use std::path::{Path, PathBuf};

use kuth::format::grub::{self, Boot, Room};
use kuth::format::lvm2::{Extents, Id, Layout, Origin, Volume};
use kuth::format::{Pieces, gpt, mbr};
use kuth::units::{Bytes, Sectors};

use crate::tools::{id, lay, missing, text, tool};

const DISK: Bytes = Bytes::mib(64);
const PV: Bytes = Bytes::mib(2);

/// Where boot.img is; `None` where grub-pc-bin is not installed.
fn images() -> Option<PathBuf> {
    let directory = std::env::var("KUTH_GRUB_PC").unwrap_or("/usr/lib/grub/i386-pc".into());
    let directory = PathBuf::from(directory);
    if directory.join("boot.img").exists() {
        return Some(directory);
    }
    missing("grub-pc-bin");
    None
}

#[test]
fn grub_s_own_images_are_accepted() {
    let Some(directory) = images() else { return };
    let boot = fs::read(directory.join("boot.img")).unwrap();
    // A core.img begins with diskboot.img.
    let mut core = fs::read(directory.join("diskboot.img")).unwrap();
    core.resize(100_000, 1);
    let room = Room { first: Sectors(2048), length: Sectors(2048) };
    let made = grub::install(&boot, &core, room).unwrap();
    let changed = boot.iter().zip(&made.code).filter(|(a, b)| a != b).count();
    assert_eq!(changed, 4, "the sector's two low bytes and the jump");
    assert_eq!(made.core[0x1f4..0x1fe], [1, 8, 0, 0, 0, 0, 0, 0, 195, 0]);
}

/// A core.img that lists what it finds on the serial line, installed into `room`.
fn lister(dir: &Path, directory: &Path, room: Room) -> Option<Boot> {
    let (config, core) = (dir.join("early.cfg"), dir.join("core.img"));
    let lines = "serial --unit=0\nterminal_output serial\necho up\nls\nhalt\n";
    fs::write(&config, lines).unwrap();
    let options = ["-O", "i386-pc", "-p", "/grub", "-d", text(directory)];
    let files = ["-c", text(&config), "-o", text(&core)];
    let modules = "biosdisk part_gpt part_msdos lvm echo serial terminal ls halt";
    let modules: Vec<&str> = modules.split(' ').collect();
    tool("grub-mkimage", &[&options[..], &files, &modules].concat())?;
    let boot = fs::read(directory.join("boot.img")).unwrap();
    Some(grub::install(&boot, &fs::read(core).unwrap(), room).unwrap())
}

/// The group, on the disk.
fn group() -> Pieces {
    let lvm_id = |label: &str| Id::derived("boots", label);
    let volume = |name: &str| Volume { name: name.into(), id: lvm_id(name), extents: Extents(4) };
    let layout = Layout {
        name: "vg0".into(),
        id: lvm_id("vg"),
        pv_id: lvm_id("pv"),
        pv_size: Bytes::mib(60),
        extent_size: Bytes::mib(4),
        volumes: vec![volume("root"), volume("home"), volume("a-b")],
        origin: Origin { host: "builder".into(), time: 0 },
    };
    layout.write().unwrap().into_iter().map(|(at, bytes)| (PV + at, bytes)).collect()
}

/// What GRUB says when the disk is booted.
fn boot(disk: &Path) -> Option<String> {
    let drive = format!("file={},format=raw,if=ide,snapshot=on", text(disk));
    let machine = ["-M", "q35", "-m", "128", "-display", "none", "-nic", "none", "-no-reboot"];
    let qemu = ["60", "qemu-system-x86_64", "-serial", "stdio", "-drive", &drive];
    tool("qemu-system-x86_64", &["--version"])?;
    // GRUB that goes astray does not end by itself.
    tool("timeout", &[&qemu[..], &machine].concat())
}

#[test]
fn a_bios_starts_grub_from_a_gpt_and_from_an_mbr() {
    let dir = tempfile::tempdir().unwrap();
    let Some(directory) = images() else { return };
    let (pv_first, pv_length) = (PV.sectors(), Bytes::mib(60).sectors());

    let room = Room { first: Sectors(2048), length: Sectors(2048) };
    let Some(made) = lister(dir.path(), &directory, room) else { return };
    let part = |name: &str, type_guid, first, length| gpt::Partition {
        name: name.into(),
        type_guid,
        guid: id(name),
        first,
        length,
        attributes: 0,
    };
    let partitions = vec![
        part("bios", gpt::BIOS_BOOT, room.first, room.length),
        part("lvm", gpt::LVM, pv_first, pv_length),
    ];
    let table = gpt::Table { disk_guid: id("disk"), disk: DISK, partitions };
    let mut pieces = table.write(Some(&made.code)).unwrap();
    pieces.push((room.first.bytes(), made.core));
    pieces.extend(group());
    let gpt = lay(dir.path(), "gpt.raw", DISK, &pieces);

    let made = lister(dir.path(), &directory, Room::mbr_gap(Sectors(2048))).unwrap();
    let active = mbr::Active::Yes;
    let pv = mbr::Partition { kind: mbr::kind::LVM, first: pv_first, length: pv_length, active };
    let table = mbr::Table { disk_id: 7, slots: [Some(pv), None, None, None] };
    let mut pieces = vec![(Bytes(0), table.write(Some(&made.code)).unwrap().to_vec())];
    pieces.push((Sectors(1).bytes(), made.core));
    pieces.extend(group());
    let mbr = lay(dir.path(), "mbr.raw", DISK, &pieces);

    for (disk, partition) in [(gpt, "(hd0,gpt2)"), (mbr, "(hd0,msdos1)")] {
        let Some(said) = boot(&disk) else { return };
        // GRUB doubles dashes, as the device mapper does.
        for wanted in ["up", partition, "(lvm/vg0-root)", "(lvm/vg0-home)", "(lvm/vg0-a--b)"] {
            assert!(said.contains(wanted), "{wanted} of {}: {said}", disk.display());
        }
    }
}
