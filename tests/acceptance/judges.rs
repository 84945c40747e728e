//! The first build, judged by the tools that others trust.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kuth::format::{gpt, lvm2};
use kuth::units::Bytes;

use crate::caching::MACHINES;
use crate::tools::{is_root, skip, tool, verdict};
use crate::world::{DEBIAN, directory, world};

/// The volumes of the pipeline in GiB.
const VOLUMES: [(&str, u64); 6] =
    [("root", 2), ("home", 2), ("opt", 1), ("tmp", 1), ("usr", 10), ("var", 10)];

/// A disk and what its tables say.
struct Disk {
    path: PathBuf,
    table: gpt::Table,
    /// Where the physical volume begins, and its length.
    pv: (Bytes, Bytes),
    group: lvm2::VolumeGroup,
}

fn disk() -> Disk {
    let path = world().project.artifact(DEBIAN, "disk");
    let file = File::open(&path).unwrap();
    let read = |at: u64, count: usize| {
        let mut bytes = vec![0; count];
        file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    };
    let table = gpt::Table::read(&read(0, 34 * 512)).unwrap();
    let system = table.partitions.iter().find(|part| part.type_guid == gpt::LVM).unwrap();
    let pv = (system.first.bytes(), system.length.bytes());
    let (_, group) = lvm2::read(&read(pv.0.0, 1 << 20)).unwrap();
    Disk { path, pv, group: group.unwrap(), table }
}

impl Disk {
    /// Where each ext4 lies: its name, offset and size.
    fn filesystems(&self) -> Vec<(String, u64, u64)> {
        let boot = self.table.partitions.iter().find(|part| part.name == "boot").unwrap();
        let mut found = vec![("boot".to_string(), boot.first.bytes().0, boot.length.bytes().0)];
        for (name, _) in VOLUMES {
            let runs = self.group.runs(name).unwrap();
            assert_eq!(runs.len(), 1, "{name} is in one piece");
            found.push((name.to_string(), self.pv.0.0 + runs[0].offset.0, runs[0].length.0));
        }
        found
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_first_build_makes_everything() {
    let world = world();
    world.first.assert_all("done");
    let states = world.first.states();
    let stages = format!("base disk {MACHINES} rootfs");
    assert_eq!(states.keys().copied().collect::<Vec<_>>().join(" "), stages);
    let summary = world.first.events.last().unwrap();
    assert_eq!((&summary["event"], &summary["run"]), (&"summary".into(), &18.into()));
    for stage in states.keys() {
        let path = Path::new(world.first.of(stage, "path"));
        assert!(path.exists(), "{stage}: {}", path.display());
    }
    assert!(world.project.output().join("debian/debian.qcow2").is_file());
    for machine in ["debian-base-image", "gate-node01", "hapx-node02", "kube-mast03", "glus-node01"]
    {
        assert!(world.project.machines.join(machine).join("machine.toml").is_file(), "{machine}");
    }
}

#[test]
fn sizes_are_those_of_the_pipeline() {
    let disk = disk();
    assert_eq!(disk.path.metadata().unwrap().len(), 28 << 30);
    assert_eq!(disk.table.disk, Bytes(28 << 30));
    let wanted: Vec<(String, u64)> = [("boot".to_string(), 512 << 20)]
        .into_iter()
        .chain(VOLUMES.map(|(name, gib)| (name.to_string(), gib << 30)))
        .collect();
    let found = disk.filesystems();
    let sizes: Vec<_> = found.iter().map(|(name, _, size)| (name.clone(), *size)).collect();
    assert_eq!(sizes, wanted);
    // The filesystems fill their places.
    for (name, at, size) in &found {
        let place = format!("{}?offset={at}", text(&disk.path));
        let Some(out) = tool("dumpe2fs", &["-h", &place]) else { return };
        let number = |field: &str| -> u64 {
            let line = out.lines().find_map(|line| line.strip_prefix(field));
            line.unwrap_or_else(|| panic!("{name}: {out}")).trim().parse().unwrap()
        };
        assert_eq!(number("Block count:") * number("Block size:"), *size, "{name}");
    }
}

#[test]
fn partition_table_and_image_pass() {
    let disk = disk();
    if let Some(out) = tool("sgdisk", &["-v", text(&disk.path)]) {
        assert!(out.contains("No problems found"), "{out}");
    }
    let image = world().project.output().join("debian/debian.qcow2");
    if let Some(out) = tool("qemu-img", &["check", "-f", "qcow2", text(&image)]) {
        assert!(out.contains("No errors were found"), "{out}");
        tool("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", text(&disk.path), text(&image)]);
    }
}

#[test]
fn every_filesystem_passes_e2fsck() {
    let disk = disk();
    for (name, at, _) in disk.filesystems() {
        let place = format!("{}?offset={at}", text(&disk.path));
        let Some((clean, out, err)) = verdict("e2fsck", &["-fn", &place]) else { return };
        assert!(clean && err.lines().count() <= 1, "{name}:\n{out}{err}");
    }
}

#[test]
fn the_physical_volume_passes_pvck() {
    let disk = disk();
    let directory = directory("pvck");
    // pvck takes a file, but not one that it has to look for a place in: only the head of the
    // volume, in a file as long as the volume.
    let (image, copy) = (File::open(&disk.path).unwrap(), directory.path().join("pv"));
    let mut head = vec![0; 1 << 20];
    image.read_exact_at(&mut head, disk.pv.0.0).unwrap();
    std::fs::write(&copy, head).unwrap();
    File::options().write(true).open(&copy).unwrap().set_len(disk.pv.1.0).unwrap();
    for what in ["headers", "metadata"] {
        let Some(out) = tool("pvck", &["--dump", what, text(&copy)]) else { return };
        assert!(!out.to_lowercase().contains("error"), "{out}");
        if what == "metadata" {
            VOLUMES.iter().for_each(|(name, _)| assert!(out.contains(&format!("{name} {{"))));
        }
    }
}

/// A read-only loop device over a part of a file, detached when dropped.
struct Loop(String);

impl Drop for Loop {
    fn drop(&mut self) {
        tool("losetup", &["--detach", &self.0]);
    }
}

#[test]
fn lvm_reads_the_group() {
    if !is_root("a loop device") {
        return;
    }
    let disk = disk();
    let (at, length) = (disk.pv.0.0.to_string(), disk.pv.1.0.to_string());
    let place = ["--read-only", "--find", "--show", "--offset", &at, "--sizelimit", &length];
    let args: Vec<&str> = place.into_iter().chain([text(&disk.path)]).collect();
    let Some((attached, out, err)) = verdict("losetup", &args) else { return };
    if !attached {
        return skip(&format!("no loop device here: {err}"));
    }
    let device = Loop(out.trim().to_string());
    let only = ["--devices", &device.0];
    let Some((clean, out, err)) = verdict("vgck", &[&only[..], &["vg0"]].concat()) else { return };
    assert!(clean && out.is_empty() && err.is_empty(), "{out}{err}");
    let plain = ["--readonly", "--noheadings", "--units", "b", "--nosuffix", "--options"];
    let pvs = [&only[..], &plain, &["vg_name,pv_size,dev_size"]].concat();
    let out = tool("pvs", &pvs).unwrap();
    let found: Vec<&str> = out.split_whitespace().collect();
    assert_eq!((found[0], found[2]), ("vg0", length.as_str()));
    let lvs = [&only[..], &plain, &["lv_name,lv_size"]].concat();
    let out = tool("lvs", &lvs).unwrap();
    let mut found: Vec<String> =
        out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let mut wanted: Vec<String> =
        VOLUMES.iter().map(|(name, gib)| format!("{name} {}", gib << 30)).collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
}
