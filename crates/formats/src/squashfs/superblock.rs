//! The superblock (`squashfs_super_block`).

use super::compression::Compression;
use super::{FORMAT, Reference};
use crate::Fault;
use crate::fields::Fields;
use crate::units::Bytes;

/// The length of the superblock in bytes.
pub const LENGTH: usize = 96;

/// The range of `block_log`.
const BLOCK_LOG: std::ops::RangeInclusive<u16> = 12..=20;
/// `SQUASHFS_INVALID_BLK`: the start of a table that does not exist.
const NO_TABLE: u64 = u64::MAX;

/// The fields of the superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// `inodes`: the number of inodes; never 0.
    pub inodes: u32,
    /// `block_size` in bytes: a power of 2 from 4 KiB to 1 MiB.
    pub block_size: usize,
    /// `compression`.
    pub compression: Compression,
    /// `root_inode`.
    pub root_inode: Reference,
    /// `bytes_used`: the length of the file system.
    pub bytes_used: Bytes,
    /// `no_ids`: the number of user and group ids; never 0.
    pub ids: u16,
    /// `id_table_start`: the list of the metadata blocks with the ids.
    pub id_table: Bytes,
    /// `xattr_id_table_start`.
    pub xattr_table: Option<Bytes>,
    /// `inode_table_start`.
    pub inode_table: Bytes,
    /// `directory_table_start`.
    pub directory_table: Bytes,
    /// `fragments`: the number of fragments.
    pub fragments: u32,
    /// `fragment_table_start`: the list of the metadata blocks with the fragment table.
    pub fragment_table: Bytes,
}

impl Superblock {
    /// Reads the first [`LENGTH`] bytes. Refuses versions other than 4.0, unsupported compressors, and
    /// tables out of order.
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
        if !BLOCK_LOG.contains(&bits) || block != 1 << bits {
            return refuse(format!("blocks of {block} bytes, which should be 2^{bits}"));
        }
        let xattr_table = fields.le64(56)?;
        let superblock = Superblock {
            inodes: fields.le32(4)?,
            block_size: block as usize,
            compression: Compression::of(fields.le16(20)?)?,
            root_inode: Reference::of(fields.le64(32)?)?,
            bytes_used: Bytes(fields.le64(40)?),
            ids: fields.le16(26)?,
            id_table: Bytes(fields.le64(48)?),
            xattr_table: (xattr_table != NO_TABLE).then_some(Bytes(xattr_table)),
            inode_table: Bytes(fields.le64(64)?),
            directory_table: Bytes(fields.le64(72)?),
            fragments: fields.le32(16)?,
            fragment_table: Bytes(fields.le64(80)?),
        };
        superblock.check()?;
        Ok(superblock)
    }

    /// The tables follow each other: inodes, directories, fragments, owners, attributes.
    fn check(&self) -> Result<(), Fault> {
        let mut tables = vec![("inodes", self.inode_table), ("directories", self.directory_table)];
        if self.fragments > 0 {
            tables.push(("fragments", self.fragment_table));
        }
        tables.push(("owners", self.id_table));
        tables.extend(self.xattr_table.map(|at| ("attributes", at)));
        let mut end = Bytes(LENGTH as u64);
        for (what, at) in tables {
            Fault::unless((end..self.bytes_used).contains(&at), FORMAT, || {
                format!("the table of {what} at {}, with {} bytes in use", at.0, self.bytes_used.0)
            })?;
            end = at;
        }
        let sane = self.inodes > 0 && self.ids > 0;
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
        for (at, number) in [(40, 1000u64), (48, 500), (56, NO_TABLE), (64, 96), (72, 200)] {
            put(&mut bytes, at, &number.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_superblock_is_read() {
        let superblock = Superblock::read(&sample()).unwrap();
        assert_eq!(
            (superblock.block_size, superblock.inodes, superblock.xattr_table),
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
        fn damage_is_read_or_refused(at in 0..LENGTH, byte: u8, length in 0..=LENGTH) {
            let mut bytes = sample();
            bytes[at] = byte;
            let _ = Superblock::read(&bytes);
            let _ = Superblock::read(&bytes[..length]);
        }
    }
}
