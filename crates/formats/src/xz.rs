//! What holds the data of an xz file together: headers and footers of streams, headers of blocks, and
//! indexes, with all that they say of each other. It knows not how blocks are decompressed.
//!
//! Source: "The .xz File Format" 1.2.1 (the numbers of the sections).

use super::Fault;
use super::fields::Fields;
use crate::units::Bytes;

const FORMAT: &str = "xz";
const MAGIC: &[u8; 6] = b"\xfd7zXZ\0";
const FOOTER_MAGIC: &[u8; 2] = b"YZ";
/// The length of the header of a stream, and of its footer.
pub const EDGE: usize = 12;
/// The longest header of a block.
pub const LONGEST_BLOCK_HEADER: usize = 1024;
/// What everything is a multiple of.
const UNIT: u64 = 4;
/// Lengths of checks (2.1.1.2), three of each.
const CHECKS: [u64; 6] = [0, 4, 8, 16, 32, 64];

/// The flags of a stream, which are in its header and again in its footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    check: u8,
}

/// The footer of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The length of the index before it.
    pub index: Bytes,
    /// The flags.
    pub flags: Flags,
}

/// What an index says of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its length in the file, without what fills it up.
    pub unpadded: Bytes,
    /// The length of what it decompresses to.
    pub size: Bytes,
}

/// The header of a block, as far as it speaks of lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Its own.
    pub length: Bytes,
    /// That of the compressed data, where the header has it.
    pub packed: Option<Bytes>,
    /// That of what it decompresses to, where the header has it.
    pub size: Option<Bytes>,
}

fn refuse<T>(why: &str) -> Result<T, Fault> {
    Err(Fault::new(FORMAT, why))
}

impl Flags {
    fn read(bytes: [u8; 2]) -> Result<Flags, Fault> {
        match bytes {
            [0, check @ 0..16] => Ok(Flags { check }),
            _ => refuse("flags that are not known"),
        }
    }

    fn write(self) -> [u8; 2] {
        [0, self.check]
    }

    /// The length of the check behind each block.
    fn check(self) -> u64 {
        CHECKS[usize::from(self.check).div_ceil(3)]
    }

    /// The flags in the header of a stream (2.1.1), its first [`EDGE`] bytes.
    ///
    /// # Errors
    ///
    /// It is not one, or its checksum is wrong.
    pub fn read_header(bytes: &[u8]) -> Result<Flags, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        if fields.array::<6>(0)? != *MAGIC {
            return refuse("no header of a stream");
        }
        if crc32fast::hash(fields.slice(6, 2)?) != fields.le32(8)? {
            return refuse("the checksum of the header is wrong");
        }
        Flags::read(fields.array(6)?)
    }

    /// The header of a stream that has these flags.
    pub fn header(self) -> Vec<u8> {
        [&MAGIC[..], &self.write(), &crc32fast::hash(&self.write()).to_le_bytes()].concat()
    }
}

impl Footer {
    /// Reads a footer (2.1.2), the last [`EDGE`] bytes of a stream.
    ///
    /// # Errors
    ///
    /// It is not one, or its checksum is wrong.
    pub fn read(bytes: &[u8]) -> Result<Footer, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        if fields.array::<2>(10)? != *FOOTER_MAGIC {
            return refuse("no footer of a stream: it is cut short, or something follows it");
        }
        if crc32fast::hash(fields.slice(4, 6)?) != fields.le32(0)? {
            return refuse("the checksum of the footer is wrong");
        }
        let index = Bytes((u64::from(fields.le32(4)?) + 1) * UNIT);
        Ok(Footer { index, flags: Flags::read(fields.array(8)?)? })
    }

    /// The bytes of this footer; its index is at most 16 GiB long.
    pub fn write(self) -> Vec<u8> {
        let units = (self.index.0 / UNIT).saturating_sub(1);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let summed = [&units.to_le_bytes()[..], &self.flags.write()].concat();
        [&crc32fast::hash(&summed).to_le_bytes()[..], &summed, FOOTER_MAGIC].concat()
    }
}

impl Record {
    /// The length of the block in the file.
    pub fn length(self) -> Bytes {
        Bytes(self.unpadded.0.next_multiple_of(UNIT))
    }

    /// Reads an index (4), all of `bytes`.
    ///
    /// # Errors
    ///
    /// Its checksum is wrong, or it holds something else than its records.
    pub fn read_index(bytes: &[u8]) -> Result<Vec<Record>, Fault> {
        let Some((body, sum)) = bytes.split_last_chunk::<4>() else { return refuse("no index") };
        if body.first() != Some(&0) || !bytes.len().is_multiple_of(4) {
            return refuse("no index where the footer says");
        }
        if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
            return refuse("the checksum of the index is wrong");
        }
        let mut rest = &body[1..];
        let count = number(&mut rest)?;
        let mut records = Vec::new();
        for _ in 0..count {
            let (unpadded, size) = (Bytes(number(&mut rest)?), Bytes(number(&mut rest)?));
            if unpadded.0 < 5 || unpadded.0 > i64::MAX as u64 - UNIT {
                return refuse("the index has a block of an impossible length");
            }
            records.push(Record { unpadded, size });
        }
        match rest.len() < 4 && rest.iter().all(|byte| *byte == 0) {
            true => Ok(records),
            false => refuse("the index holds more than its records"),
        }
    }

    /// The index of a stream of this block alone.
    pub fn index(self) -> Vec<u8> {
        let mut index = vec![0, 1];
        for mut value in [self.unpadded.0, self.size.0] {
            while value > 127 {
                index.push(value as u8 | 0x80);
                value >>= 7;
            }
            index.push(value as u8);
        }
        index.resize(index.len().next_multiple_of(4), 0);
        let sum = crc32fast::hash(&index);
        index.extend(sum.to_le_bytes());
        index
    }
}

impl BlockHeader {
    /// Reads the header (3.1) that `bytes` begin with; [`LONGEST_BLOCK_HEADER`] are enough.
    ///
    /// # Errors
    ///
    /// It is not one, or its checksum is wrong.
    pub fn read(bytes: &[u8]) -> Result<BlockHeader, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        let units = fields.u8(0)?;
        if units == 0 {
            return refuse("no block where the index says");
        }
        let length = (usize::from(units) + 1) * 4;
        let body = fields.slice(0, length - 4)?;
        if crc32fast::hash(body) != fields.le32(length - 4)? {
            return refuse("the checksum of the header of a block is wrong");
        }
        let flags = body[1];
        if flags & 0x3c != 0 {
            return refuse("a block has flags that are not known");
        }
        let mut rest = &body[2..];
        let mut given = |flag| match flags & flag {
            0 => Ok(None),
            _ => number(&mut rest).map(Bytes).map(Some),
        };
        let (packed, size) = (given(0x40)?, given(0x80)?);
        Ok(BlockHeader { length: Bytes(length as u64), packed, size })
    }

    /// Whether it agrees with what the index says of the block.
    pub fn agrees(self, record: Record, flags: Flags) -> bool {
        let packed = record.unpadded.0.checked_sub(self.length.0 + flags.check());
        packed.is_some_and(|packed| packed > 0 && self.packed.is_none_or(|it| it.0 == packed))
            && self.size.is_none_or(|size| size == record.size)
    }
}

/// A number of at most 63 bits (1.2), seven in each byte, written as short as can be.
fn number(rest: &mut &[u8]) -> Result<u64, Fault> {
    let mut value = 0;
    for at in 0..9 {
        let Some((byte, behind)) = rest.split_first() else {
            return refuse("a number is cut short");
        };
        *rest = behind;
        value |= u64::from(byte & 0x7f) << (7 * at);
        match byte {
            0 if at > 0 => break,
            0..=0x7f => return Ok(value),
            _ => {}
        }
    }
    refuse("a number is not written as it should be")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FLAGS: Flags = Flags { check: 4 };

    #[test]
    fn lengths_of_checks_are_those_of_the_specification() {
        let lengths: Vec<u64> = (0..16).map(|check| Flags { check }.check()).collect();
        assert_eq!(lengths, [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64]);
    }

    #[test]
    fn a_flipped_bit_is_noticed_anywhere() {
        let record = Record { unpadded: Bytes(1 << 40 | 3), size: Bytes(0) };
        let (header, index) = (FLAGS.header(), record.index());
        let footer = Footer { index: Bytes(index.len() as u64), flags: FLAGS };
        assert_eq!(Flags::read_header(&header), Ok(FLAGS));
        assert_eq!(Record::read_index(&index), Ok(vec![record]));
        assert_eq!(Footer::read(&footer.write()), Ok(footer));
        let flipped = |bytes: &[u8], bit: usize| {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        for bit in 0..EDGE * 8 {
            assert!(Flags::read_header(&flipped(&header, bit)).is_err());
            assert!(Footer::read(&flipped(&footer.write(), bit)).is_err());
        }
        for bit in 0..index.len() * 8 {
            assert!(Record::read_index(&flipped(&index, bit)).is_err(), "{bit}");
        }
    }

    #[test]
    fn a_block_agrees_with_its_record() {
        let header = |fields: &[u8]| {
            let mut body = [&[2][..], fields].concat();
            body.resize(8, 0);
            [&body[..], &crc32fast::hash(&body).to_le_bytes()].concat()
        };
        let record = Record { unpadded: Bytes(12 + 100 + 8), size: Bytes(9) };
        for (fields, expected) in [
            (&[0][..], true),
            (&[0x40, 100], true),
            (&[0x40, 101], false),
            (&[0x80, 9], true),
            (&[0x80, 8], false),
            (&[0xc0, 100, 9], true),
            (&[0xc0, 9, 100], false),
        ] {
            let read = BlockHeader::read(&header(fields)).unwrap();
            assert_eq!(read.agrees(record, FLAGS), expected, "{fields:?}");
        }
        assert!(BlockHeader::read(&header(&[0x04])).is_err());
        assert!(BlockHeader::read(&header(&[0x40, 0x80, 0])).is_err());
        assert!(BlockHeader::read(&[0; 12]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Flags::read_header(&bytes), Footer::read(&bytes));
            let _ = (Record::read_index(&bytes), BlockHeader::read(&bytes));
        }

        #[test]
        fn an_index_of_one_block_is_read_back(unpadded in 5u64..1 << 62, size in 0u64..1 << 62) {
            let record = Record { unpadded: Bytes(unpadded), size: Bytes(size) };
            prop_assert_eq!(Record::read_index(&record.index()), Ok(vec![record]));
        }
    }
}
