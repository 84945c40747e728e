//! What a disk is divided into: the partitions of a GPT or of an MBR, its logical ones too, or the
//! whole disk where there is no table. It knows not what is in them.

use std::sync::Arc;

use crate::error::{Context, Hint, Result, anyhow, bail, ensure};
use crate::format::gpt;
use crate::format::mbr::{self, kind};
use crate::format::probe::{ImageFormat, PROBE_LENGTH, probe};
use crate::units::{SECTOR, Sectors};

use crate::image::source::{Part, Shared, bytes, head};

/// The most of a disk that a GPT's table may take; the usual one takes 17 KiB.
const TABLE: usize = 1 << 20;
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
    /// Its bytes.
    pub source: Shared,
}

impl Partition {
    /// For people: `partition 2`.
    pub fn shown(&self) -> String {
        self.number.map_or("the whole disk".into(), |number| format!("partition {number}"))
    }
}

/// The parts of `disk`.
pub fn read(disk: &Shared) -> Result<Vec<Partition>> {
    let start = head(&**disk, PROBE_LENGTH)?;
    match probe(&start) {
        Some(ImageFormat::Gpt) => gpt_partitions(disk).context("reading the partition table"),
        Some(ImageFormat::Mbr) => mbr_partitions(disk).context("reading the partition table"),
        Some(_) => Ok(vec![whole(disk)]),
        None if start.get(4096..).is_some_and(|rest| rest.starts_with(b"EFI PART")) => {
            Err(anyhow!("the disk has sectors of 4096 bytes"))
                .hint("kuth reads disks with sectors of 512 bytes")
        }
        // What is there may still be something that cannot be read, and then has a name.
        None => Ok(vec![whole(disk)]),
    }
}

fn whole(disk: &Shared) -> Partition {
    Partition { number: None, id: None, label: None, source: disk.clone() }
}

/// The part of `disk`, which must hold all of it.
fn part(disk: &Shared, number: u32, first: u64, length: u64) -> Result<Shared> {
    let what = || format!("partition {number}, {length} sectors from {first}");
    let start = first.checked_mul(SECTOR).with_context(what)?;
    let length = length.checked_mul(SECTOR).with_context(what)?;
    Ok(Arc::new(Part::new(disk.clone(), start, length).with_context(what)?))
}

fn gpt_partitions(disk: &Shared) -> Result<Vec<Partition>> {
    let (_, numbered) = gpt::Table::read_numbered(&head(&**disk, TABLE)?).hint(
        "`sgdisk --load-backup` or `gdisk` repair a table from its copy at the end of the disk",
    )?;
    let mut partitions = Vec::new();
    for (number, partition) in numbered {
        partitions.push(Partition {
            number: Some(number),
            id: Some(partition.guid.to_string()),
            label: Some(partition.name),
            source: part(disk, number, partition.first.0, partition.length.0)?,
        });
    }
    Ok(partitions)
}

fn mbr_partitions(disk: &Shared) -> Result<Vec<Partition>> {
    let table = mbr::Table::read(&head(&**disk, SECTOR as usize)?)?;
    let mut partitions = Vec::new();
    let mut add = |number: u32, first: Sectors, length: Sectors| -> Result<()> {
        partitions.push(Partition {
            number: Some(number),
            id: Some(format!("{:08x}-{number:02x}", table.disk_id)),
            label: None,
            source: part(disk, number, first.0, length.0)?,
        });
        Ok(())
    };
    let mut extended = None;
    for (number, partition) in (1..).zip(table.slots) {
        let Some(partition) = partition else { continue };
        match partition.kind {
            kind if kind::EXTENDED.contains(&kind) => extended = Some((number, partition)),
            kind::PROTECTIVE => bail!("the disk is meant to have a GPT, and has none"),
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
        let found = read(&disk(&links)).unwrap();
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
