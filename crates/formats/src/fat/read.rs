//! Reads the boot sector, entries of the FAT, and directories of FAT12, FAT16 and FAT32.

use super::{ENTRY, FORMAT, attribute, short_name_checksum};
use crate::fields::Fields;
use crate::units::Bytes;
use crate::{Fault, ibm437};

/// The length of a boot sector, which [`BootSector::read`] needs whole.
pub const BOOT_SECTOR: usize = 512;
/// A directory has no more entries.
pub const MOST_ENTRIES: usize = 1 << 16;
/// A volume with fewer clusters is FAT12.
const FAT16_LEAST_CLUSTERS: u64 = 4085;
/// The time of an entry that has none: 1980, the first year of the format, in seconds since 1970.
const YEAR_1980: i64 = 315_532_800;

/// The width of an entry of the FAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FatType {
    /// 12 bits.
    Fat12,
    /// 16 bits.
    Fat16,
    /// 32 bits, of which the upper 4 are reserved.
    Fat32,
}

/// The boot sector with its BIOS parameter block. Offsets count from the start of the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootSector {
    /// The size of a cluster, `BPB_SecPerClus` in bytes: a power of 2, at most 256 KiB.
    pub cluster_size: Bytes,
    /// Where the first FAT begins.
    pub fat: Bytes,
    /// Where the root directory of FAT12 and FAT16 begins.
    pub root_directory: Bytes,
    /// Its length; 0 for FAT32, whose root directory is a chain of clusters.
    pub root_directory_length: Bytes,
    /// `BPB_RootClus`; 0 for FAT12 and FAT16.
    pub root_cluster: u32,
    /// Where cluster 2 begins, the first one.
    pub data: Bytes,
    /// The number of clusters.
    pub clusters: u32,
    /// The width of an entry of the FAT.
    pub fat_type: FatType,
    /// `BS_VolID` as `UUID=` in fstab has it: `1234-ABCD`.
    pub volume_id: String,
    /// `BS_VolLab`; empty for `NO NAME`.
    pub label: String,
}

impl BootSector {
    /// Reads the first [`BOOT_SECTOR`] bytes of a volume. Refuses sizes that contradict each other.
    pub fn read(bytes: &[u8]) -> Result<BootSector, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        fields.slice(0, BOOT_SECTOR)?;
        let sector = u64::from(fields.le16(11)?);
        let cluster = u64::from(fields.u8(13)?) * sector;
        let (reserved, fats) = (u64::from(fields.le16(14)?), u64::from(fields.u8(16)?));
        let root = u64::from(fields.le16(17)?) * ENTRY as u64;
        let either = |short: usize, long: usize| -> Result<u64, Fault> {
            Ok(match fields.le16(short)? {
                0 => fields.le32(long)?.into(),
                count => count.into(),
            })
        };
        let (sectors, fat) = (either(19, 32)?, either(22, 36)?);
        let sane = sector.is_power_of_two()
            && (512..=4096).contains(&sector)
            && cluster.is_power_of_two()
            && cluster <= 1 << 18
            && reserved > 0
            && fats > 0
            && fat > 0;
        Fault::unless(sane, FORMAT, || {
            format!("sectors of {sector} bytes, clusters of {cluster}, {fats} tables of {fat}")
        })?;
        let root_at = (reserved + fats * fat) * sector;
        let data = root_at + root.next_multiple_of(sector);
        let room = (sectors * sector).checked_sub(data);
        let room =
            room.ok_or_else(|| Fault::new(FORMAT, format!("no room in {sectors} sectors")))?;
        let clusters = room / cluster;
        let is_32 = fields.le16(22)? == 0;
        let fat_type = match is_32 {
            true => FatType::Fat32,
            false if clusters < FAT16_LEAST_CLUSTERS => FatType::Fat12,
            false => FatType::Fat16,
        };
        let entries = fat * sector * 8 / fat_type.bits();
        Fault::unless(clusters + 2 <= entries && clusters < 1 << 28, FORMAT, || {
            format!("{clusters} clusters in a table of {entries}")
        })?;
        let (id, label) = if is_32 { (67, 71) } else { (39, 43) };
        let id = fields.le32(id)?;
        let label = String::from_utf8_lossy(fields.slice(label, 11)?).trim_end().to_string();
        Ok(BootSector {
            cluster_size: Bytes(cluster),
            fat: Bytes(reserved * sector),
            root_directory: Bytes(root_at),
            root_directory_length: Bytes(root),
            root_cluster: if is_32 { fields.le32(44)? } else { 0 },
            data: Bytes(data),
            clusters: clusters as u32,
            fat_type,
            volume_id: format!("{:04X}-{:04X}", id >> 16, id & 0xffff),
            label: Some(label).filter(|label| label != "NO NAME").unwrap_or_default(),
        })
    }

    /// Where `cluster` begins; `None` for a number below 2 or past the last one.
    pub fn cluster_at(&self, cluster: u32) -> Option<Bytes> {
        let index = cluster.checked_sub(2).filter(|index| *index < self.clusters)?;
        Some(self.data + Bytes(u64::from(index) * self.cluster_size.0))
    }

    /// Where the entry of `cluster` in the FAT is, and how many bytes [`BootSector::next_cluster`]
    /// needs of it.
    pub fn fat_entry(&self, cluster: u32) -> (Bytes, usize) {
        let bit = u64::from(cluster) * self.fat_type.bits();
        let length = if self.fat_type == FatType::Fat32 { 4 } else { 2 };
        (self.fat + Bytes(bit / 8), length)
    }

    /// The cluster that follows `cluster` in its chain, out of the bytes at
    /// [`BootSector::fat_entry`]; `None` at the end of the chain.
    pub fn next_cluster(&self, cluster: u32, entry: &[u8]) -> Result<Option<u32>, Fault> {
        let fields = Fields::of(FORMAT, entry);
        let (next, end) = match self.fat_type {
            FatType::Fat12 => {
                let both = u32::from(fields.le16(0)?);
                (if cluster % 2 == 1 { both >> 4 } else { both & 0xfff }, 0xff8)
            }
            FatType::Fat16 => (fields.le16(0)?.into(), 0xfff8),
            FatType::Fat32 => (fields.le32(0)? & 0x0fff_ffff, 0x0fff_fff8),
        };
        Ok((next < end).then_some(next))
    }
}

impl FatType {
    fn bits(self) -> u64 {
        match self {
            FatType::Fat12 => 12,
            FatType::Fat16 => 16,
            FatType::Fat32 => 32,
        }
    }
}

/// A file or directory in the bytes of its parent directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The long name, or the short one in the case that the entry asks for.
    pub name: String,
    /// The offset of the short entry in the bytes of the directory.
    pub offset: usize,
    /// The short entry.
    pub item: Item,
}

/// A short directory entry, apart from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Whether `ATTR_DIRECTORY` is set.
    pub is_directory: bool,
    /// `DIR_FstClus`, the first cluster; 0 for an empty file.
    pub first_cluster: u32,
    /// `DIR_FileSize` in bytes; 0 for directories.
    pub size: u32,
    /// `DIR_WrtDate` and `DIR_WrtTime` taken as UTC, in seconds since 1970.
    pub time: i64,
}

impl Item {
    /// Reads the [`ENTRY`] bytes of an entry.
    pub fn read(bytes: &[u8]) -> Result<Item, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        Ok(Item {
            is_directory: fields.u8(11)? & attribute::DIRECTORY != 0,
            first_cluster: u32::from(fields.le16(26)?) | u32::from(fields.le16(20)?) << 16,
            size: fields.le32(28)?,
            time: time(fields.le16(24)?, fields.le16(22)?),
        })
    }
}

/// The files and directories in the bytes of a directory, without `.`, `..`, volume labels and
/// deleted entries. Fails for a long name that is not UTF-16.
pub fn entries(bytes: &[u8]) -> Result<Vec<Entry>, Fault> {
    let mut found = Vec::new();
    let mut long = LongName::default();
    for (index, entry) in bytes.chunks_exact(ENTRY).enumerate() {
        match (entry[0], entry[11]) {
            (0, _) => break,
            (0xe5, _) => long = LongName::default(),
            (_, attributes) if attributes & 0x3f == attribute::LONG_NAME => long.push(entry),
            (_, attributes) if attributes & attribute::VOLUME_ID != 0 => long = LongName::default(),
            _ => {
                let long = std::mem::take(&mut long).finish(&entry[..11])?;
                let name = long.unwrap_or_else(|| short_name(entry));
                if name != "." && name != ".." {
                    let item = Item::read(entry)?;
                    found.push(Entry { name, offset: index * ENTRY, item });
                }
            }
        }
    }
    Ok(found)
}

/// The label of the volume in the bytes of its root directory, which counts more than that of the boot
/// sector: tools that change it leave the latter as it was.
pub fn label(bytes: &[u8]) -> Option<String> {
    let kind = attribute::VOLUME_ID | attribute::DIRECTORY;
    let mut entries = bytes.chunks_exact(ENTRY).take_while(|entry| entry[0] != 0);
    let entry = entries.find(|entry| {
        entry[0] != 0xe5
            && entry[11] & 0x3f != attribute::LONG_NAME
            && entry[11] & kind == attribute::VOLUME_ID
            && [20, 21, 26, 27].iter().all(|at| entry[*at] == 0)
    })?;
    let label = match entry[0] {
        0x05 => format!("{}{}", ibm437::character(0xe5), ibm437::decode(&entry[1..11])),
        _ => ibm437::decode(&entry[..11]),
    };
    Some(label.trim_end().to_string()).filter(|label| !label.is_empty() && label != "NO NAME")
}

/// A long name being read: its entries come before the short one, the last piece first.
#[derive(Default)]
struct LongName {
    units: Vec<u16>,
    /// `LDIR_Ord` of the piece that was read last, without the flag of the last piece.
    ordinal: u8,
    /// `LDIR_Chksum`, of the short name that it belongs to.
    checksum: u8,
}

impl LongName {
    fn push(&mut self, entry: &[u8]) {
        let (ordinal, is_last) = (entry[0] & 0x3f, entry[0] & 0x40 != 0);
        let follows =
            !self.units.is_empty() && ordinal + 1 == self.ordinal && self.checksum == entry[13];
        if !is_last && !follows || ordinal == 0 {
            *self = LongName::default();
            return;
        }
        if is_last {
            self.units.clear();
        }
        (self.ordinal, self.checksum) = (ordinal, entry[13]);
        let pieces = [&entry[1..11], &entry[14..26], &entry[28..32]];
        let piece = pieces.into_iter().flatten().copied().collect::<Vec<u8>>();
        let units = piece.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        self.units.splice(..0, units);
    }

    /// The name, if it belongs to the entry with this short name.
    fn finish(self, short: &[u8]) -> Result<Option<String>, Fault> {
        let belongs = self.ordinal == 1 && self.checksum == short_name_checksum(short);
        if self.units.is_empty() || !belongs {
            return Ok(None);
        }
        let end = self.units.iter().position(|unit| *unit == 0).unwrap_or(self.units.len());
        let name = String::from_utf16(&self.units[..end]);
        name.map(Some).map_err(|_| Fault::new(FORMAT, "a name that is not UTF-16"))
    }
}

/// `README.TXT`; base and extension are in lower case where the flags in `DIR_NTRes` say so.
fn short_name(entry: &[u8]) -> String {
    let part = |bytes: &[u8], lower: bool| -> String {
        let shown = bytes.iter().map(|byte| match byte {
            0x05 => 'σ',
            byte => ibm437::character(*byte),
        });
        let shown: String = shown.collect();
        let shown = shown.trim_end_matches(' ');
        if lower { shown.to_ascii_lowercase() } else { shown.to_string() }
    };
    let flags = entry[12];
    let (base, ending) = (part(&entry[..8], flags & 8 != 0), part(&entry[8..11], flags & 16 != 0));
    if ending.is_empty() { base } else { format!("{base}.{ending}") }
}

/// Seconds since 1970 of a `DIR_WrtDate` and a `DIR_WrtTime`; an invalid date counts as 1980.
fn time(date: u16, time: u16) -> i64 {
    let (year, month, day) =
        (i64::from(date >> 9), i64::from(date >> 5 & 15), i64::from(date & 31));
    let clock =
        i64::from(time >> 11) * 3600 + i64::from(time >> 5 & 63) * 60 + i64::from(time & 31) * 2;
    if !(1..=12).contains(&month) || day == 0 {
        return YEAR_1980;
    }
    // Only every fourth year is a leap year from 1980 to 2099; 2100, which FAT can express, is none.
    let leap = year % 4 == 0 && year != 120;
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month as usize - 1];
    let leaps = (year + 3) / 4 - i64::from(year > 120) + i64::from(leap && month > 2);
    YEAR_1980 + (year * 365 + leaps + before + day - 1) * 86_400 + clock
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn write_times_are_read_as_utc() {
        let date = |year: u16, month: u16, day: u16| (year - 1980) << 9 | month << 5 | day;
        assert_eq!(time(date(1980, 1, 1), 0), YEAR_1980);
        assert_eq!(time(date(2026, 1, 1), 0), 1_767_225_600);
        assert_eq!(time(date(2024, 2, 29), 12 << 11 | 34 << 5 | 28), 1_709_210_096);
        assert_eq!(time(date(2024, 3, 1), 0), 1_709_251_200);
        assert_eq!(time(date(2101, 3, 1), 0), 4_139_078_400);
        assert_eq!(time(0, 0), YEAR_1980);
    }

    #[test]
    fn long_names_win_over_short_ones() {
        let entry = |name: &[u8; 11], attributes: u8, case: u8| {
            let mut entry = vec![0; ENTRY];
            entry[..11].copy_from_slice(name);
            (entry[11], entry[12]) = (attributes, case);
            entry
        };
        let sum = b"LONGNA~1TXT".iter().fold(0u8, |s, b| s.rotate_right(1).wrapping_add(*b));
        let piece = |number: u8, text: &str| {
            let mut units: Vec<u16> = text.encode_utf16().collect();
            if units.len() < 13 {
                units.push(0);
            }
            units.resize(13, 0xffff);
            let bytes: Vec<u8> = units.into_iter().flat_map(u16::to_le_bytes).collect();
            let mut entry = vec![0; ENTRY];
            (entry[0], entry[11], entry[13]) = (number, 0x0f, sum);
            entry[1..11].copy_from_slice(&bytes[..10]);
            entry[14..26].copy_from_slice(&bytes[10..22]);
            entry[28..32].copy_from_slice(&bytes[22..]);
            entry
        };
        let directory = [
            entry(b"ESP        ", 0x08, 0),
            entry(b".          ", 0x10, 0),
            piece(0x42, "e.txt"),
            piece(1, "a long näme h"),
            entry(b"LONGNA~1TXT", 0x20, 0),
            entry(b"\xe5ONE    TXT", 0x20, 0),
            entry(b"GRUB    CFG", 0x20, 0x18),
            entry(b"EFI        ", 0x10, 0),
            // Pieces that belong to another entry do not count.
            piece(0x41, "stray"),
            entry(b"B\x81CHER     ", 0x20, 0),
        ];
        let entries = entries(&directory.concat()).unwrap();
        let names: Vec<_> =
            entries.iter().map(|e| (e.name.as_str(), e.item.is_directory)).collect();
        let expected =
            [("a long näme he.txt", false), ("grub.cfg", false), ("EFI", true), ("BüCHER", false)];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_label_is_the_first_that_is_one() {
        let entry = |name: &[u8; 11], attributes: u8, cluster: u8| {
            let mut entry = vec![0; ENTRY];
            entry[..11].copy_from_slice(name);
            (entry[11], entry[26]) = (attributes, cluster);
            entry
        };
        let others = [
            entry(b"FILE    TXT", 0x20, 0),
            entry(b"\xe5ELETED    ", 0x08, 0),
            entry(b"Along name ", 0x0f, 0),
            entry(b"DIRECTORY  ", 0x18, 0),
            entry(b"WITH DATA  ", 0x08, 7),
        ]
        .concat();
        let with = |name: &[u8; 11]| label(&[&others[..], &entry(name, 0x28, 0)].concat());
        assert_eq!(with(b"BOOT PART  ").as_deref(), Some("BOOT PART"));
        assert_eq!(with(b"\x05\x81X        ").as_deref(), Some("σüX"));
        assert_eq!(with(b"NO NAME    "), None);
        assert_eq!(label(&others), None);
        let behind_the_end = [&entry(&[0; 11], 0, 0)[..], &entry(b"LABEL      ", 8, 0)].concat();
        assert_eq!(label(&behind_the_end), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 512..700)) {
            let _ = (BootSector::read(&bytes), entries(&bytes), label(&bytes));
        }
    }
}
