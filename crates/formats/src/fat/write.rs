//! The structures of a FAT32 volume as bytes: boot sector, FSInfo, directory entries with long names.

use std::collections::BTreeSet;

use super::{ENTRY, FORMAT, attribute, short_name_checksum};
use crate::Fault;
use crate::fields::put;
use crate::units::{Bytes, SECTOR, Sectors};

/// `BPB_RsvdSecCnt`: the sectors before the first FAT.
const RESERVED: u64 = 32;
/// `BPB_BkBootSec`: the sector of the copy of the boot sector; that of FSInfo follows it.
const BACKUP: u64 = 6;
/// Every reader takes a volume with fewer clusters for FAT16.
const FAT32_LEAST_CLUSTERS: u64 = 65_525;
/// `BPB_RootClus`: the first cluster of the root directory.
pub const ROOT_CLUSTER: u32 = 2;
/// The entry of the FAT that ends a chain of clusters.
pub const END_OF_CHAIN: u32 = 0x0fff_ffff;

/// The layout of a FAT32 volume with two FATs. Offsets count from the start of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    sectors: u32,
    sectors_per_cluster: u8,
    fat_sectors: u32,
    /// The number of clusters.
    pub clusters: u32,
}

impl Geometry {
    /// The layout of a volume of `size`, with the cluster sizes that Windows chooses. Refuses less
    /// than 34 MiB and more than 2 TiB.
    pub fn new(size: Bytes) -> Result<Geometry, Fault> {
        let per_cluster: u8 = match size.0 >> 20 {
            0..=260 => 1,
            261..=8_192 => 8,
            8_193..=16_384 => 16,
            16_385..=32_768 => 32,
            _ => 64,
        };
        let too_large = |_| Fault::new(FORMAT, format!("a FAT32 of {size}: the most is 2 TiB"));
        let sectors = u32::try_from(size.sectors().0).map_err(too_large)?;
        let data = u64::from(sectors).saturating_sub(RESERVED) / u64::from(per_cluster);
        let fat_sectors = ((data + 2) * 4).div_ceil(SECTOR);
        let data = u64::from(sectors).saturating_sub(RESERVED + 2 * fat_sectors);
        let clusters = data / u64::from(per_cluster);
        Fault::unless(clusters >= FAT32_LEAST_CLUSTERS, FORMAT, || {
            format!("a FAT32 of {size}: the least is 34 MiB")
        })?;
        Ok(Geometry {
            sectors,
            sectors_per_cluster: per_cluster,
            fat_sectors: fat_sectors as u32,
            clusters: clusters as u32,
        })
    }

    /// The size of a cluster.
    pub fn cluster_size(&self) -> Bytes {
        Sectors(self.sectors_per_cluster.into()).bytes()
    }

    /// Where the two FATs begin.
    pub fn fats(&self) -> [Bytes; 2] {
        [RESERVED, RESERVED + u64::from(self.fat_sectors)].map(|sector| Sectors(sector).bytes())
    }

    /// Where `cluster` begins, which is 2 or more.
    pub fn cluster_at(&self, cluster: u32) -> Bytes {
        let data = Sectors(RESERVED + 2 * u64::from(self.fat_sectors)).bytes();
        data + Bytes(u64::from(cluster - ROOT_CLUSTER) * self.cluster_size().0)
    }

    /// Boot sector and FSInfo with their copies, each with its offset; the first `used` clusters
    /// are taken. An empty label becomes `NO NAME`.
    pub fn boot_sectors(&self, volume_id: u32, label: &str, used: u32) -> Vec<(Bytes, Vec<u8>)> {
        let mut boot = vec![0; SECTOR as usize];
        let boot_fields: [(usize, &[u8]); 17] = [
            (0, &[0xeb, 0x58, 0x90]),
            (3, b"MSWIN4.1"),
            (11, &(SECTOR as u16).to_le_bytes()),
            (13, &[self.sectors_per_cluster]),
            (14, &(RESERVED as u16).to_le_bytes()),
            (16, &[2]),
            (21, &[0xf8]),
            // Geometry of a disk with 63 sectors and 255 heads, which nobody reads any more.
            (24, &[63, 0, 255, 0]),
            (32, &self.sectors.to_le_bytes()),
            (36, &self.fat_sectors.to_le_bytes()),
            (44, &ROOT_CLUSTER.to_le_bytes()),
            (48, &[1, 0, BACKUP as u8, 0]),
            (64, &[0x80, 0, 0x29]),
            (67, &volume_id.to_le_bytes()),
            (71, &padded(if label.is_empty() { "NO NAME" } else { label })),
            (82, b"FAT32   "),
            // `hlt; jmp $-1`, should a BIOS start this.
            (90, &[0xf4, 0xeb, 0xfd]),
        ];
        let mut fs_info = vec![0; SECTOR as usize];
        let fs_info_fields: [(usize, &[u8]); 4] = [
            (0, b"RRaA"),
            (484, b"rrAa"),
            (488, &(self.clusters - used).to_le_bytes()),
            (492, &(ROOT_CLUSTER + used).to_le_bytes()),
        ];
        boot_fields.into_iter().for_each(|(at, bytes)| put(&mut boot, at, bytes));
        fs_info_fields.into_iter().for_each(|(at, bytes)| put(&mut fs_info, at, bytes));
        for sector in [&mut boot, &mut fs_info] {
            put(sector, 510, &[0x55, 0xaa]);
        }
        let at = |sector: u64| Sectors(sector).bytes();
        let both = |first| [(at(first), boot.clone()), (at(first + 1), fs_info.clone())];
        both(0).into_iter().chain(both(BACKUP)).collect()
    }
}

/// `DIR_WrtDate` and `DIR_WrtTime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    date: u16,
    time: u16,
}

impl Timestamp {
    /// From seconds since 1970, as UTC, rounded down to two seconds; outside of 1980 to 2107 it is
    /// the start of 1980.
    pub fn from_epoch(epoch: u64) -> Timestamp {
        let (mut left, seconds) = (epoch / 86_400, epoch % 86_400);
        let leap = |year: u64| {
            u64::from(
                year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)),
            )
        };
        let mut year = 1970;
        while left >= 365 + leap(year) && year < 2108 {
            left -= 365 + leap(year);
            year += 1;
        }
        let mut month = 1;
        for length in [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
            if left < length {
                break;
            }
            left -= length;
            month += 1;
        }
        match year {
            1980..=2107 => Timestamp {
                date: ((year - 1980) << 9 | month << 5 | (left + 1)) as u16,
                time: ((seconds / 3600) << 11 | (seconds / 60 % 60) << 5 | (seconds % 60 / 2))
                    as u16,
            },
            _ => Timestamp { date: 1 << 5 | 1, time: 0 },
        }
    }
}

/// A short directory entry to write, apart from its name.
#[derive(Clone, Debug)]
pub struct NewItem {
    /// `DIR_Attr`, one of [`attribute`].
    pub attribute: u8,
    /// `DIR_FstClus`, the first cluster; 0 for an empty file.
    pub first_cluster: u32,
    /// `DIR_FileSize` in bytes; 0 for a directory.
    pub size: u32,
    /// All of its times.
    pub time: Timestamp,
}

impl NewItem {
    /// The entry with this short name.
    pub fn entry(&self, short: &[u8; 11]) -> [u8; ENTRY] {
        let mut entry = [0; ENTRY];
        let Timestamp { date, time } = self.time;
        put(&mut entry, 0, short);
        put(&mut entry, 11, &[self.attribute]);
        put(&mut entry, 14, &time.to_le_bytes());
        put(&mut entry, 16, &date.to_le_bytes());
        put(&mut entry, 18, &date.to_le_bytes());
        put(&mut entry, 20, &((self.first_cluster >> 16) as u16).to_le_bytes());
        put(&mut entry, 22, &time.to_le_bytes());
        put(&mut entry, 24, &date.to_le_bytes());
        put(&mut entry, 26, &(self.first_cluster as u16).to_le_bytes());
        put(&mut entry, 28, &self.size.to_le_bytes());
        entry
    }
}

/// The first 11 bytes of `text`, padded with spaces: a label, or a short name as it is stored.
pub fn padded(text: &str) -> [u8; 11] {
    let mut field = [b' '; 11];
    field.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    field
}

/// A file name as directory entries store it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// `DIR_Name`: eight characters and an extension of three.
    pub short: [u8; 11],
    /// In UTF-16, where the short name alone would lose something.
    long: Option<Vec<u16>>,
}

impl Name {
    /// The name for `text`, with a short name other than those in `taken`, to which it is added.
    /// Refuses empty names, names of more than 255 UTF-16 units, and those that FAT does not allow.
    pub fn new(text: &str, taken: &mut BTreeSet<[u8; 11]>) -> Result<Name, Fault> {
        let long: Vec<u16> = text.encode_utf16().collect();
        let forbidden = |c: char| c.is_control() || "\"*/:<>?\\|".contains(c);
        if long.len() > 255
            || text.is_empty()
            || text.contains(forbidden)
            || text.ends_with(['.', ' '])
        {
            let why = format!("cannot write the name `{}`", text.escape_debug());
            return Err(Fault::new(FORMAT, why));
        }
        let upper = text.to_uppercase();
        let (base, extension) = match upper.rsplit_once('.') {
            Some((base, extension)) if !base.is_empty() => (base, extension),
            _ => (upper.as_str(), ""),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'()-@^_`{}~".contains(c);
        let fits = |part: &str, most: usize| part.len() <= most && part.chars().all(plain);
        let build = |base: &str, extension: &str| {
            let mut short = padded(base);
            short[8..].iter_mut().zip(extension.bytes()).for_each(|(to, from)| *to = from);
            short
        };
        if fits(base, 8) && fits(extension, 3) && taken.insert(build(base, extension)) {
            let long = (upper != text).then_some(long);
            return Ok(Name { short: build(base, extension), long });
        }
        let keep = |part: &str, most: usize| -> String {
            part.chars().filter(|c| plain(*c)).take(most).collect()
        };
        let extension = keep(extension, 3);
        for number in 1..1_000_000 {
            let tail = format!("~{number}");
            let short = build(&(keep(base, 8 - tail.len()) + &tail), &extension);
            if taken.insert(short) {
                return Ok(Name { short, long: Some(long) });
            }
        }
        Err(Fault::new(FORMAT, format!("no short name is left for `{text}`")))
    }

    /// The number of directory entries that it takes.
    pub fn entries(&self) -> usize {
        1 + self.long.as_ref().map_or(0, |long| long.len().div_ceil(13))
    }

    /// The entries of the long name, last piece first, and then that of the short name.
    pub fn write(&self, item: &NewItem) -> Vec<u8> {
        let checksum = short_name_checksum(&self.short);
        let mut bytes = Vec::new();
        let pieces: Vec<&[u16]> = self.long.as_deref().unwrap_or_default().chunks(13).collect();
        for (index, piece) in pieces.iter().enumerate().rev() {
            // A name that ends inside a piece is closed by 0 and filled with ones.
            let mut units = [0xffff; 13];
            units[..piece.len()].copy_from_slice(piece);
            if let Some(end) = units.get_mut(piece.len()) {
                *end = 0;
            }
            let last = if index + 1 == pieces.len() { 0x40 } else { 0 };
            let raw: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            bytes.push(last | (index as u8 + 1));
            bytes.extend(&raw[..10]);
            bytes.extend([attribute::LONG_NAME, 0, checksum]);
            bytes.extend(&raw[10..22]);
            bytes.extend([0, 0]);
            bytes.extend(&raw[22..]);
        }
        bytes.extend(item.entry(&self.short));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_follow_the_calendar() {
        let stamp = |year: u16, month: u16, day: u16, hour: u16| Timestamp {
            date: (year - 1980) << 9 | month << 5 | day,
            time: hour << 11,
        };
        assert_eq!(Timestamp::from_epoch(1_767_225_600), stamp(2026, 1, 1, 0));
        assert_eq!(Timestamp::from_epoch(1_709_208_000), stamp(2024, 2, 29, 12));
        assert_eq!(Timestamp::from_epoch(1_735_603_200), stamp(2024, 12, 31, 0));
        assert_eq!(Timestamp::from_epoch(0), stamp(1980, 1, 1, 0));
        assert_eq!(Timestamp::from_epoch(u64::MAX), stamp(1980, 1, 1, 0));
    }

    #[test]
    fn names_that_fit_8_3_have_no_long_entries() {
        let mut taken = BTreeSet::new();
        let mut name = |text: &str| {
            let name = Name::new(text, &mut taken).unwrap();
            (String::from_utf8(name.short.to_vec()).unwrap(), name.entries())
        };
        assert_eq!(name("BOOTX64.EFI"), ("BOOTX64 EFI".to_string(), 1));
        assert_eq!(name("grub.cfg"), ("GRUB    CFG".to_string(), 2));
        assert_eq!(name("a long name.text"), ("ALONGN~1TEX".to_string(), 3));
        assert_eq!(name("a long name.texture"), ("ALONGN~2TEX".to_string(), 3));
        assert_eq!(name(".hidden"), ("HIDDEN~1   ".to_string(), 2));
        for bad in ["a:b", "a.", "", "x\ny"] {
            assert!(Name::new(bad, &mut BTreeSet::new()).is_err(), "{bad}");
        }
    }

    #[test]
    fn cluster_size_follows_the_volume_size() {
        let geometry = Geometry::new(Bytes::mib(62)).unwrap();
        assert_eq!(geometry.cluster_size(), Bytes(512));
        assert!(geometry.cluster_at(ROOT_CLUSTER + geometry.clusters) <= Bytes::mib(62));
        assert!(Geometry::new(Bytes::mib(34)).is_ok());
        assert!(Geometry::new(Bytes::mib(32)).is_err());
        assert_eq!(Geometry::new(Bytes::gib(1)).unwrap().cluster_size(), Bytes(4096));
    }
}
