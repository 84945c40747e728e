//! The superblock of the first allocation group, and the places of blocks and inodes on the disk.

use super::{FORMAT, check_crc};
use crate::fields::Fields;
use crate::units::Bytes;
use crate::{Fault, Guid};

/// How much of the start [`Superblock::read`] needs at most; one sector is enough.
pub const LENGTH: usize = 4096;

/// Bits of `sb_features_incompat`.
const FTYPE: u32 = 1;
const NEEDS_REPAIR: u32 = 0x10;
/// ftype, spinodes, meta_uuid, bigtime, needsrepair, nrext64, exchrange, parent.
const KNOWN: u32 = 0xff;

/// The fields of the superblock that a reader needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// `sb_blocksize`: a power of 2 from 512 B to 64 KiB.
    pub block_size: Bytes,
    /// `sb_dblocks`: the number of blocks of the data device.
    pub data_blocks: u64,
    /// `sb_fdblocks`: blocks that are free; of a file system that is in use an older value.
    pub free_blocks: u64,
    /// `sb_agblocks`: the number of blocks of an allocation group.
    pub ag_blocks: u64,
    /// `sb_agcount`: the number of allocation groups.
    pub ag_count: u64,
    /// `sb_agblklog`: the binary logarithm of `ag_blocks`, rounded up.
    pub(super) ag_block_log: u32,
    /// `sb_inodesize`: a power of 2 from 256 B to 2 KiB.
    pub inode_size: Bytes,
    /// `sb_inopblog`: the binary logarithm of the number of inodes in a block.
    pub(super) inodes_per_block_log: u32,
    /// `sb_rootino`: the inode number of the root directory.
    pub root_inode: u64,
    /// The size of a directory block: `sb_blocksize << sb_dirblklog`, at most 64 KiB.
    pub directory_block_size: Bytes,
    /// Whether directory entries have a file type (ftype).
    pub has_file_types: bool,
    /// Whether metadata has checksums, which makes it version 5.
    pub has_crc: bool,
    /// `sb_logstart`: the first block of an internal log; 0 for one on another device.
    pub log_start: u64,
    /// `sb_logblocks`: the number of blocks of the log.
    pub log_blocks: u64,
    /// `sb_uuid`.
    pub uuid: Guid,
    /// `sb_fname`, the label; empty for none.
    pub label: String,
}

impl Superblock {
    /// Reads the first sector. Refuses versions other than 4 and 5, a wrong checksum, and features
    /// that no reader here knows.
    pub fn read(bytes: &[u8]) -> Result<Superblock, Fault> {
        let refuse = |why: String| Err(Fault::new(FORMAT, why));
        let fields = Fields::of(FORMAT, bytes);
        if fields.slice(0, 4)? != b"XFSB" {
            return refuse("no superblock at byte 0".into());
        }
        let version = fields.be16(100)? & 15;
        if !(4..=5).contains(&version) {
            return refuse(format!("version {version}, and only 4 and 5 are known"));
        }
        let has_crc = version == 5;
        let features = if has_crc { fields.be32(216)? } else { 0 };
        if features & NEEDS_REPAIR != 0 {
            return refuse("it is marked to need xfs_repair".into());
        }
        if features & !KNOWN != 0 {
            return refuse(format!("features that kuth cannot read: {:#x}", features & !KNOWN));
        }
        let sector = usize::from(fields.be16(102)?);
        if !sector.is_power_of_two() || !(512..=32_768).contains(&sector) {
            return refuse(format!("sectors of {sector} bytes"));
        }
        if has_crc {
            check_crc(fields.slice(0, sector)?, 224, "the superblock")?;
        }
        let log = |at: usize| fields.u8(at).map(u32::from);
        let (block_log, inode_log, inodes_per_block_log) = (log(120)?, log(122)?, log(123)?);
        let (ag_block_log, directory_log) = (log(124)?, log(192)?);
        let label = fields.slice(108, 12)?;
        let label = &label[..label.iter().position(|byte| *byte == 0).unwrap_or(12)];
        let block_size = u64::from(fields.be32(4)?);
        let superblock = Superblock {
            block_size: Bytes(block_size),
            data_blocks: fields.be64(8)?,
            free_blocks: fields.be64(144)?,
            ag_blocks: fields.be32(84)?.into(),
            ag_count: fields.be32(88)?.into(),
            ag_block_log,
            inode_size: Bytes(fields.be16(104)?.into()),
            inodes_per_block_log,
            root_inode: fields.be64(56)?,
            directory_block_size: Bytes(block_size << directory_log.min(16)),
            has_file_types: features & FTYPE != 0 || (!has_crc && fields.be32(200)? & 0x200 != 0),
            has_crc,
            log_start: fields.be64(48)?,
            log_blocks: fields.be32(96)?.into(),
            uuid: Guid(fields.array(32)?),
            label: String::from_utf8_lossy(label).into_owned(),
        };
        let s = &superblock;
        let sane = (9..=16).contains(&block_log)
            && s.block_size.0 == 1 << block_log
            && (8..=11).contains(&inode_log)
            && s.inode_size.0 == 1 << inode_log
            && block_log == inode_log + inodes_per_block_log
            && s.directory_block_size.0 <= 1 << 16
            && ag_block_log <= 31
            && s.ag_blocks > 0
            && s.ag_blocks <= 1 << ag_block_log
            && s.data_blocks <= s.ag_blocks * s.ag_count
            && s.data_blocks > s.ag_blocks * s.ag_count.saturating_sub(1);
        Fault::unless(sane, FORMAT, || {
            format!(
                "a superblock that makes no sense: {} blocks of {block_size} bytes in {} groups of {}, inodes of {}",
                s.data_blocks, s.ag_count, s.ag_blocks, s.inode_size.0
            )
        })?;
        Ok(superblock)
    }

    /// Where block `number` of the file system begins; its upper bits are the allocation group.
    /// Fails unless `count` blocks from there on are in that group and on the disk.
    pub fn block_at(&self, number: u64, count: u64) -> Result<Bytes, Fault> {
        let (group, within) =
            (number >> self.ag_block_log, number & ((1 << self.ag_block_log) - 1));
        let first = group.checked_mul(self.ag_blocks).and_then(|first| first.checked_add(within));
        let end = first.and_then(|first| first.checked_add(count));
        let inside = within.checked_add(count).is_some_and(|end| end <= self.ag_blocks);
        match (first, end) {
            (Some(first), Some(end)) if end <= self.data_blocks && inside => {
                Ok(Bytes(first * self.block_size.0))
            }
            _ => Err(Fault::new(FORMAT, format!("there are no {count} blocks at {number}"))),
        }
    }

    /// Where inode `number` begins.
    pub fn inode_at(&self, number: u64) -> Result<Bytes, Fault> {
        let mask = (1 << self.inodes_per_block_log) - 1;
        let block = self.block_at(number >> self.inodes_per_block_log, 1)?;
        Ok(block + Bytes((number & mask) * self.inode_size.0))
    }

    /// The number of the inode that would begin at `offset`, the inverse of
    /// [`Superblock::inode_at`].
    pub(super) fn inode_number(&self, offset: Bytes) -> u64 {
        let block = offset.0 / self.block_size.0;
        let (group, block) = (block / self.ag_blocks, block % self.ag_blocks);
        let index = offset.0 % self.block_size.0 / self.inode_size.0;
        (group << self.ag_block_log | block) << self.inodes_per_block_log | index
    }
}
