//! What a disk is divided into: the partitions of a GPT or of an MBR, its logical ones too, or the
//! whole disk where there is no table. It knows not what is in them.

use std::sync::Arc;

use crate::error::{Context, Hint, Result, anyhow, ensure};
use crate::format::gpt;
use crate::format::mbr::{self, kind};
use crate::format::probe::{ImageFormat, PROBE_LENGTH, probe};
use crate::units::{Bytes, SECTOR, Sectors};

use crate::image::source::{Part, Shared, bytes, head};

/// The most of a disk that a GPT's table may take; the usual one takes 17 KiB.
const TABLE: usize = 1 << 20;
/// Disks that are used with sectors of this many bytes count in them.
const LARGE_SECTOR: u64 = 4096;
/// Where so many bytes are zero there is no file system either: that of btrfs begins before.
const CLEARED: usize = 1 << 20;
/// Nobody has more logical partitions; sfdisk makes 60.
const MOST_LOGICAL: usize = 128;

/// A part of a disk.
#[derive(Clone)]
pub struct Partition {
    /// As in /dev/sda2; `None`: the whole disk.
    pub number: Option<u32>,
    /// What `PARTUUID=` names.
    pub id: Option<String>,
    /// What `PARTLABEL=` names.
    pub label: Option<String>,
    /// Where it begins on the disk, in bytes.
    pub start: u64,
    /// Its bytes.
    pub source: Shared,
}

impl Partition {
    /// For people: `partition 2`.
    pub fn shown(&self) -> String {
        self.number.map_or("the whole disk".into(), |number| format!("partition {number}"))
    }
}

/// What a disk is divided by, and into what.
pub struct Divided {
    /// `GPT` or `MBR`; `None`: there is no table.
    pub table: Option<&'static str>,
    /// The parts, or the whole disk.
    pub partitions: Vec<Partition>,
}

/// The parts of `disk`.
pub fn read(disk: &Shared) -> Result<Divided> {
    let start = head(&**disk, PROBE_LENGTH)?;
    let at =
        |sector: u64| start.get(sector as usize..).is_some_and(|it| it.starts_with(b"EFI PART"));
    let kind = probe(&start);
    let gpt = |found: Found| -> Result<Divided> {
        let partitions = gpt_partitions(disk, found).context("reading the partition table")?;
        Ok(Divided { table: Some("GPT"), partitions })
    };
    if kind == Some(ImageFormat::Gpt) {
        return gpt(gpt_primary(disk, SECTOR).context("reading the partition table")?);
    }
    let is_protective = kind == Some(ImageFormat::Mbr) && is_protective(disk)?;
    if (is_protective || kind.is_none()) && at(LARGE_SECTOR) {
        return gpt(gpt_primary(disk, LARGE_SECTOR).context("reading the partition table")?);
    }
    // The primary table is gone. What Linux then reads is the copy, if all of the disk is said to be of a
    // GPT; where that is gone too, only one before which nothing else may be.
    let is_cleared =
        || -> Result<bool> { Ok(head(&**disk, CLEARED)?.iter().all(|byte| *byte == 0)) };
    if is_protective || kind.is_none() && is_cleared()? {
        if let Some(found) = gpt_backup(disk)? {
            return gpt(found);
        }
        if is_protective {
            return Err(anyhow!("the disk is meant to have a GPT, and has none"))
                .context("reading the partition table")
                .hint("`gdisk` or testdisk can look for the partitions and make a table");
        }
    }
    match kind {
        Some(ImageFormat::Mbr) => Ok(Divided {
            table: Some("MBR"),
            partitions: mbr_partitions(disk).context("reading the partition table")?,
        }),
        // What is there may still be something that cannot be read, and then has a name.
        _ => Ok(Divided { table: None, partitions: vec![whole(disk)] }),
    }
}

fn whole(disk: &Shared) -> Partition {
    Partition { number: None, id: None, label: None, start: 0, source: disk.clone() }
}

/// The part of `disk`, which must hold all of it, and where it begins in bytes.
fn part(disk: &Shared, number: u32, first: u64, length: u64) -> Result<(u64, Shared)> {
    let what = || format!("partition {number}, {length} sectors from {first}");
    let start = first.checked_mul(SECTOR).with_context(what)?;
    let length = length.checked_mul(SECTOR).with_context(what)?;
    Ok((start, Arc::new(Part::new(disk.clone(), start, length).with_context(what)?)))
}

/// The partitions of a table, by their numbers.
type Found = Vec<(u32, gpt::Partition)>;

fn gpt_primary(disk: &Shared, sector: u64) -> Result<Found> {
    let read = gpt::Table::read_primary(&head(&**disk, TABLE)?, Bytes(sector));
    let (_, found) = read.hint(
        "`sgdisk --load-backup` or `gdisk` repair a table from its copy at the end of the disk",
    )?;
    Ok(found)
}

/// The copy at the end of the disk, if it is sound, whatever its sectors are.
fn gpt_backup(disk: &Shared) -> Result<Option<Found>> {
    let length = disk.size().min(TABLE as u64);
    let tail = bytes(&**disk, disk.size() - length, length as usize)?;
    let read = |sector| gpt::Table::read_backup(&tail, Bytes(disk.size()), Bytes(sector)).ok();
    Ok([SECTOR, LARGE_SECTOR].into_iter().find_map(read).map(|(_, found)| found))
}

/// Whether an MBR says that the disk has a GPT.
fn is_protective(disk: &Shared) -> Result<bool> {
    let table = mbr::Table::read(&head(&**disk, SECTOR as usize)?);
    let slots = table.map(|table| table.slots).unwrap_or_default();
    Ok(slots.iter().flatten().any(|partition| partition.kind == kind::PROTECTIVE))
}

fn gpt_partitions(disk: &Shared, found: Found) -> Result<Vec<Partition>> {
    let mut partitions = Vec::new();
    for (number, partition) in found {
        let (start, source) = part(disk, number, partition.first.0, partition.length.0)?;
        partitions.push(Partition {
            number: Some(number),
            id: Some(partition.guid.to_string()),
            label: Some(partition.name),
            start,
            source,
        });
    }
    Ok(partitions)
}

fn mbr_partitions(disk: &Shared) -> Result<Vec<Partition>> {
    let table = mbr::Table::read(&head(&**disk, SECTOR as usize)?)?;
    let mut partitions = Vec::new();
    let mut add = |number: u32, first: Sectors, length: Sectors| -> Result<()> {
        let (start, source) = part(disk, number, first.0, length.0)?;
        partitions.push(Partition {
            number: Some(number),
            id: Some(format!("{:08x}-{number:02x}", table.disk_id)),
            label: None,
            start,
            source,
        });
        Ok(())
    };
    let mut extended = None;
    for (number, partition) in (1..).zip(table.slots) {
        let Some(partition) = partition else { continue };
        match partition.kind {
            kind if kind::EXTENDED.contains(&kind) => extended = Some((number, partition)),
            _ => add(number, partition.first, partition.length)?,
        }
    }
    let Some((number, extended)) = extended else { return Ok(partitions) };
    let what = || format!("reading the logical partitions in partition {number}");
    for (number, (first, length)) in (5..).zip(logical(disk, extended).with_context(what)?) {
        add(number, first, length)?;
    }
    Ok(partitions)
}

/// The places of the logical partitions, in the order of the chain.
fn logical(disk: &Shared, extended: mbr::Partition) -> Result<Vec<(Sectors, Sectors)>> {
    let mut found = Vec::new();
    let mut seen = Vec::new();
    let mut next = Some(extended.first);
    while let Some(here) = next {
        ensure!(!seen.contains(&here), "the chain comes back to sector {}", here.0);
        ensure!(seen.len() < MOST_LOGICAL, "the chain has more than {MOST_LOGICAL} links");
        seen.push(here);
        let sector = bytes(&**disk, here.0 * SECTOR, SECTOR as usize)?;
        let link = mbr::Logical::read(&sector)
            .with_context(|| format!("reading the chain at sector {}", here.0))?;
        if let Some(partition) = link.partition {
            found.push((Sectors(here.0 + partition.first.0), partition.length));
        }
        next = link.next.map(|next| Sectors(extended.first.0 + next.0));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::source::Memory;

    fn table(entries: &[(u8, u32, u32)]) -> Vec<u8> {
        let mut sector = vec![0; 512];
        for (i, (kind, first, length)) in entries.iter().enumerate() {
            let at = 446 + i * 16;
            sector[at + 4] = *kind;
            sector[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
            sector[at + 12..at + 16].copy_from_slice(&length.to_le_bytes());
        }
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    fn disk(links: &[(usize, Vec<u8>)]) -> Shared {
        let mut bytes = vec![0; 100 * 512];
        for (sector, link) in links {
            bytes[sector * 512..][..512].copy_from_slice(link);
        }
        Arc::new(Memory(bytes))
    }

    #[test]
    fn logical_partitions_are_numbered_from_five() {
        let links = [
            (0, table(&[(0x83, 1, 9), (0x05, 20, 60)])),
            (20, table(&[(0x83, 1, 9), (0x05, 30, 10)])),
            (50, table(&[(0x83, 2, 8)])),
        ];
        let found = read(&disk(&links)).unwrap().partitions;
        let shown: Vec<_> = found.iter().map(|p| (p.shown(), p.source.size())).collect();
        let shown: Vec<_> = shown.iter().map(|(name, size)| (name.as_str(), size / 512)).collect();
        assert_eq!(shown, [("partition 1", 9), ("partition 5", 9), ("partition 6", 8)]);
        assert_eq!(found[2].id.as_deref(), Some("00000000-06"));
    }

    #[test]
    fn a_chain_that_goes_round_ends() {
        let links = [(0, table(&[(0x05, 20, 60)])), (20, table(&[(0x83, 1, 9), (0x05, 0, 10)]))];
        let error = read(&disk(&links)).err().unwrap();
        assert!(format!("{error:#}").ends_with("the chain comes back to sector 20"), "{error:#}");
    }

    #[test]
    fn partitions_past_the_end_are_refused() {
        let error = read(&disk(&[(0, table(&[(0x83, 50, 51)]))])).err().unwrap();
        let error = format!("{error:#}");
        assert!(error.contains("partition 1, 51 sectors from 50: cut short"), "{error}");
    }
}
