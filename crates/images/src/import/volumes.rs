//! Logical volumes: the physical volumes among the partitions, the groups they make up, and where
//! the bytes of each volume are. Linear and striped volumes can be read; others have a name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Context, Result, anyhow, bail, ensure};
use crate::format::foreign::Table;
use crate::format::lvm2::{Mapping, Segment, VolumeGroup, header, text};
use crate::format::probe::{ImageFormat, probe};
use crate::units::Bytes;

use super::partitions::Partition;
use super::volume::foreign;
use crate::image::source::{Shared, Source, bytes, check, head};

/// Where a label may be.
const LABEL: usize = 4 * 512;
/// lvm2 makes metadata areas of 1 MiB; nobody needs more than this.
const LARGEST_AREA: u64 = 64 << 20;

/// A logical volume.
pub struct Volume {
    /// The name of its group.
    pub group: String,
    /// Its own.
    pub name: String,
    /// The ids of group and volume, as a device mapper has them in the UUID of the device.
    pub ids: String,
    /// Its bytes, or why they cannot be read.
    pub source: Result<Shared, String>,
    /// Where these are on the disk, in bytes: beginning and length of each piece.
    pub pieces: Vec<(u64, u64)>,
}

/// A physical volume that was found.
struct Physical {
    shown: String,
    /// Where it begins on the disk, in bytes.
    start: u64,
    source: Shared,
    label: header::Label,
    group: Option<VolumeGroup>,
}

/// Whether `partition` is a physical volume, and not a member of an array of which one begins there.
pub fn is_physical(partition: &Partition) -> Result<bool> {
    let start = head(&*partition.source, LABEL)?;
    let is_labelled = probe(&start) == Some(ImageFormat::Lvm2);
    Ok(is_labelled && foreign(&*partition.source, Table::None).is_none())
}

/// The volumes of all groups on these partitions, those that are parts of others left out.
pub fn read(partitions: &[Partition]) -> Result<Vec<Volume>> {
    let mut physical = Vec::new();
    for partition in partitions {
        if is_physical(partition)? {
            let what = || format!("reading the physical volume in {}", partition.shown());
            physical.push(read_physical(partition).with_context(what)?);
        }
    }
    // Of several disks that know a group, the newest version counts.
    let mut groups: BTreeMap<String, VolumeGroup> = BTreeMap::new();
    for group in physical.iter().filter_map(|physical| physical.group.as_ref()) {
        let known = groups.entry(group.id.to_string()).or_insert_with(|| group.clone());
        if known.seqno < group.seqno {
            *known = group.clone();
        }
    }
    let mut volumes: Vec<Volume> = Vec::new();
    for group in groups.into_values() {
        group.check()?;
        ensure!(
            volumes.iter().all(|volume| volume.group != group.name),
            "two volume groups are called `{}`",
            group.name
        );
        for volume in &group.logical {
            if volume.status.iter().any(|word| word == "VISIBLE") {
                let (source, pieces) = match open(&group, &volume.segments, &physical) {
                    Ok((source, pieces)) => (Ok(source), pieces),
                    Err(error) => (Err(format!("{error:#}")), Vec::new()),
                };
                let ids = format!("{}{}", group.id, volume.id).replace('-', "");
                let (group, name) = (group.name.clone(), volume.name.clone());
                volumes.push(Volume { group, name, ids, source, pieces });
            }
        }
    }
    Ok(volumes)
}

fn read_physical(partition: &Partition) -> Result<Physical> {
    let source = partition.source.clone();
    let (label, areas) = header::label(&head(&*source, LABEL)?)?;
    let mut group: Option<VolumeGroup> = None;
    let mut failure = None;
    for area in &areas {
        match read_area(&*source, area) {
            Ok(Some(read)) if group.as_ref().is_none_or(|group| group.seqno < read.seqno) => {
                group = Some(read);
            }
            Ok(_) => {}
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if let (None, Some(error)) = (&group, failure) {
        return Err(error);
    }
    if let Some(group) = &group {
        let known = group.physical.iter().any(|physical| physical.id == label.id);
        ensure!(known, "the group `{}` does not know it", group.name);
    }
    Ok(Physical { shown: partition.shown(), start: partition.start, source, label, group })
}

/// The newest version of a group in a metadata area.
fn read_area(source: &dyn Source, area: &header::Area) -> Result<Option<VolumeGroup>> {
    let header::Area { start: Bytes(start), size: Bytes(size) } = *area;
    let what = || format!("reading the metadata area at {start}");
    // An area of size 0 goes on to the end of the disk.
    let size = if size == 0 { source.size().saturating_sub(start) } else { size };
    ensure!(size <= LARGEST_AREA, "a metadata area of {} at {start}", Bytes(size));
    let area = bytes(source, start, size as usize).with_context(what)?;
    let Some(text) = header::newest(&area).with_context(what)? else { return Ok(None) };
    Ok(Some(text::read(&text).with_context(what)?))
}

/// A segment of a volume, ready to be read.
struct Stretch {
    /// Where it begins in the volume.
    start: u64,
    length: u64,
    /// How much of one leg comes before the next one's turn.
    turn: u64,
    /// A source for each leg, and where its part begins there.
    legs: Vec<(Shared, u64)>,
}

/// A volume, put together out of its segments.
struct Logical {
    size: u64,
    stretches: Vec<Stretch>,
}

/// A volume, and its pieces on the disk.
fn open(
    group: &VolumeGroup,
    segments: &[Segment],
    physical: &[Physical],
) -> Result<(Shared, Vec<(u64, u64)>)> {
    let mut volume = Logical { size: 0, stretches: Vec::new() };
    let mut pieces = Vec::new();
    for segment in segments {
        let Mapping::Striped { stripe_size, stripes } = &segment.mapping else {
            let Mapping::Other(kind) = &segment.mapping else { continue };
            bail!("it is of the type `{kind}`, and kuth reads linear and striped volumes");
        };
        let mut legs: Vec<(Shared, u64)> = Vec::new();
        let length = extents(group, segment.length.0)?;
        let leg = length / stripes.len().max(1) as u64;
        for stripe in stripes {
            let known = group.physical.iter().find(|known| known.name == stripe.pv);
            let known = known.with_context(|| format!("no physical volume {}", stripe.pv))?;
            let there = physical.iter().find(|physical| physical.label.id == known.id);
            let there = there.ok_or_else(|| {
                let (name, id) = (&group.name, known.id);
                anyhow!("a part of it is on the physical volume {id} of the group `{name}`, which is not on this disk")
            })?;
            let start = known.first_extent.0.checked_mul(512);
            let start =
                start.and_then(|start| start.checked_add(extents(group, stripe.first.0).ok()?));
            let start = start.context("a segment lies beyond any disk")?;
            check(&*there.source, start, leg)
                .with_context(|| format!("reading the physical volume in {}", there.shown))?;
            pieces.push((there.start + start, leg));
            legs.push((there.source.clone(), start));
        }
        let turn = stripe_size.filter(|_| legs.len() > 1).map_or(leg, |size| size.0 * 512);
        let start = volume.size;
        volume.size = volume.size.checked_add(length).context("it is too large")?;
        volume.stretches.push(Stretch { start, length, turn, legs });
    }
    Ok((Arc::new(volume), pieces))
}

/// So many extents in bytes.
fn extents(group: &VolumeGroup, count: u64) -> Result<u64> {
    let sectors = count.checked_mul(group.extent_size.0);
    sectors.and_then(|sectors| sectors.checked_mul(512)).context("it is too large")
}

impl Source for Logical {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        check(self, at, bytes.len() as u64)?;
        let (mut done, mut at) = (0, at);
        while done < bytes.len() {
            let index = self.stretches.partition_point(|stretch| stretch.start <= at) - 1;
            let stretch = &self.stretches[index];
            let within = at - stretch.start;
            let (turn, into) = (within / stretch.turn, within % stretch.turn);
            let count = stretch.legs.len() as u64;
            let (source, start) = &stretch.legs[(turn % count) as usize];
            let left = (stretch.turn - into).min(stretch.length - within);
            let n = (bytes.len() - done).min(left as usize);
            let place = start + turn / count * stretch.turn + into;
            source.read_at(&mut bytes[done..done + n], place)?;
            (done, at) = (done + n, at + n as u64);
        }
        Ok(())
    }
}

/// How a device mapper calls a volume: `vg0-root`, with hyphens doubled.
pub fn mapper_name(group: &str, name: &str) -> String {
    format!("{}-{}", group.replace('-', "--"), name.replace('-', "--"))
}
