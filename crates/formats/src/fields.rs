//! Integers at fixed offsets of a byte slice, in both byte orders, as on-disk structures have them. It
//! knows no format: a read past the end is a [`Fault`] in the name of the format that asked.

use super::Fault;

/// A slice read field by field on behalf of one format.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    format: &'static str,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads `bytes` in the name of `format`.
    pub fn of(format: &'static str, bytes: &'a [u8]) -> Fields<'a> {
        Fields { format, bytes }
    }

    /// `length` bytes at `at`.
    pub fn slice(&self, at: usize, length: usize) -> Result<&'a [u8], Fault> {
        at.checked_add(length).and_then(|end| self.bytes.get(at..end)).ok_or_else(|| {
            let have = self.bytes.len();
            Fault::new(self.format, format!("cut short: {length} bytes at {at} of {have}"))
        })
    }

    /// `N` bytes at `at`.
    pub fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], Fault> {
        let mut array = [0; N];
        array.copy_from_slice(self.slice(at, N)?);
        Ok(array)
    }

    /// The byte at `at`.
    pub fn u8(&self, at: usize) -> Result<u8, Fault> {
        Ok(self.array::<1>(at)?[0])
    }

    /// A big-endian 16-bit number.
    pub fn be16(&self, at: usize) -> Result<u16, Fault> {
        self.array(at).map(u16::from_be_bytes)
    }

    /// A big-endian 32-bit number.
    pub fn be32(&self, at: usize) -> Result<u32, Fault> {
        self.array(at).map(u32::from_be_bytes)
    }

    /// A big-endian 64-bit number.
    pub fn be64(&self, at: usize) -> Result<u64, Fault> {
        self.array(at).map(u64::from_be_bytes)
    }

    /// A little-endian 16-bit number.
    pub fn le16(&self, at: usize) -> Result<u16, Fault> {
        self.array(at).map(u16::from_le_bytes)
    }

    /// A little-endian 32-bit number.
    pub fn le32(&self, at: usize) -> Result<u32, Fault> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// A little-endian 64-bit number.
    pub fn le64(&self, at: usize) -> Result<u64, Fault> {
        self.array(at).map(u64::from_le_bytes)
    }
}

/// Overwrites the bytes at `at` of a structure being made; `at` is one of the caller's constants.
pub fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_both_byte_orders_and_within_bounds() {
        let mut bytes = [0; 16];
        put(&mut bytes, 4, &0x1122_3344_u32.to_le_bytes());
        let fields = Fields::of("test", &bytes);
        assert_eq!(fields.le32(4), Ok(0x1122_3344));
        assert_eq!(fields.le16(4), Ok(0x3344));
        assert_eq!((fields.be16(4), fields.be32(4)), (Ok(0x4433), Ok(0x4433_2211)));
        assert_eq!(fields.be64(4), Ok(0x4433_2211_0000_0000));
        assert_eq!(fields.u8(7), Ok(0x11));
        let fault = fields.le64(9).unwrap_err();
        assert_eq!(fault.to_string(), "test: cut short: 8 bytes at 9 of 16");
        assert!(fields.slice(usize::MAX, 2).is_err());
    }
}
