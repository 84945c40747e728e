//! The names in a directory: runs of up to 256, whose inodes are in one block of metadata.

use super::{FORMAT, Reference};
use crate::Fault;
use crate::fields::Fields;

/// The length of what comes before a run.
pub const HEAD: usize = 12;
/// The length of an entry without its name.
pub const ENTRY: usize = 8;
/// So much longer than its names does a directory say it is, for `.` and `..`.
pub const DOTS: u32 = 3;
/// No run has more names.
const MOST: u32 = 256;

/// What comes before a run: how many names are in it, and the block that their inodes are in.
pub fn head(bytes: &[u8]) -> Result<(u32, u32), Fault> {
    let fields = Fields::of(FORMAT, bytes);
    let count = fields.le32(0)?.saturating_add(1);
    Fault::unless(count <= MOST, FORMAT, || format!("a run of {count} names"))?;
    Ok((count, fields.le32(4)?))
}

/// An entry of a run whose inodes are in `block`: the inode, and the length of its name, which
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
        assert_eq!(head(&[255, 0, 0, 0, 7, 1, 0, 0, 9, 0, 0, 0]), Ok((256, 263)));
        assert!(head(&[0, 1, 0, 0, 7, 1, 0, 0, 9, 0, 0, 0]).is_err());
        assert!(head(&[0xff; 12]).is_err());
        let inode = Reference { block: 263, within: 32 };
        assert_eq!(entry(&[32, 0, 1, 0, 2, 0, 4, 0], 263), Ok((inode, 5)));
        assert!(entry(&[0, 0x20, 1, 0, 2, 0, 4, 0], 263).is_err());
        assert!(entry(&[0; 7], 263).is_err());
    }
}
