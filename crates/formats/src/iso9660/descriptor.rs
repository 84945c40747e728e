//! The fixed structures of an image as bytes: numbers in both byte orders, dates, directory
//! records and volume descriptors. It does not know where anything lies.
//!
//! Source: ECMA-119 sections 7.2, 7.3, 8.4, 8.5, 9.1.

use super::{FORMAT, SECTOR, STANDARD_ID, names};
use crate::Fault;
use crate::fields::put;

/// A 32-bit number, little endian and then big.
pub(super) fn both32(number: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    put(&mut bytes, 0, &number.to_le_bytes());
    put(&mut bytes, 4, &number.to_be_bytes());
    bytes
}

/// A 16-bit number, little endian and then big.
pub(super) fn both16(number: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (number.to_le_bytes(), number.to_be_bytes());
    [a, b, c, d]
}

/// A moment in UTC, by the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl Moment {
    /// From seconds since 1970. Refuses what a directory record cannot show: past 2155.
    pub(super) fn from_epoch(seconds: u64) -> Result<Moment, Fault> {
        let mut days = seconds / 86_400;
        let mut year: u16 = 1970;
        let leap = |year: u16| {
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
        };
        while days >= 365 + u64::from(leap(year)) {
            days -= 365 + u64::from(leap(year));
            year += 1;
            Fault::unless(year <= 2155, FORMAT, || format!("the time {seconds} is past 2155"))?;
        }
        let february = 28 + u64::from(leap(year));
        let mut month = 1;
        for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
            if days < length {
                break;
            }
            days -= length;
            month += 1;
        }
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let (day, hour) = (days as u8 + 1, hour as u8);
        Ok(Moment { year, month, day, hour, minute: minute as u8, second: second as u8 })
    }

    /// As directory records have it.
    pub(super) fn short(&self) -> [u8; 7] {
        let year = (self.year - 1900) as u8;
        [year, self.month, self.day, self.hour, self.minute, self.second, 0]
    }

    /// As volume descriptors have it: digits, hundredths, and the zone.
    fn long(&self) -> [u8; 17] {
        let Moment { year, month, day, hour, minute, second } = self;
        let digits = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}00");
        let mut bytes = [0; 17];
        put(&mut bytes, 0, digits.as_bytes());
        bytes
    }
}

/// Where something lies, in sectors and bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    pub(super) sector: u32,
    pub(super) length: u32,
}

/// A directory record; `system_use` is where Rock Ridge lives.
pub(super) fn record(
    name: &[u8],
    extent: Extent,
    flags: u8,
    time: &Moment,
    system_use: &[u8],
) -> Vec<u8> {
    let mut record = vec![0; 33];
    put(&mut record, 2, &both32(extent.sector));
    put(&mut record, 10, &both32(extent.length));
    put(&mut record, 18, &time.short());
    record[25] = flags;
    put(&mut record, 28, &both16(1));
    record[32] = name.len() as u8;
    record.extend(name);
    record.resize(record.len().next_multiple_of(2), 0);
    record.extend(system_use);
    record.resize(record.len().next_multiple_of(2), 0);
    record[0] = record.len() as u8;
    record
}

/// Which of the two trees a descriptor opens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tree {
    /// ISO 9660 itself, with Rock Ridge inside.
    Primary,
    /// Joliet.
    Joliet,
}

impl Tree {
    /// `text` in this tree's characters, filled up with spaces.
    fn padded(self, text: &str, length: usize) -> Vec<u8> {
        let (mut bytes, space): (Vec<u8>, &[u8]) = match self {
            Tree::Primary => (text.as_bytes().to_vec(), b" "),
            Tree::Joliet => (names::ucs2(text), b"\0 "),
        };
        bytes.extend(space.iter().cycle().take(length.saturating_sub(bytes.len())));
        bytes.truncate(length);
        bytes
    }
}

/// What a volume descriptor points at.
pub(super) struct Volume<'a> {
    pub(super) tree: Tree,
    pub(super) label: &'a str,
    /// Sectors of the whole image.
    pub(super) sectors: u32,
    /// Bytes of one path table, and where its two byte orders lie.
    pub(super) path_table: u32,
    pub(super) path_little: u32,
    pub(super) path_big: u32,
    pub(super) root: Extent,
    pub(super) time: Moment,
}

impl Volume<'_> {
    /// The descriptor's sector.
    pub(super) fn descriptor(&self) -> Vec<u8> {
        let tree = self.tree;
        let mut sector = vec![0; SECTOR];
        sector[0] = if tree == Tree::Primary { 1 } else { 2 };
        put(&mut sector, 1, STANDARD_ID);
        sector[6] = 1;
        put(&mut sector, 8, &tree.padded("", 32));
        put(&mut sector, 40, &tree.padded(self.label, 32));
        put(&mut sector, 80, &both32(self.sectors));
        if tree == Tree::Joliet {
            // Joliet, level 3.
            put(&mut sector, 88, b"%/E");
        }
        put(&mut sector, 120, &both16(1));
        put(&mut sector, 124, &both16(1));
        put(&mut sector, 128, &both16(SECTOR as u16));
        put(&mut sector, 132, &both32(self.path_table));
        put(&mut sector, 140, &self.path_little.to_le_bytes());
        put(&mut sector, 148, &self.path_big.to_be_bytes());
        put(&mut sector, 156, &record(&[0], self.root, super::DIRECTORY, &self.time, &[]));
        for (at, length) in [(190, 128), (318, 128), (446, 128), (702, 37), (739, 37), (776, 37)] {
            put(&mut sector, at, &tree.padded("", length));
        }
        put(&mut sector, 574, &tree.padded("KUTH", 128));
        for at in [813, 830, 864] {
            put(&mut sector, at, &self.time.long());
        }
        // It never expires.
        put(&mut sector, 847, &[b'0'; 16]);
        sector[881] = 1;
        sector
    }
}

/// The sector that ends the descriptors.
pub(super) fn terminator() -> Vec<u8> {
    let mut sector = vec![0; SECTOR];
    sector[0] = 255;
    put(&mut sector, 1, STANDARD_ID);
    sector[6] = 1;
    sector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_follow_the_calendar() {
        let long = |seconds| {
            String::from_utf8_lossy(&Moment::from_epoch(seconds).unwrap().long()[..16]).into_owned()
        };
        assert_eq!(long(0), "1970010100000000");
        assert_eq!(long(951_827_696), "2000022912345600");
        assert_eq!(long(1_767_225_599), "2025123123595900");
        assert_eq!(long(4_107_542_400), "2100030100000000");
        assert!(Moment::from_epoch(u64::MAX).is_err());
    }

    #[test]
    fn records_are_even() {
        let time = Moment::from_epoch(0).unwrap();
        for name in [&b"A"[..], b"AB"] {
            let record = record(name, Extent { sector: 20, length: 5 }, 0, &time, &[1, 2, 3]);
            assert_eq!(record.len() % 2, 0);
            assert_eq!(record[2..10], [20, 0, 0, 0, 0, 0, 0, 20]);
        }
    }
}
