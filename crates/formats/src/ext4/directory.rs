//! One block of a directory (`ext4_dir_entry_2`). The blocks of a hash tree look like unused entries.

use super::FORMAT;
use crate::Fault;
use crate::crc32c::update as crc32c;
use crate::fields::Fields;

/// The file type of the fake entry that holds the checksum of a block (`ext4_dir_entry_tail`).
const TAIL: u8 = 0xde;

/// Reads the names in `block` with their inode numbers, without `.` and `..`. `seed` is the checksum
/// seed of the directory's inode, if it has one.
pub fn read(block: &[u8], seed: Option<u32>) -> Result<Vec<(&[u8], u32)>, Fault> {
    let fields = Fields::of(FORMAT, block);
    let mut names = Vec::new();
    let mut at = 0;
    while at + 8 <= block.len() {
        let inode = fields.le32(at)?;
        let length = match usize::from(fields.le16(at + 4)?) {
            // A block of 64 KiB as a whole.
            0 | 0xffff => 1 << 16,
            length => length,
        };
        let (name, kind) = (usize::from(fields.u8(at + 6)?), fields.u8(at + 7)?);
        let fits =
            length >= 12.max(8 + name) && length.is_multiple_of(4) && at + length <= block.len();
        Fault::unless(fits, FORMAT, || {
            format!(
                "an entry of {length} bytes with a name of {name}, at {at} of a directory's block"
            )
        })?;
        if let (Some(seed), 0, 12, 0, TAIL) = (seed, inode, length, name, kind) {
            Fault::unless(crc32c(seed, &block[..at]) == fields.le32(at + 8)?, FORMAT, || {
                "the checksum of a directory's block is wrong".into()
            })?;
        }
        let name = fields.slice(at + 8, name)?;
        if inode != 0 && name != b"." && name != b".." {
            names.push((name, inode));
        }
        at += length;
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unused_entries_are_left_out() {
        let mut block = vec![0; 64];
        block[..9].copy_from_slice(&[2, 0, 0, 0, 12, 0, 1, 2, b'.']);
        block[12..23].copy_from_slice(&[7, 0, 0, 0, 20, 0, 3, 1, b'a', b'b', b'c']);
        block[36] = 32;
        block[32..40].copy_from_slice(&[0, 0, 0, 0, 32, 0, 0, 0]);
        assert_eq!(read(&block, None), Ok(vec![(b"abc".as_slice(), 7)]));
        for (at, value) in [(4, 8), (4, 13), (18, 20), (36, 36)] {
            let mut wrong = block.clone();
            wrong[at] = value;
            assert!(read(&wrong, None).is_err(), "{at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(block in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&block, Some(1));
        }
    }
}
