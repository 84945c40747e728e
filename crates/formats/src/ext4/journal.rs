//! The journal (jbd2): its superblock, and the descriptor, commit and revocation blocks of its log.
//! All big endian, unlike the rest of the file system.
//!
//! Source: the kernel's Documentation/filesystems/ext4/journal.rst and include/linux/jbd2.h; what
//! is replayed and what is not, e2fsck's recovery.c.

use super::FORMAT;
use crate::Fault;
use crate::crc32c::update as crc32c;
use crate::fields::Fields;
use crate::units::Bytes;

const MAGIC: u32 = 0xc03b_3998;
/// The length of the journal's superblock in bytes.
pub const LENGTH: usize = 1024;
/// The length of `journal_header_t`, with which every block but those of data begins.
const HEADER: usize = 12;

/// Bits of `s_feature_incompat`.
const BIT64: u32 = 2;
const ASYNC_COMMIT: u32 = 4;
const CSUM_V2: u32 = 8;
const CSUM_V3: u32 = 16;
const FAST_COMMIT: u32 = 32;
/// `EXT4_FC_TAG_HEAD`.
const FAST_COMMIT_HEAD: u16 = 9;
const REVOKE: u32 = 1;
/// A bit of `s_feature_compat`: a commit block has the checksum of its transaction.
const CHECKSUM: u32 = 1;

/// Bits of the flags of a block tag. A replay ignores `JBD2_FLAG_DELETED` (4).
const ESCAPED: u32 = 1;
const SAME_UUID: u32 = 2;
const LAST_TAG: u32 = 8;

/// The superblock of a journal (`journal_superblock_t`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// `s_blocksize`, which is the file system's.
    pub block_size: Bytes,
    /// `s_first`: the first block of log records.
    pub first: u64,
    /// The block behind the last one: `s_maxlen` without the fast commit area.
    pub end: u64,
    /// `s_start`: the block in which the oldest transaction begins; 0 for a clean journal.
    pub start: u64,
    /// `s_sequence`: the number of that transaction.
    pub sequence: u32,
    features: u32,
    /// Whether commit blocks have the checksum of their transaction; see [`Commit::covers`].
    pub has_transaction_checksums: bool,
    /// The seed of checksums of version 2 and 3.
    seed: Option<u32>,
}

/// A block tag: which block of the file system a data block in the journal replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// `t_blocknr`: the block of the file system.
    pub block: u64,
    /// Whether its first four bytes are the journal's magic number, which is stored as zeros.
    pub escaped: bool,
    checksum: u32,
}

/// A commit block, which ends a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// `h_commit_sec`: when it was written, in seconds since 1970.
    pub time: u64,
    /// `h_chksum_type`, `h_chksum_size` and `h_chksum`, of the whole transaction.
    checksum: (u8, u8, u32),
}

impl Commit {
    /// Whether `crc` is the checksum of the commit block, or it has none. `crc` is by
    /// [`crc32::update`](crate::crc32::update), from all ones on, over the descriptor and data blocks
    /// of the transaction.
    pub fn covers(&self, crc: u32) -> bool {
        self.checksum == (1, 4, crc) || self.checksum == (0, 0, 0)
    }
}

/// A block of the log that is not data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBlock {
    /// What it is; the list of a revocation block that is not intact is empty.
    pub block: Block,
    /// Whether its checksum is right, or it has none.
    pub intact: bool,
}

/// The kinds of log blocks that are not data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// The tags of the data blocks that follow, in order.
    Descriptor(Vec<Tag>),
    /// The end of a transaction.
    Commit(Commit),
    /// Blocks that are not to be replayed from this and earlier transactions.
    Revoke(Vec<u64>),
}

fn commit(fields: &Fields<'_>) -> Result<Commit, Fault> {
    let checksum = (fields.u8(12)?, fields.u8(13)?, fields.be32(16)?);
    Ok(Commit { time: fields.be64(48)?, checksum })
}

impl Journal {
    /// Reads the superblock, the first [`LENGTH`] bytes.
    pub fn read(bytes: &[u8]) -> Result<Journal, Fault> {
        let refuse = |why: String| Err(Fault::new(FORMAT, why));
        let fields = Fields::of(FORMAT, bytes);
        fields.slice(0, LENGTH)?;
        if fields.be32(0)? != MAGIC || !matches!(fields.be32(4)?, 3 | 4) {
            return refuse("the journal has no superblock".into());
        }
        let features_at = |at| if fields.be32(4)? == 4 { fields.be32(at) } else { Ok(0) };
        let (compatible, features, readonly) =
            (features_at(36)?, features_at(40)?, features_at(44)?);
        let known = REVOKE | BIT64 | ASYNC_COMMIT | CSUM_V2 | CSUM_V3 | FAST_COMMIT;
        if features & !known != 0 {
            return refuse(format!("a journal with unknown features: {:#x}", features & !known));
        }
        if readonly != 0 {
            return refuse(format!("a journal with unknown read-only features: {readonly:#x}"));
        }
        let sums = [compatible & CHECKSUM, features & CSUM_V2, features & CSUM_V3];
        if sums.iter().filter(|bit| **bit != 0).count() > 1 {
            return refuse("a journal with checksums of several versions".into());
        }
        let seed = match features & (CSUM_V2 | CSUM_V3) {
            0 => None,
            _ => {
                let mut summed = bytes[..LENGTH].to_vec();
                summed[252..256].fill(0);
                if fields.u8(80)? != 4 || crc32c(!0, &summed) != fields.be32(252)? {
                    return refuse("the checksum of the journal's superblock is wrong".into());
                }
                Some(crc32c(!0, &fields.array::<16>(48)?))
            }
        };
        let fast = match features & FAST_COMMIT {
            0 => 0,
            _ => match fields.be32(84)? {
                0 => 256,
                count => count,
            },
        };
        let journal = Journal {
            block_size: Bytes(fields.be32(12)?.into()),
            first: fields.be32(20)?.into(),
            end: u64::from(fields.be32(16)?).saturating_sub(fast.into()),
            start: fields.be32(28)?.into(),
            sequence: fields.be32(24)?,
            features,
            has_transaction_checksums: compatible & CHECKSUM != 0,
            seed,
        };
        let sane = journal.first > 0
            && journal.first < journal.end
            && (journal.start == 0 || (journal.first..journal.end).contains(&journal.start));
        Fault::unless(sane, FORMAT, || {
            let Journal { first, end, start, .. } = journal;
            format!("a journal from block {first} to {end} that starts at {start}")
        })?;
        Ok(journal)
    }

    /// Why this journal cannot be replayed; `None` where it can.
    pub fn refusal(&self) -> Option<&'static str> {
        let unsummed = self.seed.is_none() && self.features & ASYNC_COMMIT != 0;
        unsummed.then_some("its commits need not be behind their blocks")
    }

    /// The block in which fast commits begin, where the journal has room for them.
    pub fn fast_commits(&self) -> Option<u64> {
        (self.features & FAST_COMMIT != 0).then_some(self.end)
    }

    /// Whether a block of fast commits begins one that belongs to transaction `sequence`, the one after
    /// the last complete one (`ext4_fc_head`). Others are left over.
    pub fn is_fast_commit(block: &[u8], sequence: u32) -> bool {
        let fields = Fields::of(FORMAT, block);
        fields.le16(0) == Ok(FAST_COMMIT_HEAD) && fields.le32(8) == Ok(sequence)
    }

    /// Whether a commit block may be written before the blocks of its transaction.
    pub fn is_async(&self) -> bool {
        self.features & ASYNC_COMMIT != 0
    }

    /// The block after `block`, which is the first one after the last.
    pub fn after(&self, block: u64) -> u64 {
        if block + 1 >= self.end { self.first } else { block + 1 }
    }

    /// Reads one block of transaction `sequence`; `None` if it is not part of it, which is where the
    /// log ends.
    pub fn block(&self, bytes: &[u8], sequence: u32) -> Result<Option<LogBlock>, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        if fields.be32(0)? != MAGIC || fields.be32(8)? != sequence {
            return Ok(None);
        }
        let end = bytes.len() - if self.seed.is_some() { 4 } else { 0 };
        let (block, intact) = match fields.be32(4)? {
            1 => {
                (Block::Descriptor(self.tags(&bytes[..end])?), self.checksum_is_right(bytes, end)?)
            }
            2 => (Block::Commit(commit(&fields)?), self.checksum_is_right(bytes, 16)?),
            5 if self.checksum_is_right(bytes, end)? => {
                (Block::Revoke(self.revoked(&bytes[..end])?), true)
            }
            5 => (Block::Revoke(Vec::new()), false),
            _ => return Ok(None),
        };
        Ok(Some(LogBlock { block, intact }))
    }

    /// Whether the checksum at `at` is that of the block without it.
    fn checksum_is_right(&self, bytes: &[u8], at: usize) -> Result<bool, Fault> {
        let Some(seed) = self.seed else { return Ok(true) };
        let sum = Fields::of(FORMAT, bytes).be32(at)?;
        let mut summed = bytes.to_vec();
        summed[at..at + 4].fill(0);
        Ok(crc32c(seed, &summed) == sum)
    }

    fn tags(&self, bytes: &[u8]) -> Result<Vec<Tag>, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        let wide = self.features & BIT64 != 0;
        let length = match self.features & (CSUM_V2 | CSUM_V3) {
            0 if wide => 12,
            0 => 8,
            sums if sums & CSUM_V3 != 0 => 16,
            _ if wide => 14,
            _ => 10,
        };
        let mut tags = Vec::new();
        let mut at = HEADER;
        while at + length <= bytes.len() {
            let low = u64::from(fields.be32(at)?);
            let (flags, checksum, high) = if length == 16 {
                (fields.be32(at + 4)?, fields.be32(at + 12)?, fields.be32(at + 8)?)
            } else {
                let half = |at| fields.be16(at).map(u32::from);
                let high = if wide { fields.be32(at + 8)? } else { 0 };
                (half(at + 6)?, half(at + 4)?, high)
            };
            tags.push(Tag {
                block: low | if wide { u64::from(high) << 32 } else { 0 },
                escaped: flags & ESCAPED != 0,
                checksum,
            });
            at += length + if flags & SAME_UUID == 0 { 16 } else { 0 };
            if flags & LAST_TAG != 0 {
                break;
            }
        }
        Ok(tags)
    }

    fn revoked(&self, bytes: &[u8]) -> Result<Vec<u64>, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        let end = fields.be32(HEADER)? as usize;
        let width = if self.features & BIT64 != 0 { 8 } else { 4 };
        let list = bytes.get(HEADER + 4..end);
        let list = list.ok_or_else(|| Fault::new(FORMAT, format!("a list of {end} bytes")))?;
        let number = |entry: &[u8]| entry.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Ok(list.chunks_exact(width).map(number).collect())
    }

    /// Whether the checksum of `tag` is that of `data` in transaction `sequence`, or there is none.
    pub fn is_intact(&self, tag: &Tag, data: &[u8], sequence: u32) -> bool {
        let Some(seed) = self.seed else { return true };
        let crc = crc32c(crc32c(seed, &sequence.to_be_bytes()), data);
        match self.features & CSUM_V3 {
            0 => crc & 0xffff == tag.checksum,
            _ => crc == tag.checksum,
        }
    }
}
