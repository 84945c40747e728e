//! The GUID partition table: protective MBR, header and entries, and their copy at the end of the
//! disk.
//!
//! Source: UEFI specification 2.10, chapter 5. Written: sectors of 512 bytes, 128 entries of 128 bytes.

use super::fields::{Fields, put};
use super::{Fault, Guid, Pieces};
use crate::units::{Bytes, SECTOR, Sectors};

const FORMAT: &str = "gpt";
const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const HEADER_SIZE: usize = 92;
/// The most partitions that a table has.
pub const ENTRIES: usize = 128;
const ENTRY_SIZE: usize = 128;
/// Sectors of one copy of the entries.
const ENTRIES_SECTORS: u64 = (ENTRIES * ENTRY_SIZE) as u64 / SECTOR;

/// Holds GRUB's core.img on a disk that boots by BIOS.
pub const BIOS_BOOT: Guid = Guid::from_u128(0x21686148_6449_6e6f_744e_656564454649);
/// The EFI system partition.
pub const ESP: Guid = Guid::from_u128(0xc12a7328_f81f_11d2_ba4b_00a0c93ec93b);
/// Any Linux filesystem.
pub const LINUX: Guid = Guid::from_u128(0x0fc63daf_8483_4772_8e79_3d69d8477de4);
/// An LVM physical volume.
pub const LVM: Guid = Guid::from_u128(0xe6d6d379_f507_44c2_a23c_238f2a3df928);
/// Linux swap.
pub const SWAP: Guid = Guid::from_u128(0x0657fd6d_a4ab_43c4_84e5_0933c84b4f4f);

/// One entry of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// `PartitionName`, which `PARTLABEL=` names: at most 36 UTF-16 units.
    pub name: String,
    /// `PartitionTypeGUID`, such as [`ESP`].
    pub type_guid: Guid,
    /// `UniquePartitionGUID`, which `PARTUUID=` names.
    pub guid: Guid,
    /// `StartingLBA`.
    pub first: Sectors,
    /// The number of sectors.
    pub length: Sectors,
    /// Bit 0 required, bit 2 legacy BIOS bootable, 48 and up by type.
    pub attributes: u64,
}

/// A whole table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// `DiskGUID`.
    pub disk_guid: Guid,
    /// The size of the disk, a multiple of 512.
    pub disk: Bytes,
    /// In the order of their numbers, 1 first; at most 128.
    pub partitions: Vec<Partition>,
}

/// The first sector a partition may use.
pub const FIRST_USABLE: Sectors = Sectors(2 + ENTRIES_SECTORS);

/// The last sector a partition may use on a disk of this size; `None` where no table fits.
pub fn last_usable(disk: Bytes) -> Option<Sectors> {
    let last = disk.sectors().0.checked_sub(ENTRIES_SECTORS + 2)?;
    (last >= FIRST_USABLE.0).then_some(Sectors(last))
}

impl Table {
    /// The protective MBR with `boot_code`, both headers and both copies of the entries. Refuses
    /// partitions that overlap, leave the usable sectors, or share an id.
    pub fn write(&self, boot_code: Option<&[u8; 440]>) -> Result<Pieces, Fault> {
        self.check()?;
        let last = self.disk.sectors().0 - 1;
        let entries = self.entries();
        let header = |at, other, entries_at| self.header(at, other, entries_at, &entries);
        let mut head = protective_mbr(last, boot_code);
        head.extend(header(1, last, 2));
        head.extend(&entries);
        let mut tail = entries.clone();
        tail.extend(header(last, 1, last - ENTRIES_SECTORS));
        Ok(vec![(Bytes(0), head), (Sectors(last - ENTRIES_SECTORS).bytes(), tail)])
    }

    /// Whether every partition fits.
    fn check(&self) -> Result<(), Fault> {
        let refuse = |why: String| Err(Fault::new(FORMAT, why));
        let disk = self.disk;
        if !disk.0.is_multiple_of(SECTOR) {
            return refuse(format!("a disk of {disk} is not whole sectors"));
        }
        let Some(last) = last_usable(disk) else {
            return refuse(format!("a disk of {disk} has no room for a table"));
        };
        if self.partitions.len() > ENTRIES {
            return refuse(format!("{} partitions, the most is {ENTRIES}", self.partitions.len()));
        }
        let mut taken: Vec<(u64, u64, &str)> = Vec::new();
        for (i, partition) in self.partitions.iter().enumerate() {
            let name = &partition.name;
            let (first, length) = (partition.first.0, partition.length.0);
            let end = first.checked_add(length).filter(|end| *end <= last.0 + 1);
            let Some(end) = end.filter(|_| first >= FIRST_USABLE.0 && length > 0) else {
                return refuse(format!(
                    "partition `{name}`, {length} sectors from {first}, is not within {}..={}",
                    FIRST_USABLE.0, last.0
                ));
            };
            if let Some((_, _, other)) = taken.iter().find(|(a, b, _)| first < *b && *a < end) {
                return refuse(format!("partitions `{other}` and `{name}` overlap"));
            }
            if name.encode_utf16().count() > 36 || name.contains('\0') {
                return refuse(format!("the name `{}` is too long", name.escape_default()));
            }
            let twin = self.partitions[..i].iter().any(|other| other.guid == partition.guid);
            if partition.type_guid == Guid::NIL || partition.guid == Guid::NIL || twin {
                return refuse(format!("partition `{name}` has no type or no id of its own"));
            }
            taken.push((first, end, name));
        }
        Ok(())
    }

    fn entries(&self) -> Vec<u8> {
        let mut entries = vec![0; ENTRIES * ENTRY_SIZE];
        for (entry, partition) in entries.chunks_mut(ENTRY_SIZE).zip(&self.partitions) {
            put(entry, 0, &partition.type_guid.mixed_endian());
            put(entry, 16, &partition.guid.mixed_endian());
            put(entry, 32, &partition.first.0.to_le_bytes());
            put(entry, 40, &(partition.first.0 + partition.length.0 - 1).to_le_bytes());
            put(entry, 48, &partition.attributes.to_le_bytes());
            let name: Vec<u8> = partition.name.encode_utf16().flat_map(u16::to_le_bytes).collect();
            put(entry, 56, &name);
        }
        entries
    }

    fn header(&self, at: u64, other: u64, entries_at: u64, entries: &[u8]) -> Vec<u8> {
        let mut header = vec![0; SECTOR as usize];
        put(&mut header, 0, SIGNATURE);
        put(&mut header, 8, &REVISION.to_le_bytes());
        put(&mut header, 12, &(HEADER_SIZE as u32).to_le_bytes());
        put(&mut header, 24, &at.to_le_bytes());
        put(&mut header, 32, &other.to_le_bytes());
        put(&mut header, 40, &FIRST_USABLE.0.to_le_bytes());
        put(&mut header, 48, &(at.max(other) - ENTRIES_SECTORS - 1).to_le_bytes());
        put(&mut header, 56, &self.disk_guid.mixed_endian());
        put(&mut header, 72, &entries_at.to_le_bytes());
        put(&mut header, 80, &(ENTRIES as u32).to_le_bytes());
        put(&mut header, 84, &(ENTRY_SIZE as u32).to_le_bytes());
        put(&mut header, 88, &crc32fast::hash(entries).to_le_bytes());
        let crc = crc32fast::hash(&header[..HEADER_SIZE]);
        put(&mut header, 16, &crc.to_le_bytes());
        header
    }

    /// Reads the primary table out of the start of a disk; 17 KiB are enough for the usual 128
    /// entries. Both CRCs must be right. The disk's size is taken from where the backup lies. Beside
    /// the table it gives the partitions with their numbers, of which a table may leave some out.
    pub fn read_numbered(head: &[u8]) -> Result<(Table, Vec<(u32, Partition)>), Fault> {
        Table::read_primary(head, Bytes(SECTOR))
    }

    /// Like [`Table::read_numbered`], of a disk with sectors of `sector` bytes, 512 or 4096.
    pub fn read_primary(
        head: &[u8],
        sector: Bytes,
    ) -> Result<(Table, Vec<(u32, Partition)>), Fault> {
        let disk = Fields::of(FORMAT, head);
        let header = Header::read(disk.slice(sector.0 as usize, SECTOR as usize)?)?;
        let at = header.entries_at.checked_mul(sector.0).and_then(|at| usize::try_from(at).ok());
        let at = at.ok_or_else(|| Fault::new(FORMAT, "the entries lie beyond the disk"))?;
        header.table(disk.slice(at, header.count * header.entry_size)?, header.other, sector)
    }

    /// Reads the copy at the end of a disk of `disk` bytes with sectors of `sector` bytes out of `tail`,
    /// its last bytes.
    pub fn read_backup(
        tail: &[u8],
        disk: Bytes,
        sector: Bytes,
    ) -> Result<(Table, Vec<(u32, Partition)>), Fault> {
        let refuse = |why: &str| Fault::new(FORMAT, why);
        let fields = Fields::of(FORMAT, tail);
        let short = || refuse("the disk is too short");
        let at = tail.len().checked_sub(sector.0 as usize).ok_or_else(short)?;
        let header = Header::read(fields.slice(at, SECTOR as usize)?)?;
        let last = (disk.0 / sector.0).checked_sub(1).ok_or_else(short)?;
        Fault::unless(header.at == last && disk.0.is_multiple_of(sector.0), FORMAT, || {
            "its copy is not at the end of the disk".into()
        })?;
        let start = disk.0.checked_sub(tail.len() as u64).ok_or_else(short)?;
        let at = header.entries_at.checked_mul(sector.0).and_then(|at| at.checked_sub(start));
        let at = at.and_then(|at| usize::try_from(at).ok());
        let at = at.ok_or_else(|| refuse("the copied entries are not at the end of the disk"))?;
        header.table(fields.slice(at, header.count * header.entry_size)?, header.at, sector)
    }

    /// Like [`Table::read_numbered`], without the numbers.
    pub fn read(head: &[u8]) -> Result<Table, Fault> {
        Ok(Table::read_numbered(head)?.0)
    }
}

/// A header whose CRC is right. Places are in sectors of the disk.
struct Header {
    /// `MyLBA` and `AlternateLBA`.
    at: u64,
    other: u64,
    disk_guid: Guid,
    entries_at: u64,
    count: usize,
    entry_size: usize,
    entries_crc: u32,
}

impl Header {
    /// Reads the first 512 bytes of the sector of a header.
    fn read(header: &[u8]) -> Result<Header, Fault> {
        let fields = Fields::of(FORMAT, header);
        Fault::unless(header.starts_with(SIGNATURE), FORMAT, || "no EFI PART header".into())?;
        let size = fields.le32(12)? as usize;
        Fault::unless((HEADER_SIZE..=SECTOR as usize).contains(&size), FORMAT, || {
            format!("a header of {size} bytes")
        })?;
        let mut summed = fields.slice(0, size)?.to_vec();
        put(&mut summed, 16, &[0; 4]);
        Fault::unless(crc32fast::hash(&summed) == fields.le32(16)?, FORMAT, || {
            "the header's CRC is wrong".into()
        })?;
        let (count, entry_size) = (fields.le32(80)? as usize, fields.le32(84)? as usize);
        Fault::unless((ENTRY_SIZE..=4096).contains(&entry_size) && count <= 4096, FORMAT, || {
            format!("{count} entries of {entry_size} bytes")
        })?;
        Ok(Header {
            at: fields.le64(24)?,
            other: fields.le64(32)?,
            disk_guid: Guid::from_mixed_endian(fields.array(56)?),
            entries_at: fields.le64(72)?,
            count,
            entry_size,
            entries_crc: fields.le32(88)?,
        })
    }

    /// The table of these entries, of a disk whose last sector is `last`.
    fn table(
        &self,
        entries: &[u8],
        last: u64,
        sector: Bytes,
    ) -> Result<(Table, Vec<(u32, Partition)>), Fault> {
        Fault::unless(crc32fast::hash(entries) == self.entries_crc, FORMAT, || {
            "the CRC of the entries is wrong".into()
        })?;
        let disk = last.checked_add(1).and_then(|sectors| sectors.checked_mul(sector.0));
        let beyond = || Fault::new(FORMAT, "the backup lies beyond 2^64 bytes");
        let mut partitions = Vec::new();
        for (number, entry) in (1..).zip(entries.chunks(self.entry_size)) {
            partitions.extend(read_entry(entry, sector)?.map(|partition| (number, partition)));
        }
        let table = Table {
            disk_guid: self.disk_guid,
            disk: disk.map(Bytes).ok_or_else(beyond)?,
            partitions: partitions.iter().map(|(_, partition)| partition.clone()).collect(),
        };
        Ok((table, partitions))
    }
}

/// One entry, `None` where it is not used.
fn read_entry(entry: &[u8], sector: Bytes) -> Result<Option<Partition>, Fault> {
    let fields = Fields::of(FORMAT, entry);
    let type_guid = Guid::from_mixed_endian(fields.array(0)?);
    if type_guid == Guid::NIL {
        return Ok(None);
    }
    let (first, last) = (fields.le64(32)?, fields.le64(40)?);
    let scale = sector.0 / SECTOR;
    let length = last.checked_sub(first).and_then(|length| length.checked_add(1));
    let length = length.and_then(|length| length.checked_mul(scale));
    let units = fields.slice(56, 72)?.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let name: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    Ok(Some(Partition {
        name: String::from_utf16_lossy(&name),
        type_guid,
        guid: Guid::from_mixed_endian(fields.array(16)?),
        first: Sectors(first.saturating_mul(scale)),
        length: length.map(Sectors).ok_or_else(|| {
            Fault::new(FORMAT, format!("a partition from sector {first} to {last}"))
        })?,
        attributes: fields.le64(48)?,
    }))
}

/// One 0xEE partition over the whole disk, so that older tools see no free space.
fn protective_mbr(last: u64, boot_code: Option<&[u8; 440]>) -> Vec<u8> {
    let mut mbr = vec![0; SECTOR as usize];
    put(&mut mbr, 0, boot_code.unwrap_or(&[0; 440]));
    put(&mut mbr, 446, &[0, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    put(&mut mbr, 458, &u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes());
    put(&mut mbr, 510, &[0x55, 0xaa]);
    mbr
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use proptest::prelude::*;

    fn table() -> Table {
        let part = |name: &str, type_guid, first, length| Partition {
            name: name.into(),
            type_guid,
            guid: Guid::derived("test", name),
            first: Bytes::mib(first).sectors(),
            length: Bytes::mib(length).sectors(),
            attributes: 0,
        };
        Table {
            disk_guid: Guid::derived("test", "disk"),
            disk: Bytes::mib(64),
            partitions: vec![part("bios", BIOS_BOOT, 1, 1), part("root", LINUX, 2, 61)],
        }
    }

    #[test]
    fn bytes_are_pinned() {
        let pieces = table().write(Some(&[0x90; 440])).unwrap();
        let shape: Vec<_> = pieces.iter().map(|(at, bytes)| (at.0, bytes.len())).collect();
        assert_eq!(shape, [(0, 34 * 512), ((64 << 20) - 33 * 512, 33 * 512)]);
        let all: Vec<u8> = pieces.into_iter().flat_map(|(_, bytes)| bytes).collect();
        assert_eq!(Digest::of(all).short(), "33fed33e59a9");
    }

    #[test]
    fn partitions_that_do_not_fit_are_refused() {
        let fault = |change: fn(&mut Table)| {
            let mut table = table();
            change(&mut table);
            table.write(None).unwrap_err().to_string()
        };
        assert_eq!(
            fault(|t| t.partitions[1].first = Sectors(4095)),
            "gpt: partitions `bios` and `root` overlap"
        );
        assert!(fault(|t| t.partitions[0].first = Sectors(33)).contains("not within 34..="));
        assert!(fault(|t| t.partitions[1].length = Sectors(u64::MAX)).contains("not within"));
        assert!(fault(|t| t.partitions[1].name = "x".repeat(37)).contains("too long"));
        assert!(fault(|t| t.partitions[1].guid = t.partitions[0].guid).contains("id of its own"));
        assert!(fault(|t| t.disk = Bytes(512)).contains("no room"));
    }

    #[test]
    fn damage_is_noticed() {
        let head = table().write(None).unwrap().remove(0).1;
        for (at, why) in
            [(512 + 60, "header's CRC"), (1024 + 40, "CRC of the entries"), (512, "EFI PART")]
        {
            let mut damaged = head.clone();
            damaged[at] ^= 1;
            assert!(Table::read(&damaged).unwrap_err().to_string().contains(why), "{at}");
        }
        assert!(Table::read(&head[..2048]).is_err());
    }

    #[test]
    fn the_copy_at_the_end_is_read_and_its_place_must_be_right() {
        let table = table();
        let (disk, sector) = (table.disk, Bytes(SECTOR));
        let tail = table.write(None).unwrap().remove(1).1;
        assert_eq!(Table::read_backup(&tail, disk, sector).unwrap().0, table);
        let longer = Bytes(disk.0 + SECTOR);
        let why = Table::read_backup(&tail, longer, sector).unwrap_err().to_string();
        assert!(why.contains("not at the end"), "{why}");
        let why = Table::read_backup(&tail[512..], disk, sector).unwrap_err().to_string();
        assert!(why.contains("copied entries"), "{why}");
        for at in [40, tail.len() - 512 + 40] {
            let mut damaged = tail.clone();
            damaged[at] ^= 1;
            assert!(Table::read_backup(&damaged, disk, sector).is_err(), "{at}");
        }
        for length in [0, 511, 512] {
            assert!(Table::read_backup(&tail[..length], disk, sector).is_err());
        }
    }

    proptest! {
        #[test]
        fn tables_round_trip(
            names in prop::collection::vec("[a-zA-Zä€ ]{0,36}", 0..20),
            attributes: u64,
            type_guid in 1u128..,
        ) {
            let partitions = names.iter().enumerate().map(|(i, name)| Partition {
                name: name.clone(),
                type_guid: Guid::from_u128(type_guid),
                guid: Guid::derived(name, &i.to_string()),
                first: Sectors(2048 * (i as u64 + 1)),
                length: Sectors(1 + i as u64 * 100),
                attributes,
            });
            let table = Table { partitions: partitions.collect(), ..table() };
            prop_assert_eq!(Table::read(&table.write(None).unwrap()[0].1), Ok(table));
        }

        #[test]
        fn any_bytes_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            if let Some(start) = bytes.get_mut(512..520) {
                start.copy_from_slice(SIGNATURE);
            }
            prop_assert!(Table::read(&bytes).is_err());
        }
    }
}
