//! SquashFS 4.0 as it lies in a file: structures in, values out. Where bytes are read from is not
//! known here.
//!
//! Source: the kernel's Documentation/filesystems/squashfs.rst and fs/squashfs/squashfs_fs.h; all
//! little endian.

pub mod attribute;
pub mod compression;
pub mod directory;
pub mod inode;
pub mod piece;
pub mod superblock;

use super::Fault;

pub(crate) const FORMAT: &str = "squashfs";

/// No block of metadata holds more.
pub const METADATA: usize = 8192;

/// A place in a table of metadata: where a block begins, counted from the table's start in the
/// file, and a byte of what that block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The block.
    pub block: u64,
    /// The byte.
    pub within: usize,
}

impl Reference {
    /// Out of the number that stands for it.
    pub fn of(number: u64) -> Result<Reference, Fault> {
        Reference::at(number >> 16, (number & 0xffff) as u16)
    }

    /// Out of its two parts.
    pub fn at(block: u64, within: u16) -> Result<Reference, Fault> {
        let within = usize::from(within);
        let known = block <= u64::from(u32::MAX) && within < METADATA;
        Fault::unless(known, FORMAT, || format!("byte {within} of the metadata at {block}"))?;
        Ok(Reference { block, within })
    }

    /// The number that stands for it.
    pub fn number(self) -> u64 {
        self.block << 16 | self.within as u64
    }
}

/// How many blocks of metadata hold `count` entries of `width` bytes.
pub fn blocks_of(count: u64, width: u64) -> u64 {
    count.saturating_mul(width).div_ceil(METADATA as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_numbers() {
        let reference = Reference::of(0x1234_0010).unwrap();
        assert_eq!(reference, Reference { block: 0x1234, within: 16 });
        assert_eq!(reference.number(), 0x1234_0010);
        assert!(Reference::of(0x2000).is_err());
        assert!(Reference::of(1 << 48).is_err());
        assert_eq!((blocks_of(0, 16), blocks_of(512, 16), blocks_of(513, 16)), (0, 1, 2));
    }
}
