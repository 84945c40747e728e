//! The bytes of FAT32: boot sector, FSInfo, directory entries with long names. Pure; `vfat` knows
//! where files come from. Written here because the `fatfs` crate (0.3.6) puts long-name entries
//! before `.` and `..`, which fsck.fat calls damage.
//!
//! Source: Microsoft, "FAT32 File System Specification" 1.03 (2000).

use std::collections::BTreeSet;

use crate::error::{Result, bail, ensure};
use crate::units::{Bytes, SECTOR};

/// Sectors in front of the first FAT.
const RESERVED: u64 = 32;
/// Where the boot sector and FSInfo have their copies.
const BACKUP: u64 = 6;
/// A disk with fewer clusters is FAT16 to every reader.
const LEAST_CLUSTERS: u64 = 65_525;
/// The cluster of the root directory, the first there is.
pub const ROOT: u32 = 2;
/// The length of a directory entry.
pub const ENTRY: usize = 32;
/// Ends a chain of clusters.
pub const END: u32 = 0x0fff_ffff;

/// Attributes of an entry.
pub mod attribute {
    /// The label of the volume.
    pub const LABEL: u8 = 0x08;
    /// A directory.
    pub const DIRECTORY: u8 = 0x10;
    /// Any file.
    pub const FILE: u8 = 0x20;
    /// A piece of a long name.
    pub(super) const LONG: u8 = 0x0f;
}

/// How a volume is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    sectors: u32,
    sectors_per_cluster: u8,
    fat_sectors: u32,
    /// How many clusters there are.
    pub clusters: u32,
}

impl Geometry {
    /// For a volume of this size, with the cluster sizes Windows chooses.
    pub fn of(size: Bytes) -> Result<Geometry> {
        let per_cluster: u8 = match size.0 >> 20 {
            0..=260 => 1,
            261..=8_192 => 8,
            8_193..=16_384 => 16,
            16_385..=32_768 => 32,
            _ => 64,
        };
        let Ok(sectors) = u32::try_from(size.0 / SECTOR) else {
            bail!("a FAT32 of {size}: the most is 2 TiB");
        };
        let data = u64::from(sectors).saturating_sub(RESERVED) / u64::from(per_cluster);
        let fat_sectors = ((data + 2) * 4).div_ceil(SECTOR);
        let data = u64::from(sectors).saturating_sub(RESERVED + 2 * fat_sectors);
        let clusters = data / u64::from(per_cluster);
        ensure!(clusters >= LEAST_CLUSTERS, "a FAT32 of {size}: the least is 34 MiB");
        Ok(Geometry {
            sectors,
            sectors_per_cluster: per_cluster,
            fat_sectors: u32::try_from(fat_sectors)?,
            clusters: u32::try_from(clusters)?,
        })
    }

    /// Bytes in a cluster.
    pub fn cluster(&self) -> u64 {
        u64::from(self.sectors_per_cluster) * SECTOR
    }

    /// Where both FATs begin.
    pub fn fats(&self) -> [u64; 2] {
        [RESERVED * SECTOR, (RESERVED + u64::from(self.fat_sectors)) * SECTOR]
    }

    /// Where a cluster begins.
    pub fn at(&self, cluster: u32) -> u64 {
        let data = (RESERVED + 2 * u64::from(self.fat_sectors)) * SECTOR;
        data + u64::from(cluster - ROOT) * self.cluster()
    }

    /// Boot sector and FSInfo with their copies; the first `used` clusters are taken.
    pub fn head(&self, volume_id: u32, label: &str, used: u32) -> Vec<(u64, Vec<u8>)> {
        let mut boot = vec![0; SECTOR as usize];
        let mut put = |at: usize, bytes: &[u8]| boot[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &[0xeb, 0x58, 0x90]);
        put(3, b"MSWIN4.1");
        put(11, &(SECTOR as u16).to_le_bytes());
        put(13, &[self.sectors_per_cluster]);
        put(14, &(RESERVED as u16).to_le_bytes());
        put(16, &[2]);
        put(21, &[0xf8]);
        // Geometry of a disk with 63 sectors and 255 heads, which nobody reads any more.
        put(24, &[63, 0, 255, 0]);
        put(32, &self.sectors.to_le_bytes());
        put(36, &self.fat_sectors.to_le_bytes());
        put(44, &ROOT.to_le_bytes());
        put(48, &[1, 0, BACKUP as u8, 0]);
        put(64, &[0x80, 0, 0x29]);
        put(67, &volume_id.to_le_bytes());
        put(71, &padded(if label.is_empty() { "NO NAME" } else { label }));
        put(82, b"FAT32   ");
        // Two instructions that wait for ever, should a BIOS start this.
        put(90, &[0xf4, 0xeb, 0xfd]);
        put(510, &[0x55, 0xaa]);

        let mut info = vec![0; SECTOR as usize];
        let mut put = |at: usize, bytes: &[u8]| info[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"RRaA");
        put(484, b"rrAa");
        put(488, &(self.clusters - used).to_le_bytes());
        put(492, &(ROOT + used).to_le_bytes());
        put(510, &[0x55, 0xaa]);
        let both = |at: u64| [(at * SECTOR, boot.clone()), ((at + 1) * SECTOR, info.clone())];
        both(0).into_iter().chain(both(BACKUP)).collect()
    }
}

/// Date and time of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    date: u16,
    time: u16,
}

impl Stamp {
    /// Seconds since 1970 as FAT counts: in UTC, in steps of two, from 1980 to 2107.
    pub fn of(epoch: u64) -> Stamp {
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
            1980..=2107 => Stamp {
                date: ((year - 1980) << 9 | month << 5 | (left + 1)) as u16,
                time: ((seconds / 3600) << 11 | (seconds / 60 % 60) << 5 | (seconds % 60 / 2))
                    as u16,
            },
            _ => Stamp { date: 1 << 5 | 1, time: 0 },
        }
    }
}

/// A file or directory as its directory names it.
#[derive(Clone, Debug)]
pub struct Item {
    /// One of [`attribute`].
    pub attribute: u8,
    /// Its first cluster, 0 for an empty file.
    pub cluster: u32,
    /// Bytes; 0 for a directory.
    pub size: u32,
    /// When it was changed.
    pub stamp: Stamp,
}

impl Item {
    /// The 32 bytes under a short name.
    pub fn entry(&self, short: &[u8; 11]) -> [u8; ENTRY] {
        let mut entry = [0; ENTRY];
        let Stamp { date, time } = self.stamp;
        let mut put = |at: usize, bytes: &[u8]| entry[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, short);
        put(11, &[self.attribute]);
        put(14, &time.to_le_bytes());
        put(16, &date.to_le_bytes());
        put(18, &date.to_le_bytes());
        put(20, &((self.cluster >> 16) as u16).to_le_bytes());
        put(22, &time.to_le_bytes());
        put(24, &date.to_le_bytes());
        put(26, &(self.cluster as u16).to_le_bytes());
        put(28, &self.size.to_le_bytes());
        entry
    }
}

/// Eleven characters, filled with spaces.
pub fn padded(text: &str) -> [u8; 11] {
    let mut field = [b' '; 11];
    field.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    field
}

/// How a directory writes a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Eight characters and three.
    pub short: [u8; 11],
    /// UTF-16, where the short name is not the whole name.
    long: Option<Vec<u16>>,
}

impl Name {
    /// The name for `text` beside the short names in `taken`, which gets one more. Refuses what
    /// FAT cannot write.
    pub fn of(text: &str, taken: &mut BTreeSet<[u8; 11]>) -> Result<Name> {
        let long: Vec<u16> = text.encode_utf16().collect();
        let forbidden = |c: char| c.is_control() || "\"*/:<>?\\|".contains(c);
        if long.len() > 255
            || text.is_empty()
            || text.contains(forbidden)
            || text.ends_with(['.', ' '])
        {
            bail!("FAT cannot write the name `{}`", text.escape_debug());
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
        bail!("no short name is left for `{text}`");
    }

    /// How many entries it takes.
    pub fn entries(&self) -> usize {
        1 + self.long.as_ref().map_or(0, |long| long.len().div_ceil(13))
    }

    /// The entries of the long name, last piece first, in front of the one of the short name.
    pub fn write(&self, item: &Item) -> Vec<u8> {
        let sum = self.short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
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
            bytes.extend([attribute::LONG, 0, sum]);
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
    fn times_are_calendar_times() {
        let stamp = |year: u16, month: u16, day: u16, hour: u16| Stamp {
            date: (year - 1980) << 9 | month << 5 | day,
            time: hour << 11,
        };
        assert_eq!(Stamp::of(1_767_225_600), stamp(2026, 1, 1, 0));
        assert_eq!(Stamp::of(1_709_208_000), stamp(2024, 2, 29, 12));
        assert_eq!(Stamp::of(1_735_603_200), stamp(2024, 12, 31, 0));
        assert_eq!(Stamp::of(0), stamp(1980, 1, 1, 0));
        assert_eq!(Stamp::of(u64::MAX), stamp(1980, 1, 1, 0));
    }

    #[test]
    fn names_are_short_where_they_can_be() {
        let mut taken = BTreeSet::new();
        let mut name = |text: &str| {
            let name = Name::of(text, &mut taken).unwrap();
            (String::from_utf8(name.short.to_vec()).unwrap(), name.entries())
        };
        assert_eq!(name("BOOTX64.EFI"), ("BOOTX64 EFI".to_string(), 1));
        assert_eq!(name("grub.cfg"), ("GRUB    CFG".to_string(), 2));
        assert_eq!(name("a long name.text"), ("ALONGN~1TEX".to_string(), 3));
        assert_eq!(name("a long name.texture"), ("ALONGN~2TEX".to_string(), 3));
        assert_eq!(name(".hidden"), ("HIDDEN~1   ".to_string(), 2));
        for bad in ["a:b", "a.", "", "x\ny"] {
            assert!(Name::of(bad, &mut BTreeSet::new()).is_err(), "{bad}");
        }
    }

    #[test]
    fn geometry_follows_the_size() {
        let geometry = Geometry::of(Bytes::mib(62)).unwrap();
        assert_eq!(geometry.cluster(), 512);
        assert!(geometry.at(ROOT + geometry.clusters) <= 62 << 20);
        assert!(Geometry::of(Bytes::mib(34)).is_ok());
        assert!(Geometry::of(Bytes::mib(32)).is_err());
        assert_eq!(Geometry::of(Bytes::gib(1)).unwrap().cluster(), 4096);
    }
}
