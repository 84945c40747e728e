//! The superblock: how the file system is divided, and where numbers of blocks and inodes lead.

use super::{FORMAT, be16, be32, be64, check};
use crate::fields::Fields;
use crate::{Fault, Guid};

/// How much of the start is read; a sector is not longer.
pub const LENGTH: usize = 4096;

/// Features that a reader of version 5 must know.
const FTYPE: u32 = 1;
const NEEDS_REPAIR: u32 = 0x10;
/// ftype, sparse inodes, an id of metadata, large times, large counts, exchanged ranges, parents.
const KNOWN: u32 = 0xff;

/// What the superblock says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The size of a block.
    pub block: u64,
    /// How many there are.
    pub blocks: u64,
    /// Blocks of a group, and how many groups.
    pub group: (u64, u64),
    /// Blocks of a group, rounded up to a power of 2: its exponent.
    group_bits: u32,
    /// The size of an inode.
    pub inode: u64,
    /// Inodes of a block: the exponent.
    inodes_bits: u32,
    /// The root's inode.
    pub root: u64,
    /// The size of a block of a directory.
    pub directory_block: u64,
    /// Whether entries of directories tell what they name.
    pub has_kinds: bool,
    /// Whether there are checksums.
    pub has_sums: bool,
    /// The log: its first block, how many blocks.
    pub log: (u64, u64),
    /// Its id.
    pub uuid: Guid,
    /// Its label; empty for none.
    pub label: String,
}

impl Superblock {
    /// Reads the first [`LENGTH`] bytes.
    pub fn read(bytes: &[u8]) -> Result<Superblock, Fault> {
        let refuse = |why: String| Err(Fault::new(FORMAT, why));
        let fields = Fields::of(FORMAT, bytes);
        if fields.slice(0, 4)? != b"XFSB" {
            return refuse("no superblock at byte 0".into());
        }
        let version = be16(&fields, 100)? & 15;
        if !(4..=5).contains(&version) {
            return refuse(format!("version {version}, and only 4 and 5 are known"));
        }
        let has_sums = version == 5;
        let features = if has_sums { be32(&fields, 216)? } else { 0 };
        if features & NEEDS_REPAIR != 0 {
            return refuse("it is marked to need xfs_repair".into());
        }
        if features & !KNOWN != 0 {
            return refuse(format!("features that kuth cannot read: {:#x}", features & !KNOWN));
        }
        let sector = usize::from(be16(&fields, 102)?);
        if !sector.is_power_of_two() || !(512..=32_768).contains(&sector) {
            return refuse(format!("sectors of {sector} bytes"));
        }
        if has_sums {
            check(fields.slice(0, sector)?, 224, "the superblock")?;
        }
        let bits = |at: usize| fields.u8(at).map(u32::from);
        let (block_bits, inode_bits, inodes_bits) = (bits(120)?, bits(122)?, bits(123)?);
        let (group_bits, directory_bits) = (bits(124)?, bits(192)?);
        let label = fields.slice(108, 12)?;
        let label = &label[..label.iter().position(|byte| *byte == 0).unwrap_or(12)];
        let superblock = Superblock {
            block: be32(&fields, 4)?.into(),
            blocks: be64(&fields, 8)?,
            group: (be32(&fields, 84)?.into(), be32(&fields, 88)?.into()),
            group_bits,
            inode: be16(&fields, 104)?.into(),
            inodes_bits,
            root: be64(&fields, 56)?,
            directory_block: u64::from(be32(&fields, 4)?) << directory_bits.min(16),
            has_kinds: features & FTYPE != 0 || (!has_sums && be32(&fields, 200)? & 0x200 != 0),
            has_sums,
            log: (be64(&fields, 48)?, be32(&fields, 96)?.into()),
            uuid: Guid(fields.array(32)?),
            label: String::from_utf8_lossy(label).into_owned(),
        };
        let s = &superblock;
        let sane = (9..=16).contains(&block_bits)
            && s.block == 1 << block_bits
            && (8..=11).contains(&inode_bits)
            && s.inode == 1 << inode_bits
            && block_bits == inode_bits + inodes_bits
            && s.directory_block <= 1 << 16
            && group_bits <= 31
            && s.group.0 > 0
            && s.group.0 <= 1 << group_bits
            && s.blocks <= s.group.0 * s.group.1
            && s.blocks > s.group.0 * s.group.1.saturating_sub(1);
        Fault::unless(sane, FORMAT, || {
            format!(
                "a superblock that makes no sense: {} blocks of {} bytes in {} groups of {}, inodes of {}",
                s.blocks, s.block, s.group.1, s.group.0, s.inode
            )
        })?;
        Ok(superblock)
    }

    /// The byte at which a block of the file system is, by its number, which has the group in its
    /// upper bits; an error unless `count` blocks are there.
    pub fn at(&self, number: u64, count: u64) -> Result<u64, Fault> {
        let (group, within) = (number >> self.group_bits, number & ((1 << self.group_bits) - 1));
        let first = group.checked_mul(self.group.0).and_then(|first| first.checked_add(within));
        let end = first.and_then(|first| first.checked_add(count));
        let inside = within.checked_add(count).is_some_and(|end| end <= self.group.0);
        match (first, end) {
            (Some(first), Some(end)) if end <= self.blocks && inside => Ok(first * self.block),
            _ => Err(Fault::new(FORMAT, format!("there are no {count} blocks at {number}"))),
        }
    }

    /// The byte at which an inode is.
    pub fn inode_at(&self, number: u64) -> Result<u64, Fault> {
        let (block, index) = (number >> self.inodes_bits, number & ((1 << self.inodes_bits) - 1));
        Ok(self.at(block, 1)? + index * self.inode)
    }
}
