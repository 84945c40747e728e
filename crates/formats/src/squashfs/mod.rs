//! SquashFS 4.0. The reader takes structures as bytes and returns values; it reads no file.
//!
//! Source: the kernel's Documentation/filesystems/squashfs.rst and fs/squashfs/squashfs_fs.h; all
//! little endian.

pub mod attribute;
pub mod block;
pub mod compression;
pub mod directory;
pub mod inode;
pub mod superblock;

use super::Fault;

pub(crate) const FORMAT: &str = "squashfs";

/// The length of a metadata block, unpacked (`SQUASHFS_METADATA_SIZE`).
pub const METADATA_SIZE: usize = 8192;

/// A reference to metadata (`squashfs_inode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Where the metadata block begins, counted from the start of its table.
    pub block: u64,
    /// The offset in the unpacked block.
    pub offset: usize,
}

impl Reference {
    /// From its 64-bit form.
    pub fn of(number: u64) -> Result<Reference, Fault> {
        Reference::at(number >> 16, (number & 0xffff) as u16)
    }

    /// From its parts. Fails for an offset outside of a metadata block.
    pub fn at(block: u64, offset: u16) -> Result<Reference, Fault> {
        let offset = usize::from(offset);
        let known = block <= u64::from(u32::MAX) && offset < METADATA_SIZE;
        Fault::unless(known, FORMAT, || format!("byte {offset} of the metadata at {block}"))?;
        Ok(Reference { block, offset })
    }

    /// Its 64-bit form.
    pub fn number(self) -> u64 {
        self.block << 16 | self.offset as u64
    }
}

/// The number of metadata blocks that hold `count` entries of `width` bytes.
pub fn blocks_of(count: u64, width: u64) -> u64 {
    count.saturating_mul(width).div_ceil(METADATA_SIZE as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_numbers() {
        let reference = Reference::of(0x1234_0010).unwrap();
        assert_eq!(reference, Reference { block: 0x1234, offset: 16 });
        assert_eq!(reference.number(), 0x1234_0010);
        assert!(Reference::of(0x2000).is_err());
        assert!(Reference::of(1 << 48).is_err());
        assert_eq!((blocks_of(0, 16), blocks_of(512, 16), blocks_of(513, 16)), (0, 1, 2));
    }
}
