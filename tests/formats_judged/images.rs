//! Disk images, compared by QEMU with the raw disk they were made of.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kuth::format::blocks::{BlockMap, Plan};
use kuth::format::probe::{ImageFormat, PROBE_LENGTH, probe};
use kuth::format::{Pieces, qcow2, vdi, vhd, vmdk};
use kuth::units::Bytes;

use crate::tools::{id, lay, text, tool};

/// A disk of 100 MiB with data in odd places, and where.
fn raw(dir: &Path) -> (PathBuf, Bytes, Vec<(Bytes, Bytes)>) {
    let size = Bytes::mib(100);
    let extents = [(0, 4096), (3 << 20, 200_000), (50 << 20, 5 << 20), ((100 << 20) - 512, 512)];
    let mut pieces = Pieces::new();
    for (at, length) in extents {
        // Neither zero nor the same in any two sectors, and only half compressible.
        let byte = |i: u64| if i % 1024 < 512 { ((i * i + at) >> 7) as u8 | 1 } else { 0x55 };
        pieces.push((Bytes(at), (0..length).map(byte).collect()));
    }
    let extents = extents.map(|(at, length)| (Bytes(at), Bytes(length))).to_vec();
    (lay(dir, "disk.raw", size, &pieces), size, extents)
}

/// Does what a plan says, as a caller would.
fn carry_out(plan: &Plan, disk: &Path, to: &Path) {
    let (from, file) = (File::open(disk).unwrap(), File::create(to).unwrap());
    file.set_len(plan.length.0).unwrap();
    for (at, bytes) in &plan.pieces {
        file.write_all_at(bytes, at.0).unwrap();
    }
    for copy in &plan.copies {
        let mut bytes = vec![0; copy.length.0 as usize];
        from.read_exact_at(&mut bytes, copy.from.0).unwrap();
        file.write_all_at(&bytes, copy.to.0).unwrap();
    }
}

/// `qemu-img compare` finds no difference.
fn assert_same(disk: &Path, format: &str, image: &Path) {
    let args = ["compare", "-f", "raw", "-F", format, text(disk), text(image)];
    if let Some(out) = tool("qemu-img", &args) {
        assert!(out.contains("Images are identical."), "{out}");
    }
}

#[test]
fn qcow2_passes_qemu_img() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, size, extents) = raw(dir.path());
    let image = dir.path().join("disk.qcow2");
    let map = BlockMap::new(size, qcow2::CLUSTER, extents).unwrap();
    carry_out(&qcow2::plan(&map).unwrap(), &disk, &image);
    assert_same(&disk, "qcow2", &image);
    if let Some(out) = tool("qemu-img", &["check", "-f", "qcow2", text(&image)]) {
        assert!(out.contains("No errors were found"), "{out}");
    }
    for (name, below, backing_format) in [
        ("over-raw.qcow2", "disk.raw", qcow2::BackingFormat::Raw),
        ("over-qcow2.qcow2", "disk.qcow2", qcow2::BackingFormat::Qcow2),
    ] {
        let overlay = qcow2::Overlay { size, backing: below.into(), backing_format };
        let path = dir.path().join(name);
        fs::write(&path, overlay.write().unwrap()).unwrap();
        assert_same(&disk, "qcow2", &path);
        let Some(out) = tool("qemu-img", &["check", "-f", "qcow2", text(&path)]) else { return };
        assert!(out.contains("No errors were found"), "{out}");
        let out = tool("qemu-img", &["info", text(&path)]).unwrap();
        assert!(out.contains(&format!("backing file format: {}", backing_format.name())), "{out}");
        tool("qemu-io", &["-f", "qcow2", "-c", "write -P 9 1M 3M", text(&path)]);
        let out = tool("qemu-img", &["check", "-f", "qcow2", text(&path)]).unwrap();
        assert!(out.contains("No errors were found"), "{out}");
    }
}

#[test]
fn vdi_and_vhd_pass_qemu_img() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, size, extents) = raw(dir.path());
    let image = dir.path().join("disk.vdi");
    let map = BlockMap::new(size, vdi::BLOCK, extents).unwrap();
    let ids = vdi::Ids { image: id("vdi"), modification: id("vdi/modified") };
    carry_out(&vdi::plan(&map, ids).unwrap(), &disk, &image);
    assert_same(&disk, "vdi", &image);
    if let Some(out) = tool("qemu-img", &["check", "-f", "vdi", text(&image)]) {
        assert!(out.contains("No errors were found"), "{out}");
    }
    let image = dir.path().join("disk.vhd");
    let map = map.in_blocks_of(vhd::BLOCK).unwrap();
    let identity = vhd::Identity { uuid: id("vhd"), time: 1_767_225_600 };
    carry_out(&vhd::plan(&map, identity).unwrap(), &disk, &image);
    assert_same(&disk, "vpc", &image);
    if let Some(out) = tool("qemu-img", &["info", "-f", "vpc", text(&image)]) {
        assert!(out.contains("100 MiB (104857600 bytes)"), "{out}");
    }
}

#[test]
fn vmdk_passes_qemu_img() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, size, extents) = raw(dir.path());
    let description = vmdk::Description {
        size,
        file_name: "disk.vmdk".into(),
        uuid: id("vmdk"),
        adapter: vmdk::Adapter::LsiLogic,
    };
    let path = dir.path().join("disk.vmdk");
    let mut stream = vmdk::Stream::new(File::create(&path).unwrap(), &description).unwrap();
    let from = File::open(&disk).unwrap();
    for index in BlockMap::new(size, vmdk::GRAIN, extents).unwrap().indices() {
        let mut grain = vec![0; vmdk::GRAIN.0 as usize];
        from.read_exact_at(&mut grain, index * vmdk::GRAIN.0).unwrap();
        stream.push(index, &vmdk::compress_grain(&grain, vmdk::Level(6))).unwrap();
    }
    stream.finish().unwrap();
    assert_same(&disk, "vmdk", &path);
    if let Some(out) = tool("qemu-img", &["info", "-f", "vmdk", text(&path)]) {
        assert!(out.contains("create type: streamOptimized"), "{out}");
    }
    if let Some(out) = tool("qemu-img", &["check", "-f", "vmdk", text(&path)]) {
        assert!(out.contains("No errors were found"), "{out}");
    }
    let image = fs::read(&path).unwrap();
    assert_eq!(image[image.len() - 512..], [0; 512], "the end-of-stream marker");
}

#[test]
fn images_of_others_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let known = |path: &Path| {
        let mut head = Vec::new();
        File::open(path).unwrap().take(PROBE_LENGTH as u64).read_to_end(&mut head).unwrap();
        probe(&head)
    };
    for (format, expected) in [
        ("qcow2", ImageFormat::Qcow2),
        ("vdi", ImageFormat::Vdi),
        ("vmdk", ImageFormat::Vmdk),
        ("vpc", ImageFormat::Vhd),
    ] {
        let path = dir.path().join(format);
        let made = tool("qemu-img", &["create", "-q", "-f", format, text(&path), "64M"]);
        if made.is_some() {
            assert_eq!(known(&path), Some(expected), "{format}");
        }
    }
    for (name, args, expected) in [
        ("mke2fs", vec!["-q", "-F", "-t", "ext4"], ImageFormat::Ext4),
        ("mkfs.vfat", vec!["-F", "32"], ImageFormat::Fat),
        ("mkswap", vec!["-q"], ImageFormat::Swap),
        ("sgdisk", vec!["-n", "1:0:0"], ImageFormat::Gpt),
    ] {
        let path = lay(dir.path(), name, Bytes::mib(64), &Pieces::new());
        if tool(name, &[&args[..], &[text(&path)]].concat()).is_some() {
            assert_eq!(known(&path), Some(expected), "{name}");
        }
    }
}
