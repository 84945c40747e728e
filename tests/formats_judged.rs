//! What the formats room writes, judged by the tools that others wrote for the same formats.
//! A tool that is not installed skips its test with a line, unless KUTH_REQUIRE_TOOLS=1.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kuth::format::blocks::{BlockMap, Plan};
use kuth::format::lvm2::{Extents, Id, Layout, Origin, Volume};
use kuth::format::{Guid, Pieces, gpt, grub, iso9660, mbr, qcow2, swap};
use kuth::units::{Bytes, Sectors};

/// Runs a tool: its stdout, after it must have succeeded. `None` where it is not installed.
fn tool(name: &str, args: &[&str]) -> Option<String> {
    let (success, out, err) = verdict(name, args)?;
    assert!(success, "{name} {args:?}:\n{out}{err}");
    Some(out)
}

/// Runs a tool: whether it succeeded, its stdout and its stderr.
fn verdict(name: &str, args: &[&str]) -> Option<(bool, String, String)> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let run = Command::new(name)
        .args(args)
        .env("PATH", path)
        .env("LC_ALL", "C")
        .env("LVM_SUPPRESS_FD_WARNINGS", "1")
        .output();
    match run {
        Ok(run) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Some((run.status.success(), text(&run.stdout), text(&run.stderr)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let required = std::env::var_os("KUTH_REQUIRE_TOOLS").is_some_and(|value| value == "1");
            assert!(!required, "{name} is not installed");
            println!("SKIPPED: {name} is not installed");
            None
        }
        Err(error) => panic!("running {name}: {error}"),
    }
}

/// A sparse file of `size` that holds `pieces`.
fn lay(dir: &Path, name: &str, size: Bytes, pieces: &Pieces) -> PathBuf {
    let path = dir.join(name);
    let file = File::create(&path).unwrap();
    file.set_len(size.0).unwrap();
    for (at, bytes) in pieces {
        file.write_all_at(bytes, at.0).unwrap();
    }
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn id(label: &str) -> Guid {
    Guid::derived("judged", label)
}

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

#[test]
fn grub_s_own_images_are_accepted() {
    let folder = std::env::var("KUTH_GRUB_PC").unwrap_or("/usr/lib/grub/i386-pc".into());
    let folder = Path::new(&folder);
    if !folder.join("boot.img").exists() {
        let required = std::env::var_os("KUTH_REQUIRE_TOOLS").is_some_and(|value| value == "1");
        assert!(!required, "grub-pc-bin is not installed");
        println!("SKIPPED: grub-pc-bin is not installed");
        return;
    }
    let boot = fs::read(folder.join("boot.img")).unwrap();
    // A core.img begins with diskboot.img.
    let mut core = fs::read(folder.join("diskboot.img")).unwrap();
    core.resize(100_000, 1);
    let room = grub::Room { first: Sectors(2048), length: Sectors(2048) };
    let made = grub::install(&boot, &core, room).unwrap();
    let changed = boot.iter().zip(&made.code).filter(|(a, b)| a != b).count();
    assert_eq!(changed, 4, "the sector's two low bytes and the jump");
    assert_eq!(made.core[0x1f4..0x1fe], [1, 8, 0, 0, 0, 0, 0, 0, 195, 0]);
}

/// A seed with a folder, a long name and a file of many sectors.
fn seed() -> iso9660::Volume {
    let file = |path: &str, bytes: Vec<u8>| iso9660::File { path: path.into(), bytes };
    iso9660::Volume {
        label: "cidata".into(),
        time: 1_767_225_600,
        files: vec![
            file("user-data", b"#cloud-config\nhostname: a\n".to_vec()),
            file("meta-data", b"instance-id: 1\n".to_vec()),
            file("network-config", b"version: 2\n".to_vec()),
            file("openstack/latest/a-rather-long-name.with.dots.json", vec![b'x'; 70_001]),
            file("empty", Vec::new()),
        ],
    }
}

#[test]
fn iso_passes_blkid_and_xorriso() {
    let dir = tempfile::tempdir().unwrap();
    let volume = seed();
    let disk = dir.path().join("seed.iso");
    fs::write(&disk, volume.write().unwrap()).unwrap();
    if let Some(out) = tool("blkid", &["-p", "-o", "export", text(&disk)]) {
        assert!(out.contains("TYPE=iso9660") && out.contains("LABEL=cidata"), "{out}");
    }
    // Once by Rock Ridge, once by Joliet.
    for view in ["any", "norock"] {
        let out = dir.path().join(view);
        let args = [
            "-read_fs",
            view,
            "-osirrox",
            "on",
            "-indev",
            text(&disk),
            "-extract",
            "/",
            text(&out),
        ];
        let Some((success, said, err)) = verdict("xorriso", &args) else { return };
        assert!(success && !err.contains("WARNING") && !err.contains("FAILURE"), "{said}{err}");
        if view == "any" {
            assert!(err.contains("Volume id    : 'cidata'"), "{said}{err}");
        }
        for file in &volume.files {
            let read = fs::read(out.join(&file.path)).unwrap();
            assert_eq!(read, file.bytes, "{} by {view}", file.path);
        }
    }
    if let Some(out) = tool("isoinfo", &["-d", "-i", text(&disk)]) {
        assert!(out.contains("Joliet with UCS level 3") && out.contains("Rock Ridge"), "{out}");
    }
}

#[test]
fn xorriso_s_images_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    let name = "n".repeat(200);
    fs::write(tree.join("a/b").join(&name), vec![7; 5000]).unwrap();
    for i in 0..100 {
        fs::write(tree.join(format!("a/file-{i}.txt")), format!("{i}")).unwrap();
    }
    std::os::unix::fs::symlink("../x/y", tree.join("a/link")).unwrap();
    let disk = dir.path().join("x.iso");
    let args = ["-as", "mkisofs", "-quiet", "-R", "-J", "-V", "FROM_XORRISO", "-o", text(&disk)];
    let args = [&args[..], &[text(&tree)]].concat();
    if tool("xorriso", &args).is_none() {
        return;
    }
    let mut image = iso9660::Image::open(File::open(&disk).unwrap()).unwrap();
    assert_eq!(image.label(), "FROM_XORRISO");
    let folder = image.find("a").unwrap().unwrap();
    assert_eq!(image.entries(&folder).unwrap().len(), 102);
    let link = image.find("a/link").unwrap().unwrap();
    assert_eq!(link.kind, iso9660::Kind::Link("../x/y".into()));
    let file = image.find(&format!("a/b/{name}")).unwrap().unwrap();
    let mut bytes = Vec::new();
    image.contents(&file).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, vec![7; 5000]);
    let file = image.find("a/file-57.txt").unwrap().unwrap();
    let mut bytes = String::new();
    image.contents(&file).read_to_string(&mut bytes).unwrap();
    assert_eq!(bytes, "57");
}

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
