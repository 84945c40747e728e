//! Sizes and offsets as types: bytes, and sectors of 512 bytes.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

/// A count of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// The length of the sector that partition tables and LVM2 count in.
pub const SECTOR: u64 = 512;

/// A count of 512-byte sectors, also a logical block address (LBA).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sectors(pub u64);

impl Bytes {
    /// One mebibyte.
    pub const MIB: Bytes = Bytes(1 << 20);
    /// One gibibyte.
    pub const GIB: Bytes = Bytes(1 << 30);

    /// `n` mebibytes.
    pub const fn mib(n: u64) -> Bytes {
        Bytes(n << 20)
    }

    /// `n` gibibytes.
    pub const fn gib(n: u64) -> Bytes {
        Bytes(n << 30)
    }

    /// The sectors these bytes fill, rounded down.
    pub const fn sectors(self) -> Sectors {
        Sectors(self.0 / SECTOR)
    }

    /// Rounded up to a multiple of `unit`, or `None` past 2^64.
    pub fn round_up(self, unit: Bytes) -> Option<Bytes> {
        self.0.checked_next_multiple_of(unit.0).map(Bytes)
    }

    /// Rounded down to a multiple of `unit`.
    pub fn round_down(self, unit: Bytes) -> Bytes {
        Bytes(self.0 / unit.0 * unit.0)
    }
}

impl Sectors {
    /// The same length in bytes.
    pub const fn bytes(self) -> Bytes {
        Bytes(self.0 * SECTOR)
    }
}

impl Add for Bytes {
    type Output = Bytes;
    fn add(self, other: Bytes) -> Bytes {
        Bytes(self.0 + other.0)
    }
}

impl Sub for Bytes {
    type Output = Bytes;
    fn sub(self, other: Bytes) -> Bytes {
        Bytes(self.0 - other.0)
    }
}

/// The binary units a size may carry, largest first.
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Exact in the largest unit that divides the size: `512 MiB`, `10 GiB`, `1 B`.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = UNITS
            .into_iter()
            .find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit))
            .unwrap_or(("B", 1));
        write!(f, "{} {name}", self.0 / unit)
    }
}

/// Rounded for people: `1.4 GiB`.
pub struct Human(pub Bytes);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.0;
        match UNITS.into_iter().find(|(_, unit)| bytes >= *unit) {
            Some((name, 1)) => write!(f, "{bytes} {name}"),
            Some((name, unit)) => write!(f, "{:.1} {name}", bytes as f64 / unit as f64),
            None => write!(f, "0 B"),
        }
    }
}

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SizeError {
    /// Not `NUMBER UNIT`.
    Form,
    /// A unit that is not one of KiB, MiB, GiB, TiB or B; the unit as written.
    Unit(String),
    /// 2^64 bytes and more.
    TooLarge,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SizeError::Form => write!(f, "a size is a whole number and a binary unit"),
            SizeError::Unit(unit) => write!(f, "unknown unit `{unit}`"),
            SizeError::TooLarge => write!(f, "the size does not fit in 64 bits"),
        }
    }
}

impl std::error::Error for SizeError {}

/// Reads `512 MiB`; the space may be left out.
impl FromStr for Bytes {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Bytes, SizeError> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = (&text[..digits], text[digits..].trim());
        if number.is_empty() || unit.is_empty() {
            return Err(SizeError::Form);
        }
        let (_, factor) = UNITS
            .into_iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| SizeError::Unit(unit.to_string()))?;
        let number: u64 = number.parse().map_err(|_| SizeError::TooLarge)?;
        number.checked_mul(factor).map(Bytes).ok_or(SizeError::TooLarge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes) in [("512 MiB", 512 << 20), ("10GiB", 10 << 30), ("1 B", 1), ("0 MiB", 0)]
        {
            assert_eq!(text.parse::<Bytes>(), Ok(Bytes(bytes)), "{text}");
        }
        assert_eq!(Bytes::mib(512).to_string(), "512 MiB");
        assert_eq!(Bytes(1536).to_string(), "1536 B");
        assert_eq!(Human(Bytes(1536)).to_string(), "1.5 KiB");
    }

    #[test]
    fn faulty_sizes_say_why() {
        assert_eq!("10".parse::<Bytes>(), Err(SizeError::Form));
        assert_eq!("1.5 GiB".parse::<Bytes>(), Err(SizeError::Unit(".5 GiB".into())));
        assert_eq!("10 GB".parse::<Bytes>(), Err(SizeError::Unit("GB".into())));
        assert_eq!("99999999999 TiB".parse::<Bytes>(), Err(SizeError::TooLarge));
    }
}
