//! The sizes that come with stored blocks of metadata and data, which also say whether a block is
//! compressed, and the entries of the fragment table.

use super::{FORMAT, METADATA_SIZE};
use crate::Fault;
use crate::fields::Fields;
use crate::units::Bytes;

use super::compression::Compression;

/// `SQUASHFS_COMPRESSED_BIT`: a metadata block is not compressed.
const UNCOMPRESSED_METADATA: u16 = 1 << 15;
/// `SQUASHFS_COMPRESSED_BIT_BLOCK`: a data block is not compressed.
const UNCOMPRESSED_DATA: u32 = 1 << 24;

/// The length of an entry of the fragment table.
pub const FRAGMENT_ENTRY: usize = 16;

/// A stored block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    /// The number of bytes that are stored.
    pub length: usize,
    /// Whether they are compressed.
    pub is_compressed: bool,
}

impl StoredBlock {
    /// From the two bytes before a metadata block.
    pub fn of_metadata(header: [u8; 2]) -> Result<StoredBlock, Fault> {
        let word = u16::from_le_bytes(header);
        let length = usize::from(word & !UNCOMPRESSED_METADATA);
        let known = (1..=METADATA_SIZE).contains(&length);
        Fault::unless(known, FORMAT, || format!("a block of metadata of {length} bytes"))?;
        Ok(StoredBlock { length, is_compressed: word & UNCOMPRESSED_METADATA == 0 })
    }

    /// From the size of a data block or fragment; `None` for a block of zeros. `block_size` is that of
    /// the file system.
    pub fn of_data(size: u32, block_size: usize) -> Result<Option<StoredBlock>, Fault> {
        let length = (size & !UNCOMPRESSED_DATA) as usize;
        Fault::unless(length <= block_size, FORMAT, || format!("a block of {length} bytes"))?;
        let piece = StoredBlock { length, is_compressed: size & UNCOMPRESSED_DATA == 0 };
        Ok((size != 0).then_some(piece))
    }

    /// The unpacked content of the stored `bytes`. Fails for more than `most` bytes.
    pub fn unpack(
        &self,
        bytes: Vec<u8>,
        most: usize,
        compression: Compression,
    ) -> Result<Vec<u8>, Fault> {
        match self.is_compressed {
            true => compression.unpack(&bytes, most),
            false if bytes.len() <= most => Ok(bytes),
            false => Err(Fault::new(FORMAT, format!("{} bytes, not {most}", bytes.len()))),
        }
    }
}

/// Reads an entry of the fragment table: where the fragment begins, and its size for
/// [`StoredBlock::of_data`].
pub fn fragment(bytes: &[u8]) -> Result<(Bytes, u32), Fault> {
    let fields = Fields::of(FORMAT, bytes);
    Ok((Bytes(fields.le64(0)?), fields.le32(8)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_say_whether_a_block_is_compressed() {
        let piece = |length, is_compressed| StoredBlock { length, is_compressed };
        assert_eq!(StoredBlock::of_metadata([0x10, 0x80]), Ok(piece(16, false)));
        assert_eq!(StoredBlock::of_metadata([0x10, 0x00]), Ok(piece(16, true)));
        assert!(StoredBlock::of_metadata([0, 0x80]).is_err());
        assert!(StoredBlock::of_metadata([1, 0x20]).is_err());
        assert_eq!(StoredBlock::of_data(0, 4096), Ok(None));
        assert_eq!(StoredBlock::of_data(1 << 24 | 4096, 4096), Ok(Some(piece(4096, false))));
        assert!(StoredBlock::of_data(4097, 4096).is_err());
        let plain = piece(3, false);
        assert_eq!(plain.unpack(b"abc".to_vec(), 3, Compression::Gzip), Ok(b"abc".to_vec()));
        assert!(plain.unpack(b"abc".to_vec(), 2, Compression::Gzip).is_err());
    }
}
