//! The superblock: where the tables are, and how blocks are compressed.

use super::compression::Compression;
use super::{FORMAT, Reference};
use crate::Fault;
use crate::fields::Fields;

/// How much of the start is read.
pub const LENGTH: usize = 96;

/// Blocks are at least and at most so long, as powers of 2.
const BLOCK_BITS: std::ops::RangeInclusive<u16> = 12..=20;
/// Where a table is that does not exist.
const NOWHERE: u64 = u64::MAX;

/// What the superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// How many inodes there are.
    pub inodes: u32,
    /// The size of a block of data.
    pub block: usize,
    /// How blocks are compressed.
    pub compression: Compression,
    /// The root's inode.
    pub root: Reference,
    /// How much of the file is in use.
    pub used: u64,
    /// How many owners and groups there are, and where the places of their blocks are.
    pub ids: (u16, u64),
    /// Where the table of extended attributes is, if there is one.
    pub attributes: Option<u64>,
    /// Where the first inode is.
    pub inode_table: u64,
    /// Where the first directory is.
    pub directory_table: u64,
    /// How many fragments there are, and where the places of their blocks are.
    pub fragments: (u32, u64),
}

impl Superblock {
    /// Reads the first [`LENGTH`] bytes.
    pub fn read(bytes: &[u8]) -> Result<Superblock, Fault> {
        let refuse = |why: String| Err(Fault::new(FORMAT, why));
        let fields = Fields::of(FORMAT, bytes);
        match fields.slice(0, 4)? {
            b"hsqs" => {}
            b"sqsh" => return refuse("a big-endian file, as versions before 4 had them".into()),
            _ => return refuse("no superblock at byte 0".into()),
        }
        let version = (fields.le16(28)?, fields.le16(30)?);
        if version != (4, 0) {
            return refuse(format!("version {}.{}, and only 4.0 is known", version.0, version.1));
        }
        let (block, bits) = (fields.le32(12)?, fields.le16(22)?);
        if !BLOCK_BITS.contains(&bits) || block != 1 << bits {
            return refuse(format!("blocks of {block} bytes, which should be 2^{bits}"));
        }
        let attributes = fields.le64(56)?;
        let superblock = Superblock {
            inodes: fields.le32(4)?,
            block: block as usize,
            compression: Compression::of(fields.le16(20)?)?,
            root: Reference::of(fields.le64(32)?)?,
            used: fields.le64(40)?,
            ids: (fields.le16(26)?, fields.le64(48)?),
            attributes: (attributes != NOWHERE).then_some(attributes),
            inode_table: fields.le64(64)?,
            directory_table: fields.le64(72)?,
            fragments: (fields.le32(16)?, fields.le64(80)?),
        };
        superblock.check()?;
        Ok(superblock)
    }

    /// The tables come one behind the other: inodes, directories, fragments, owners, attributes.
    fn check(&self) -> Result<(), Fault> {
        let mut tables = vec![("inodes", self.inode_table), ("directories", self.directory_table)];
        if self.fragments.0 > 0 {
            tables.push(("fragments", self.fragments.1));
        }
        tables.push(("owners", self.ids.1));
        tables.extend(self.attributes.map(|at| ("attributes", at)));
        let mut end = LENGTH as u64;
        for (what, at) in tables {
            Fault::unless((end..self.used).contains(&at), FORMAT, || {
                format!("the table of {what} at {at}, with {} bytes in use", self.used)
            })?;
            end = at;
        }
        let sane = self.inodes > 0 && self.ids.0 > 0;
        Fault::unless(sane, FORMAT, || "it has no inodes or no owners".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::put;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        let mut bytes = vec![0; LENGTH];
        put(&mut bytes, 0, b"hsqs\x05\0\0\0");
        put(&mut bytes, 12, &(1u32 << 17).to_le_bytes());
        put(&mut bytes, 20, &[1, 0, 17, 0, 0, 0, 1, 0, 4, 0, 0, 0]);
        for (at, number) in [(40, 1000u64), (48, 500), (56, NOWHERE), (64, 96), (72, 200)] {
            put(&mut bytes, at, &number.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_superblock_is_read() {
        let superblock = Superblock::read(&sample()).unwrap();
        assert_eq!(
            (superblock.block, superblock.inodes, superblock.attributes),
            (1 << 17, 5, None)
        );
        let why = |at: usize, byte: u8| {
            let mut bytes = sample();
            bytes[at] = byte;
            Superblock::read(&bytes).unwrap_err().to_string()
        };
        assert_eq!(why(28, 3), "squashfs: version 3.0, and only 4.0 is known");
        assert!(why(20, 5).contains("lz4"));
        assert!(why(0, b's').contains("no superblock"));
        assert!(why(12, 1).contains("2^17"));
        assert!(why(72, 0).contains("the table of directories at 0"));
        assert!(why(49, 4).contains("the table of owners at 1268"));
        assert!(why(4, 0).contains("no inodes"));
    }

    proptest! {
        #[test]
        fn reading_damage_ends(at in 0..LENGTH, byte: u8, length in 0..=LENGTH) {
            let mut bytes = sample();
            bytes[at] = byte;
            let _ = Superblock::read(&bytes);
            let _ = Superblock::read(&bytes[..length]);
        }
    }
}
