//! The names in a directory: runs of up to 256 entries whose inodes are in one metadata block.

use super::{FORMAT, Reference};
use crate::Fault;
use crate::fields::Fields;

/// The length of the header of a run (`squashfs_dir_header`).
pub const HEADER: usize = 12;
/// The length of an entry without its name (`squashfs_dir_entry`).
pub const ENTRY: usize = 8;
/// The bytes that the size of a directory counts for `.` and `..`, which are not stored.
pub const DOTS: u32 = 3;
/// The most entries of a run (`SQUASHFS_DIR_COUNT`).
const MAX_COUNT: u32 = 256;

/// Reads the header of a run: the number of its entries, and the metadata block of their inodes.
pub fn header(bytes: &[u8]) -> Result<(u32, u32), Fault> {
    let fields = Fields::of(FORMAT, bytes);
    let count = fields.le32(0)?.saturating_add(1);
    Fault::unless(count <= MAX_COUNT, FORMAT, || format!("a run of {count} names"))?;
    Ok((count, fields.le32(4)?))
}

/// Reads an entry of a run whose inodes are in `block`: the inode, and the length of the name, which
/// follows.
pub fn entry(bytes: &[u8], block: u32) -> Result<(Reference, usize), Fault> {
    let fields = Fields::of(FORMAT, bytes);
    let inode = Reference::at(block.into(), fields.le16(0)?)?;
    Ok((inode, usize::from(fields.le16(6)?) + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_entries_are_read() {
        assert_eq!(header(&[255, 0, 0, 0, 7, 1, 0, 0, 9, 0, 0, 0]), Ok((256, 263)));
        assert!(header(&[0, 1, 0, 0, 7, 1, 0, 0, 9, 0, 0, 0]).is_err());
        assert!(header(&[0xff; 12]).is_err());
        let inode = Reference { block: 263, offset: 32 };
        assert_eq!(entry(&[32, 0, 1, 0, 2, 0, 4, 0], 263), Ok((inode, 5)));
        assert!(entry(&[0, 0x20, 1, 0, 2, 0, 4, 0], 263).is_err());
        assert!(entry(&[0; 7], 263).is_err());
    }
}
