//! What is on a disk, for people: its table, the parts, the volumes on them, what each holds, and
//! where the system on it mounts that. What cannot be read has its reason and hides nothing else.

use crate::error::{Context, Result};
use crate::units::Bytes;

use super::partitions::{self, Divided};
use super::system;
use super::volume::{self, Location, VolumeContent};
use super::volumes;
use crate::image::read::Image;

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskReport {
    /// The format of its image: `qcow2`, `raw`.
    pub format: &'static str,
    /// Its size, holes included.
    pub size: Bytes,
    /// The kind of its table of partitions; `None` where it has none.
    pub table: Option<&'static str>,
    /// Its parts, then the logical volumes on them.
    pub parts: Vec<Part>,
    /// Why no system was put together out of them, where they hold none that can be read.
    pub no_system: Option<String>,
}

/// A part of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it is.
    pub place: Location,
    /// How long it is, where that is known.
    pub size: Option<Bytes>,
    /// Where it is on the disk, in bytes: beginning and length of each piece.
    pub pieces: Vec<(u64, u64)>,
    /// How much of its file system is in use, where that is known.
    pub used: Option<Bytes>,
    /// What is in it: `ext4`, `LVM2 physical volume`.
    pub holds: &'static str,
    /// The label of what is in it, else of the partition.
    pub label: Option<String>,
    /// The id of what is in it.
    pub uuid: Option<String>,
    /// Where the system mounts it.
    pub mounted: Option<String>,
    /// Why it cannot be read.
    pub fault: Option<String>,
}

/// Looks through the disk in `image`.
pub fn inspect(image: &Image) -> Result<DiskReport> {
    let disk = &image.disk;
    let is_foreign = volume::foreign_disk(disk)?.is_some();
    let whole = || Divided { table: None, partitions: Vec::new() };
    let Divided { table, partitions } = if is_foreign { whole() } else { partitions::read(disk)? };
    let mut parts = Vec::new();
    for partition in partitions {
        if volumes::is_physical(&partition)? {
            parts.push(Part {
                place: partition.number.map_or(Location::Disk, Location::Partition),
                size: Some(Bytes(partition.source.size())),
                pieces: vec![(partition.start, partition.source.size())],
                used: None,
                holds: "LVM2 physical volume",
                label: partition.label.filter(|label| !label.is_empty()),
                uuid: None,
                mounted: None,
                fault: None,
            });
        }
    }
    let found = volume::read(disk).context("reading the disk")?;
    let system = system::assemble(&found, None);
    for volume in &found {
        let place = volume.place.to_string();
        let mounted = system.iter().flat_map(|system| &system.mounted);
        let mounted = mounted.into_iter().find(|mounted| mounted.place == place);
        let used = match &volume.holds {
            // A number that cannot be read is missed by nobody.
            VolumeContent::Filesystem(_, filesystem) => filesystem.bytes_used().ok().flatten(),
            VolumeContent::Unreadable(..) | VolumeContent::Other(_) => None,
        };
        let (holds, fault) = match &volume.holds {
            VolumeContent::Filesystem(kind, _) => (*kind, None),
            VolumeContent::Unreadable(kind, error) => (*kind, Some(format!("{error:#}"))),
            VolumeContent::Other(what) => (*what, None),
        };
        parts.push(Part {
            place: volume.place.clone(),
            size: volume.size.map(Bytes),
            pieces: volume.pieces.clone(),
            used: used.map(Bytes),
            holds,
            label: volume.label.clone().or_else(|| volume.partition_label.clone()),
            uuid: volume.uuid.clone(),
            mounted: mounted.map(|mounted| mounted.point.clone()),
            fault,
        });
    }
    // Partitions by number, and volumes behind them in the order of their group.
    parts.sort_by_key(|part| match part.place {
        Location::Disk => 0,
        Location::Partition(number) => number,
        Location::Logical(..) => u32::MAX,
    });
    let no_system = system.err().map(|error| format!("{error:#}"));
    Ok(DiskReport { format: image.format, size: Bytes(disk.size()), table, parts, no_system })
}
