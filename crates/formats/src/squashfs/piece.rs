//! What stands before or beside stored bytes: how many they are, and whether they are compressed. And
//! where a fragment is, which several files share.

use super::{FORMAT, METADATA};
use crate::Fault;
use crate::fields::Fields;

use super::compression::Compression;

/// Marks metadata and data that are as they were.
const PLAIN_METADATA: u16 = 1 << 15;
const PLAIN_DATA: u32 = 1 << 24;

/// The length of an entry of the table of fragments.
pub const FRAGMENT: usize = 16;

/// Bytes as they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// How many.
    pub length: usize,
    /// Whether they are compressed.
    pub is_packed: bool,
}

impl Piece {
    /// Out of the two bytes before a block of metadata.
    pub fn of_metadata(head: [u8; 2]) -> Result<Piece, Fault> {
        let word = u16::from_le_bytes(head);
        let length = usize::from(word & !PLAIN_METADATA);
        let known = (1..=METADATA).contains(&length);
        Fault::unless(known, FORMAT, || format!("a block of metadata of {length} bytes"))?;
        Ok(Piece { length, is_packed: word & PLAIN_METADATA == 0 })
    }

    /// Out of the number that tells of a block of data; `None`: it is all zeros. Blocks hold up to
    /// `block` bytes.
    pub fn of_data(word: u32, block: usize) -> Result<Option<Piece>, Fault> {
        let length = (word & !PLAIN_DATA) as usize;
        Fault::unless(length <= block, FORMAT, || format!("a block of {length} bytes"))?;
        let piece = Piece { length, is_packed: word & PLAIN_DATA == 0 };
        Ok((word != 0).then_some(piece))
    }

    /// What the stored `bytes` hold, which is not more than `most`.
    pub fn unpack(
        &self,
        bytes: Vec<u8>,
        most: usize,
        compression: Compression,
    ) -> Result<Vec<u8>, Fault> {
        match self.is_packed {
            true => compression.unpack(&bytes, most),
            false if bytes.len() <= most => Ok(bytes),
            false => Err(Fault::new(FORMAT, format!("{} bytes, not {most}", bytes.len()))),
        }
    }
}

/// An entry of the table of fragments: where the fragment is, and the number that tells of it.
pub fn fragment(bytes: &[u8]) -> Result<(u64, u32), Fault> {
    let fields = Fields::of(FORMAT, bytes);
    Ok((fields.le64(0)?, fields.le32(8)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_tell_lengths() {
        let piece = |length, is_packed| Piece { length, is_packed };
        assert_eq!(Piece::of_metadata([0x10, 0x80]), Ok(piece(16, false)));
        assert_eq!(Piece::of_metadata([0x10, 0x00]), Ok(piece(16, true)));
        assert!(Piece::of_metadata([0, 0x80]).is_err());
        assert!(Piece::of_metadata([1, 0x20]).is_err());
        assert_eq!(Piece::of_data(0, 4096), Ok(None));
        assert_eq!(Piece::of_data(1 << 24 | 4096, 4096), Ok(Some(piece(4096, false))));
        assert!(Piece::of_data(4097, 4096).is_err());
        let plain = piece(3, false);
        assert_eq!(plain.unpack(b"abc".to_vec(), 3, Compression::Gzip), Ok(b"abc".to_vec()));
        assert!(plain.unpack(b"abc".to_vec(), 2, Compression::Gzip).is_err());
    }
}
