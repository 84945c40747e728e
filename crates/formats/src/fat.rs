//! FAT12, FAT16 and FAT32 as they lie on a disk: the boot sector, entries of the table, entries of
//! directories with their long names. Where clusters are read from is not known here.
//!
//! Source: Microsoft, "FAT32 File System Specification" 1.03 (2000).

use super::Fault;
use super::fields::Fields;

const FORMAT: &str = "fat";
/// How much [`Volume::read`] needs.
pub const HEAD: usize = 512;
/// The length of an entry of a directory.
pub const ENTRY: usize = 32;
/// A directory has no more entries.
pub const MOST_ENTRIES: usize = 1 << 16;
/// With fewer clusters than this a volume is FAT12, with fewer than the other FAT16.
const LEAST: (u64, u64) = (4085, 65_525);
/// Seconds from 1970 to 1980, where the format's time begins.
const YEAR_1980: i64 = 315_532_800;

/// How wide an entry of the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 12 bits.
    Fat12,
    /// 16 bits.
    Fat16,
    /// 32 bits, of which 28 count.
    Fat32,
}

/// What the boot sector says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The size of a cluster.
    pub cluster: u64,
    /// Where the first table is.
    pub table: u64,
    /// Where the root's entries are and how long, where they are in no cluster.
    pub root: (u64, u64),
    /// The root's first cluster; 0 where it is in none.
    pub root_cluster: u32,
    /// Where the first cluster is, which has the number 2.
    pub data: u64,
    /// How many clusters there are.
    pub clusters: u64,
    /// How wide entries of the table are.
    pub width: Width,
    /// As `UUID=` has it: `1234-ABCD`.
    pub id: String,
    /// The label; empty for none.
    pub label: String,
}

impl Volume {
    /// Reads the boot sector.
    pub fn read(bytes: &[u8]) -> Result<Volume, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        fields.slice(0, HEAD)?;
        let sector = u64::from(fields.le16(11)?);
        let cluster = u64::from(fields.u8(13)?) * sector;
        let (reserved, tables) = (u64::from(fields.le16(14)?), u64::from(fields.u8(16)?));
        let root = u64::from(fields.le16(17)?) * ENTRY as u64;
        let either = |short: usize, long: usize| -> Result<u64, Fault> {
            Ok(match fields.le16(short)? {
                0 => fields.le32(long)?.into(),
                count => count.into(),
            })
        };
        let (sectors, table) = (either(19, 32)?, either(22, 36)?);
        let sane = sector.is_power_of_two()
            && (512..=4096).contains(&sector)
            && cluster.is_power_of_two()
            && cluster <= 1 << 18
            && reserved > 0
            && tables > 0
            && table > 0;
        Fault::unless(sane, FORMAT, || {
            format!("sectors of {sector} bytes, clusters of {cluster}, {tables} tables of {table}")
        })?;
        let root_at = (reserved + tables * table) * sector;
        let data = root_at + root.next_multiple_of(sector);
        let room = (sectors * sector).checked_sub(data);
        let room =
            room.ok_or_else(|| Fault::new(FORMAT, format!("no room in {sectors} sectors")))?;
        let clusters = room / cluster;
        let is_32 = fields.le16(22)? == 0;
        let width = match is_32 {
            true => Width::Fat32,
            false if clusters < LEAST.0 => Width::Fat12,
            false => Width::Fat16,
        };
        let entries = table * sector * 8 / width.bits();
        Fault::unless(clusters + 2 <= entries && clusters < 1 << 28, FORMAT, || {
            format!("{clusters} clusters in a table of {entries}")
        })?;
        let (id, label) = if is_32 { (67, 71) } else { (39, 43) };
        let number = fields.le32(id)?;
        let label = String::from_utf8_lossy(fields.slice(label, 11)?).trim_end().to_string();
        Ok(Volume {
            cluster,
            table: reserved * sector,
            root: (root_at, root),
            root_cluster: if is_32 { fields.le32(44)? } else { 0 },
            data,
            clusters,
            width,
            id: format!("{:04X}-{:04X}", number >> 16, number & 0xffff),
            label: Some(label).filter(|label| label != "NO NAME").unwrap_or_default(),
        })
    }

    /// Where a cluster is, if there is one of this number.
    pub fn at(&self, cluster: u32) -> Option<u64> {
        let index = u64::from(cluster).checked_sub(2).filter(|index| *index < self.clusters)?;
        Some(self.data + index * self.cluster)
    }

    /// Where in the table the entry of a cluster is: the byte, and how many to read.
    pub fn entry(&self, cluster: u32) -> (u64, usize) {
        let bit = u64::from(cluster) * self.width.bits();
        (self.table + bit / 8, if self.width == Width::Fat32 { 4 } else { 2 })
    }

    /// The cluster behind `cluster`, out of the bytes at [`Volume::entry`]; `None` at the end.
    pub fn next(&self, cluster: u32, bytes: &[u8]) -> Result<Option<u32>, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        let (next, end) = match self.width {
            Width::Fat12 => {
                let both = u32::from(fields.le16(0)?);
                (if cluster % 2 == 1 { both >> 4 } else { both & 0xfff }, 0xff8)
            }
            Width::Fat16 => (fields.le16(0)?.into(), 0xfff8),
            Width::Fat32 => (fields.le32(0)? & 0x0fff_ffff, 0x0fff_fff8),
        };
        Ok((next < end).then_some(next))
    }
}

impl Width {
    fn bits(self) -> u64 {
        match self {
            Width::Fat12 => 12,
            Width::Fat16 => 16,
            Width::Fat32 => 32,
        }
    }
}

/// A file or a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The long name, or the short one as it is shown.
    pub name: String,
    /// Where it is among the bytes of its directory.
    pub at: usize,
    /// What it is.
    pub item: Item,
}

/// What an entry says apart from the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Whether it is a directory.
    pub is_directory: bool,
    /// The first cluster; 0 for none.
    pub cluster: u32,
    /// How long a file is.
    pub size: u32,
    /// Seconds since 1970, as if the clock had shown UTC.
    pub time: i64,
}

impl Item {
    /// Reads the [`ENTRY`] bytes of an entry.
    pub fn read(bytes: &[u8]) -> Result<Item, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        let cluster = u32::from(fields.le16(26)?) | u32::from(fields.le16(20)?) << 16;
        Ok(Item {
            is_directory: fields.u8(11)? & 0x10 != 0,
            cluster,
            size: fields.le32(28)?,
            time: time(fields.le16(24)?, fields.le16(22)?),
        })
    }
}

/// The files and directories in the bytes of a directory; `.`, `..`, labels and what was removed
/// are left out.
pub fn entries(bytes: &[u8]) -> Result<Vec<Entry>, Fault> {
    let mut found = Vec::new();
    let mut long = Long::default();
    for (index, entry) in bytes.chunks_exact(ENTRY).enumerate() {
        match (entry[0], entry[11]) {
            (0, _) => break,
            (0xe5, _) => long = Long::default(),
            (_, attributes) if attributes & 0x3f == 0x0f => long.take(entry),
            (_, attributes) if attributes & 0x08 != 0 => long = Long::default(),
            _ => {
                let told = std::mem::take(&mut long).finish(&entry[..11])?;
                let name = told.unwrap_or_else(|| short(entry));
                if name != "." && name != ".." {
                    let item = Item::read(entry)?;
                    found.push(Entry { name, at: index * ENTRY, item });
                }
            }
        }
    }
    Ok(found)
}

/// A long name, whose pieces come before the entry, the last one first.
#[derive(Default)]
struct Long {
    units: Vec<u16>,
    /// The number of the piece that was read last.
    number: u8,
    /// The checksum of the short name it belongs to.
    sum: u8,
}

impl Long {
    fn take(&mut self, entry: &[u8]) {
        let (number, is_last) = (entry[0] & 0x3f, entry[0] & 0x40 != 0);
        let follows = !self.units.is_empty() && number + 1 == self.number && self.sum == entry[13];
        if !is_last && !follows || number == 0 {
            *self = Long::default();
            return;
        }
        if is_last {
            self.units.clear();
        }
        (self.number, self.sum) = (number, entry[13]);
        let pieces = [&entry[1..11], &entry[14..26], &entry[28..32]];
        let piece = pieces.into_iter().flatten().copied().collect::<Vec<u8>>();
        let units = piece.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        self.units.splice(..0, units);
    }

    /// The name, if it belongs to the entry of this short one.
    fn finish(self, short: &[u8]) -> Result<Option<String>, Fault> {
        let sum = short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        if self.units.is_empty() || self.number != 1 || sum != self.sum {
            return Ok(None);
        }
        let end = self.units.iter().position(|unit| *unit == 0).unwrap_or(self.units.len());
        let name = String::from_utf16(&self.units[..end]);
        name.map(Some).map_err(|_| Fault::new(FORMAT, "a name that is no UTF-16"))
    }
}

/// What IBM's PC showed for the bytes from 128 on.
const CODE_PAGE_437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// `README.TXT`, in lower case where the entry says so.
fn short(entry: &[u8]) -> String {
    let part = |bytes: &[u8], lower: bool| -> String {
        let shown = bytes.iter().map(|byte| match byte {
            0x05 => 'σ',
            byte if *byte < 128 => char::from(*byte),
            byte => CODE_PAGE_437.chars().nth(usize::from(*byte) - 128).unwrap_or('_'),
        });
        let shown: String = shown.collect();
        let shown = shown.trim_end_matches(' ');
        if lower { shown.to_ascii_lowercase() } else { shown.to_string() }
    };
    let flags = entry[12];
    let (base, ending) = (part(&entry[..8], flags & 8 != 0), part(&entry[8..11], flags & 16 != 0));
    if ending.is_empty() { base } else { format!("{base}.{ending}") }
}

/// Seconds since 1970 of a date and a time; a date that is none is 1980.
fn time(date: u16, time: u16) -> i64 {
    let (year, month, day) =
        (i64::from(date >> 9), i64::from(date >> 5 & 15), i64::from(date & 31));
    let clock =
        i64::from(time >> 11) * 3600 + i64::from(time >> 5 & 63) * 60 + i64::from(time & 31) * 2;
    if !(1..=12).contains(&month) || day == 0 {
        return YEAR_1980;
    }
    // Only every fourth year is a leap year from 1980 to 2099; 2100, which FAT can tell, is none.
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
    fn times_are_utc() {
        let date = |year: u16, month: u16, day: u16| (year - 1980) << 9 | month << 5 | day;
        assert_eq!(time(date(1980, 1, 1), 0), YEAR_1980);
        assert_eq!(time(date(2026, 1, 1), 0), 1_767_225_600);
        assert_eq!(time(date(2024, 2, 29), 12 << 11 | 34 << 5 | 28), 1_709_210_096);
        assert_eq!(time(date(2024, 3, 1), 0), 1_709_251_200);
        assert_eq!(time(date(2101, 3, 1), 0), 4_139_078_400);
        assert_eq!(time(0, 0), YEAR_1980);
    }

    #[test]
    fn names_are_long_or_short() {
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

    proptest! {
        #[test]
        fn reading_anything_ends(bytes in prop::collection::vec(any::<u8>(), 512..700)) {
            let _ = (Volume::read(&bytes), entries(&bytes));
        }
    }
}
