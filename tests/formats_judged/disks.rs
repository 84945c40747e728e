//! What lies on a disk: partition tables, LVM2, swap and GRUB.

use kuth::format::lvm2::{Extents, Id, Layout, Origin, Volume};
use kuth::format::{gpt, mbr, swap};
use kuth::units::{Bytes, Sectors};

use crate::tools::{id, lay, text, tool, verdict};

#[test]
fn gpt_passes_sgdisk_and_blkid() {
    let dir = tempfile::tempdir().unwrap();
    let part = |name: &str, type_guid, first, length| gpt::Partition {
        name: name.into(),
        type_guid,
        guid: id(name),
        first: Bytes::mib(first).sectors(),
        length: Bytes::mib(length).sectors(),
        attributes: 0,
    };
    let table = gpt::Table {
        disk_guid: id("disk"),
        disk: Bytes::gib(3),
        partitions: vec![
            part("bios", gpt::BIOS_BOOT, 1, 1),
            part("esp", gpt::ESP, 2, 62),
            part("boot", gpt::LINUX, 64, 512),
            part("swap", gpt::SWAP, 576, 448),
            part("lvm", gpt::LVM, 1024, 2047),
        ],
    };
    let pieces = table.write(Some(&[0x90; 440])).unwrap();
    let disk = lay(dir.path(), "gpt.raw", table.disk, &pieces);
    assert_eq!(gpt::Table::read(&pieces[0].1), Ok(table));
    if let Some(out) = tool("sgdisk", &["-v", text(&disk)]) {
        assert!(out.contains("No problems found"), "{out}");
        assert!(!out.contains("Warning"), "{out}");
        let out = tool("sgdisk", &["-p", text(&disk)]).unwrap();
        for (number, name) in ["EF02  bios", "EF00  esp", "8300  boot", "8200  swap", "8E00  lvm"]
            .into_iter()
            .enumerate()
        {
            assert!(out.contains(name), "partition {}: {out}", number + 1);
        }
    }
    if let Some(out) = tool("blkid", &["-p", "-o", "export", text(&disk)]) {
        assert!(out.contains("PTTYPE=gpt"), "{out}");
        assert!(out.contains(&format!("PTUUID={}", id("disk"))), "{out}");
    }
    if let Some(out) = tool("sfdisk", &["--verify", text(&disk)]) {
        assert!(out.contains("No errors detected"), "{out}");
    }
}

#[test]
fn mbr_passes_sfdisk_and_blkid() {
    let dir = tempfile::tempdir().unwrap();
    let part = |kind, first, length, active| {
        Some(mbr::Partition { kind, first: Sectors(first), length: Sectors(length), active })
    };
    let table = mbr::Table {
        disk_id: 0x1234_abcd,
        slots: [
            part(mbr::kind::LINUX, 2048, 1 << 20, mbr::Active::Yes),
            part(mbr::kind::LVM, 1_050_624, 1 << 20, mbr::Active::No),
            None,
            None,
        ],
    };
    let sector = table.write(None).unwrap().to_vec();
    let disk = lay(dir.path(), "mbr.raw", Bytes::gib(2), &vec![(Bytes(0), sector)]);
    if let Some(out) = tool("blkid", &["-p", "-o", "export", text(&disk)]) {
        assert!(out.contains("PTTYPE=dos") && out.contains("PTUUID=1234abcd"), "{out}");
    }
    if let Some((_, out, err)) = verdict("sgdisk", &["-p", text(&disk)]) {
        // sgdisk shows a DOS table as the GPT it would become.
        assert!(out.contains("   1            2048         1050623"), "{out}{err}");
        assert!(out.contains("8E00"), "{out}{err}");
    }
    if let Some(out) = tool("sfdisk", &["--verify", text(&disk)]) {
        assert!(out.contains("No errors detected"), "{out}");
    }
}

#[test]
fn lvm_passes_pvck_and_blkid() {
    let dir = tempfile::tempdir().unwrap();
    let lvm_id = |label: &str| Id::derived("judged", label);
    let volume = |name: &str, extents| Volume {
        name: name.into(),
        id: lvm_id(name),
        extents: Extents(extents),
    };
    let layout = Layout {
        name: "vg0".into(),
        id: lvm_id("vg"),
        pv_id: lvm_id("pv"),
        pv_size: Bytes::gib(28),
        extent_size: Bytes::mib(4),
        volumes: vec![volume("root", 512), volume("home", 512), volume("usr", 2560)],
        origin: Origin { host: "builder".into(), time: 1_767_225_600 },
    };
    let disk = lay(dir.path(), "pv.raw", layout.pv_size, &layout.write().unwrap());
    if let Some(out) = tool("pvck", &["--dump", "headers", text(&disk)]) {
        assert!(out.contains(&layout.pv_id.to_string().replace('-', "")), "{out}");
        assert!(!out.to_lowercase().contains("error") && !out.contains("CHECK"), "{out}");
        let out = tool("pvck", &["--dump", "metadata", text(&disk)]).unwrap();
        for wanted in ["vg0 {", "root {", "extent_count = 2560", "\"pv0\", 1024", "RESIZEABLE"] {
            assert!(out.contains(wanted), "{wanted}: {out}");
        }
        // It must also be able to say no.
        let mut damaged = layout.write().unwrap();
        damaged[2].1[10] ^= 1;
        let damaged = lay(dir.path(), "damaged.raw", layout.pv_size, &damaged);
        let (success, out, err) = verdict("pvck", &["--dump", "metadata", text(&damaged)]).unwrap();
        assert!(!success, "{out}{err}");
    }
    if let Some(out) = tool("blkid", &["-p", "-o", "export", text(&disk)]) {
        assert!(out.contains("TYPE=LVM2_member"), "{out}");
        assert!(out.contains(&format!("UUID={}", layout.pv_id)), "{out}");
    }
}

#[test]
fn swap_passes_blkid_and_swaplabel() {
    let dir = tempfile::tempdir().unwrap();
    let area = swap::Swap { size: Bytes::mib(64), uuid: id("swap"), label: "pages".into() };
    let disk = lay(dir.path(), "swap.raw", area.size, &vec![(Bytes(0), area.write().unwrap())]);
    if let Some(out) = tool("blkid", &["-p", "-o", "export", text(&disk)]) {
        for wanted in ["TYPE=swap", "LABEL=pages", &format!("UUID={}", area.uuid)] {
            assert!(out.contains(wanted), "{wanted}: {out}");
        }
    }
    if let Some(out) = tool("swaplabel", &[text(&disk)]) {
        assert!(out.contains("LABEL: pages") && out.contains(&area.uuid.to_string()), "{out}");
    }
}
