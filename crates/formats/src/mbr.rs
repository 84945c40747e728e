//! The DOS partition table in the first sector: boot code, disk id and four primary partitions.
//! It shows an extended partition as one of the four; [`Logical`] reads the chain inside it, sector
//! by sector.
//!
//! Source: the layout every PC BIOS boots, as UEFI specification 2.10 section 5.2.1 records it.

use super::Fault;
use super::fields::{Fields, put};
use crate::units::Sectors;

const FORMAT: &str = "mbr";
const SECTOR: usize = crate::units::SECTOR as usize;
/// Where the four entries of 16 bytes begin.
const ENTRIES: usize = 446;

/// Partition types, `OSType` of an entry.
pub mod kind {
    /// Linux swap.
    pub const SWAP: u8 = 0x82;
    /// Any Linux filesystem.
    pub const LINUX: u8 = 0x83;
    /// An LVM physical volume.
    pub const LVM: u8 = 0x8e;
    /// The EFI system partition.
    pub const ESP: u8 = 0xef;
    /// What a GPT disk shows to those who only know the MBR.
    pub const PROTECTIVE: u8 = 0xee;
    /// The kinds of extended partition, which hold logical ones.
    pub const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
}

/// Whether the boot code of old BIOSes picks this partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Active {
    /// The partition to boot, flag 0x80.
    Yes,
    /// Any other, flag 0.
    No,
}

/// One primary partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// One of [`kind`]; never 0, which marks an unused entry.
    pub kind: u8,
    /// The first sector, counted from the start of the disk; never 0.
    pub first: Sectors,
    /// The number of sectors.
    pub length: Sectors,
    /// Whether it is the one to boot.
    pub active: Active,
}

/// A whole table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The disk's id; the first half of `PARTUUID=`.
    pub disk_id: u32,
    /// Partitions 1 to 4.
    pub slots: [Option<Partition>; 4],
}

impl Table {
    /// The first sector. Refuses partitions that overlap or pass 2 TiB.
    pub fn write(&self, boot_code: Option<&[u8; 440]>) -> Result<[u8; SECTOR], Fault> {
        let mut sector = [0; SECTOR];
        put(&mut sector, 0, boot_code.unwrap_or(&[0; 440]));
        put(&mut sector, 440, &self.disk_id.to_le_bytes());
        put(&mut sector, 510, &[0x55, 0xaa]);
        let mut taken: Vec<(u64, u64, usize)> = Vec::new();
        for (i, partition) in self.slots.iter().enumerate() {
            let Some(Partition { kind, first, length, active }) = *partition else { continue };
            let number = i + 1;
            let refuse = |why: &str| Err(Fault::new(FORMAT, format!("partition {number} {why}")));
            if kind == 0 || first.0 == 0 || length.0 == 0 {
                return refuse("has no type, no sectors, or lies over the table");
            }
            let end = first.0.checked_add(length.0).filter(|end| *end <= 1 << 32);
            let (Some(end), Ok(start), Ok(count)) =
                (end, u32::try_from(first.0), u32::try_from(length.0))
            else {
                return refuse("passes 2 TiB: use a GPT");
            };
            if let Some((_, _, other)) = taken.iter().find(|(a, b, _)| first.0 < *b && *a < end) {
                return refuse(&format!("overlaps partition {other}"));
            }
            taken.push((first.0, end, number));
            let entry = &mut sector[ENTRIES + i * 16..][..16];
            entry[0] = if active == Active::Yes { 0x80 } else { 0 };
            put(entry, 1, &chs(start));
            entry[4] = kind;
            put(entry, 5, &chs(start + (count - 1)));
            put(entry, 8, &start.to_le_bytes());
            put(entry, 12, &count.to_le_bytes());
        }
        Ok(sector)
    }

    /// Reads the first sector. A boot sector of a filesystem ends the same way; it is distinguished
    /// by its flag bytes.
    pub fn read(head: &[u8]) -> Result<Table, Fault> {
        let fields = Fields::of(FORMAT, head);
        Fault::unless(fields.array(510)? == [0x55, 0xaa], FORMAT, || {
            "the first sector does not end with 55 AA".into()
        })?;
        let mut table = Table { disk_id: fields.le32(440)?, slots: [None; 4] };
        for (i, slot) in table.slots.iter_mut().enumerate() {
            let at = ENTRIES + i * 16;
            let active = match fields.u8(at)? {
                0x80 => Active::Yes,
                0 => Active::No,
                flag => {
                    let why = format!("partition {} has the flag {flag:#04x}", i + 1);
                    return Err(Fault::new(FORMAT, why));
                }
            };
            let kind = fields.u8(at + 4)?;
            let first = Sectors(fields.le32(at + 8)?.into());
            let length = Sectors(fields.le32(at + 12)?.into());
            if kind != 0 && length.0 != 0 {
                *slot = Some(Partition { kind, first, length, active });
            }
        }
        Ok(table)
    }
}

/// A sector of the chain in an extended partition (EBR): a table with a logical partition and a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logical {
    /// The logical partition; its first sector counts from this one.
    pub partition: Option<Partition>,
    /// The next sector, counted from the start of the extended partition.
    pub next: Option<Sectors>,
}

impl Logical {
    /// Reads a sector of the chain.
    pub fn read(sector: &[u8]) -> Result<Logical, Fault> {
        let [partition, next, ..] = Table::read(sector)?.slots;
        let next = next.filter(|next| kind::EXTENDED.contains(&next.kind)).map(|next| next.first);
        Ok(Logical { partition, next })
    }
}

/// Cylinder, head, sector for 255 heads of 63 sectors; the highest where it does not fit.
fn chs(lba: u32) -> [u8; 3] {
    let (cylinder, head, sector) = (lba / (255 * 63), lba / 63 % 255, lba % 63 + 1);
    if cylinder > 1023 {
        return [0xfe, 0xff, 0xff];
    }
    [head as u8, (sector | cylinder >> 8 << 6) as u8, cylinder as u8]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(kind: u8, first: u64, length: u64) -> Option<Partition> {
        let active = if kind == kind::LINUX { Active::Yes } else { Active::No };
        Some(Partition { kind, first: Sectors(first), length: Sectors(length), active })
    }

    #[test]
    fn bytes_are_what_fdisk_writes() {
        let slots =
            [part(kind::LINUX, 2048, 1 << 20), part(kind::LVM, 1_050_624, 30 << 20), None, None];
        let sector = Table { disk_id: 0xdead_beef, slots }.write(Some(&[0x90; 440])).unwrap();
        assert_eq!(sector[..440], [0x90; 440]);
        assert_eq!(sector[440..446], [0xef, 0xbe, 0xad, 0xde, 0, 0]);
        assert_eq!(
            sector[446..462],
            [0x80, 0x20, 0x21, 0, 0x83, 0x65, 0x24, 0x41, 0, 8, 0, 0, 0, 0, 0x10, 0]
        );
        assert_eq!(sector[467..470], [0xfe, 0xff, 0xff]);
        assert_eq!(sector[510..], [0x55, 0xaa]);
    }

    #[test]
    fn misfits_are_named() {
        let fault = |slots| Table { disk_id: 1, slots }.write(None).unwrap_err().to_string();
        let large = fault([part(0x83, 1 << 32, 1), None, None, None]);
        assert_eq!(large, "mbr: partition 1 passes 2 TiB: use a GPT");
        let overlap = fault([part(0x83, 10, 10), None, part(0x83, 19, 1), None]);
        assert_eq!(overlap, "mbr: partition 3 overlaps partition 1");
        assert!(fault([part(0x83, 0, 1), None, None, None]).contains("lies over the table"));
    }

    #[test]
    fn a_filesystem_s_boot_sector_is_not_a_table() {
        let mut sector = Table::default().write(None).unwrap();
        sector[ENTRIES] = 0x6e;
        assert!(Table::read(&sector).unwrap_err().to_string().contains("0x6e"));
        assert!(Table::read(&[0; 512]).is_err());
        assert!(Table::read(&[0; 11]).is_err());
    }

    proptest! {
        #[test]
        fn tables_round_trip(
            disk_id: u32,
            kinds in prop::array::uniform4(0u8..),
            lengths in prop::array::uniform4(1u64..1 << 29),
        ) {
            let mut first = 2048;
            let mut table = Table { disk_id, slots: [None; 4] };
            for ((slot, kind), length) in table.slots.iter_mut().zip(kinds).zip(lengths) {
                *slot = part(kind, first, length).filter(|_| kind != 0);
                first += length;
            }
            prop_assert_eq!(Table::read(&table.write(None).unwrap()), Ok(table));
        }
    }
}
