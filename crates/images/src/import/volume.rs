//! What may be mounted: every partition and every logical volume, with what is in it and the names
//! that a table of mounts may give it.

use crate::error::{Context, Result, anyhow};
use crate::format::foreign::{self, Foreign, Table};
use crate::format::probe::{ImageFormat, PROBE_LENGTH, probe};

use super::ext4::Ext4;
use super::fat::Fat;
use super::filesystem::Filesystem;
use super::partitions::{self, Partition};
use super::squashfs::Squashfs;
use super::volumes::{self, mapper_name};
use super::xfs::Xfs;
use crate::image::source::{Shared, Source, bytes, head};

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// The whole disk.
    Disk,
    /// A partition, by its number.
    Partition(u32),
    /// A logical volume: its group and its name.
    Logical(String, String),
}

/// For people: `partition 2`, `the volume vg0/root`.
impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Location::Disk => f.write_str("the whole disk"),
            Location::Partition(number) => write!(f, "partition {number}"),
            Location::Logical(group, name) => write!(f, "the volume {group}/{name}"),
        }
    }
}

/// What is in a volume.
pub enum VolumeContent {
    /// A file system that can be read.
    Filesystem(&'static str, Box<dyn Filesystem>),
    /// A file system, and why it cannot be read.
    Unreadable(&'static str, crate::error::Error),
    /// Something that is never mounted, or nothing that is known.
    Other(&'static str),
}

/// Something that may be mounted.
pub struct Volume {
    /// Where it is.
    pub place: Location,
    /// The file system's id as `UUID=` has it.
    pub uuid: Option<String>,
    /// The file system's label.
    pub label: Option<String>,
    /// The partition's id.
    pub partition_id: Option<String>,
    /// The partition's label.
    pub partition_label: Option<String>,
    /// The ids of a logical volume and its group, without hyphens.
    pub mapper_ids: Option<String>,
    /// Its length in bytes, where that is known.
    pub size: Option<u64>,
    /// Where it is on the disk, in bytes: beginning and length of each piece.
    pub pieces: Vec<(u64, u64)>,
    /// What is in it.
    pub holds: VolumeContent,
}

/// What all of `disk` is, as far as kuth knows it by name alone.
pub fn foreign_disk(disk: &Shared) -> Result<Option<&'static Foreign>> {
    let table = match probe(&head(&**disk, PROBE_LENGTH)?) {
        Some(ImageFormat::Gpt | ImageFormat::Mbr) => Table::Partitioned,
        _ => Table::None,
    };
    Ok(foreign(&**disk, table))
}

/// What `source` is, as far as kuth knows it by name alone. Where it cannot be read is reported by
/// whoever wants more of it.
pub(super) fn foreign(source: &dyn Source, table: Table) -> Option<&'static Foreign> {
    foreign::volume(source.size(), table, |at, length| bytes(source, at, length)).ok().flatten()
}

fn unreadable(foreign: &'static Foreign) -> VolumeContent {
    VolumeContent::Unreadable(foreign.name, anyhow!("kuth does not read it: {}", foreign.help))
}

/// Everything on `disk` that may be mounted.
pub fn read(disk: &Shared) -> Result<Vec<Volume>> {
    if let Some(foreign) = foreign_disk(disk)? {
        return Ok(vec![Volume {
            place: Location::Disk,
            uuid: None,
            label: None,
            partition_id: None,
            partition_label: None,
            mapper_ids: None,
            size: Some(disk.size()),
            pieces: vec![(0, disk.size())],
            holds: unreadable(foreign),
        }]);
    }
    let partitions = partitions::read(disk)?.partitions;
    let mut found = Vec::new();
    for partition in &partitions {
        if volumes::is_physical(partition)? {
            continue;
        }
        let Partition { number, id, label, start, source } = partition.clone();
        let place = number.map_or(Location::Disk, Location::Partition);
        let (holds, names) = open(&source).with_context(|| format!("reading {place}"))?;
        found.push(Volume {
            place,
            uuid: names.0,
            label: names.1,
            partition_id: id,
            partition_label: label.filter(|label| !label.is_empty()),
            mapper_ids: None,
            size: Some(source.size()),
            pieces: vec![(start, source.size())],
            holds,
        });
    }
    for volume in volumes::read(&partitions)? {
        let place = Location::Logical(volume.group, volume.name);
        let size = volume.source.as_ref().ok().map(|source| source.size());
        let (holds, names) = match volume.source {
            Ok(source) => open(&source).with_context(|| format!("reading {place}"))?,
            Err(why) => (VolumeContent::Unreadable("a volume", anyhow!("{why}")), (None, None)),
        };
        let (partition_id, partition_label) = (None, None);
        let (uuid, label) = names;
        let (mapper_ids, pieces) = (Some(volume.ids), volume.pieces);
        found.push(Volume {
            place,
            uuid,
            label,
            partition_id,
            partition_label,
            mapper_ids,
            size,
            pieces,
            holds,
        });
    }
    Ok(found)
}

type Names = (Option<String>, Option<String>);

/// What is in `source`, and its id and label.
fn open(source: &Shared) -> Result<(VolumeContent, Names)> {
    let none = (None, None);
    if let Some(foreign) = foreign(&**source, Table::None) {
        return Ok((unreadable(foreign), none));
    }
    let start = head(&**source, PROBE_LENGTH)?;
    let shown = |label: &str| Some(label.to_string()).filter(|label| !label.is_empty());
    Ok(match probe(&start) {
        Some(ImageFormat::Ext4) => match Ext4::open(source.clone()) {
            Ok(opened) => {
                let superblock = opened.superblock();
                let names = (Some(superblock.uuid.to_string()), shown(&superblock.label));
                (VolumeContent::Filesystem("ext4", Box::new(opened)), names)
            }
            Err(error) => (VolumeContent::Unreadable("ext4", error), none),
        },
        Some(ImageFormat::Fat) => match Fat::open(source.clone()) {
            Ok(opened) => {
                let names = (Some(opened.boot_sector().volume_id.clone()), opened.label());
                (VolumeContent::Filesystem("vfat", Box::new(opened)), names)
            }
            Err(error) => (VolumeContent::Unreadable("vfat", error), none),
        },
        Some(ImageFormat::Xfs) => match Xfs::open(source.clone()) {
            Ok(opened) => {
                let superblock = opened.superblock();
                let names = (Some(superblock.uuid.to_string()), shown(&superblock.label));
                (VolumeContent::Filesystem("xfs", Box::new(opened)), names)
            }
            Err(error) => (VolumeContent::Unreadable("xfs", error), none),
        },
        Some(ImageFormat::Swap) => (VolumeContent::Other("swap"), none),
        Some(ImageFormat::Squashfs) => match Squashfs::open(source.clone()) {
            Ok(opened) => (VolumeContent::Filesystem("squashfs", Box::new(opened)), none),
            Err(error) => (VolumeContent::Unreadable("squashfs", error), none),
        },
        _ => (VolumeContent::Other(unknown(&**source, &start)?), none),
    })
}

/// The name of something that kuth cannot read.
fn unknown(source: &dyn Source, start: &[u8]) -> Result<&'static str> {
    if start.starts_with(b"LUKS\xba\xbe") {
        return Ok("LUKS, encrypted");
    }
    let at = |at: u64, magic: &[u8]| -> Result<bool> {
        if source.size() < at + magic.len() as u64 {
            return Ok(false);
        }
        Ok(bytes(source, at, magic.len())? == magic)
    };
    for (place, magic, name) in [
        (65_600, b"_BHRfS_M".as_slice(), "btrfs"),
        (1024, b"\x10\x20\xf5\xf2", "f2fs"),
        (1024, b"\xe2\xe1\xf5\xe0", "erofs"),
        (3, b"NTFS    ", "NTFS"),
        (4096, b"\xfc\x4e\x2b\xa9", "a member of a RAID"),
    ] {
        if at(place, magic)? {
            return Ok(name);
        }
    }
    Ok("unknown data")
}

impl Volume {
    /// Whether a table of mounts means this one by `device`, such as `UUID=...` or `/dev/vda1`.
    pub fn is(&self, device: &str) -> bool {
        let device = device.trim_matches('"');
        // udev writes characters of a label so that are none of a path's.
        let device = &match device.starts_with("/dev/disk/") {
            true => unescaped(device),
            false => device.to_string(),
        };
        let same = |name: &Option<String>, other: &str| name.as_deref() == Some(other);
        let any_case = |name: &Option<String>, other: &str| {
            name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(other))
        };
        let by = |tag: &str, directory: &str| {
            let value = device.strip_prefix(tag).map(|value| value.trim_matches('"'));
            value.or_else(|| device.strip_prefix(directory))
        };
        if let Some(uuid) = by("UUID=", "/dev/disk/by-uuid/") {
            return any_case(&self.uuid, uuid);
        }
        if let Some(label) = by("LABEL=", "/dev/disk/by-label/") {
            return same(&self.label, label);
        }
        if let Some(id) = by("PARTUUID=", "/dev/disk/by-partuuid/") {
            return any_case(&self.partition_id, id);
        }
        if let Some(label) = by("PARTLABEL=", "/dev/disk/by-partlabel/") {
            return same(&self.partition_label, label);
        }
        let Some(path) = device.strip_prefix("/dev/") else { return false };
        if let Some(ids) = path.strip_prefix("disk/by-id/dm-uuid-LVM-") {
            return same(&self.mapper_ids, ids);
        }
        match &self.place {
            Location::Logical(group, name) => {
                let mapper = ["mapper/", "disk/by-id/dm-name-"];
                let called = mapper.iter().find_map(|directory| path.strip_prefix(directory));
                path == format!("{group}/{name}") || called == Some(&mapper_name(group, name))
            }
            Location::Partition(number) => is_partition(path, *number),
            Location::Disk => ["sda", "vda", "xvda", "hda", "nvme0n1", "mmcblk0"].contains(&path),
        }
    }
}

/// `\x20` is a space, as udev writes it.
fn unescaped(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, behind)) = rest.split_once("\\x") {
        bytes.extend(before.as_bytes());
        match behind.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.extend(b"\\x");
                rest = behind;
            }
        }
    }
    bytes.extend(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether `path` is partition `number` of a first disk.
fn is_partition(path: &str, number: u32) -> bool {
    let number = number.to_string();
    ["sda", "vda", "xvda", "hda", "nvme0n1p", "mmcblk0p"]
        .iter()
        .any(|disk| path.strip_prefix(disk) == Some(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(place: Location) -> Volume {
        Volume {
            place,
            uuid: Some("ab12-cd".into()),
            label: Some("root".into()),
            partition_id: Some("deadbeef-02".into()),
            partition_label: None,
            mapper_ids: None,
            size: None,
            pieces: Vec::new(),
            holds: VolumeContent::Other("swap"),
        }
    }

    #[test]
    fn volumes_are_known_by_all_their_names() {
        let partition = volume(Location::Partition(2));
        for name in [
            "UUID=AB12-CD",
            "UUID=\"ab12-cd\"",
            "/dev/disk/by-uuid/ab12-cd",
            "LABEL=root",
            "PARTUUID=DEADBEEF-02",
            "/dev/sda2",
            "/dev/nvme0n1p2",
        ] {
            assert!(partition.is(name), "{name}");
        }
        for name in ["LABEL=Root", "/dev/sda22", "/dev/sdb2", "PARTLABEL=x", "tmpfs", "UUID="] {
            assert!(!partition.is(name), "{name}");
        }
        let logical = volume(Location::Logical("my-vg".into(), "ro-ot".into()));
        let logical = Volume { mapper_ids: Some("VgVg1234".into()), ..logical };
        for name in [
            "/dev/mapper/my--vg-ro--ot",
            "/dev/my-vg/ro-ot",
            "/dev/disk/by-id/dm-name-my--vg-ro--ot",
            "/dev/disk/by-id/dm-uuid-LVM-VgVg1234",
        ] {
            assert!(logical.is(name), "{name}");
        }
        for name in [
            "/dev/mapper/my-vg-ro-ot",
            "/dev/disk/by-id/dm-uuid-LVM-VgVg",
            "/dev/disk/by-id/dm-uuid-LVM-vgvg1234",
        ] {
            assert!(!logical.is(name), "{name}");
        }
        assert!(!partition.is("/dev/disk/by-id/dm-uuid-LVM-"));
    }

    #[test]
    fn labels_are_known_as_udev_writes_them() {
        let labelled =
            |label: &str| Volume { label: Some(label.into()), ..volume(Location::Partition(1)) };
        let name = "/dev/disk/by-label/my\\x20disk\\x2f\u{fc}";
        assert!(labelled("my disk/\u{fc}").is(name));
        assert!(labelled("a\\xyz\\x4").is("/dev/disk/by-label/a\\xyz\\x4"));
    }
}
