//! The blocks of a journal. All big endian, unlike the rest of the file system.
//!
//! Source: the kernel's Documentation/filesystems/ext4/journal.rst and include/linux/jbd2.h; what
//! is replayed and what is not, e2fsck's recovery.c.

use super::FORMAT;
use crate::Fault;
use crate::crc32c::update as crc32c;
use crate::fields::Fields;

const MAGIC: u32 = 0xc03b_3998;
/// How long its superblock is.
pub const LENGTH: usize = 1024;
/// What every block but those of data begins with.
const HEAD: usize = 12;

const BIT64: u32 = 2;
const ASYNC_COMMIT: u32 = 4;
const SUMS_2: u32 = 8;
const SUMS_3: u32 = 16;
const FAST_COMMIT: u32 = 32;
/// Blocks that are forgotten; every journal may have them.
const REVOKE: u32 = 1;
/// A compatible feature: a commit has the checksum of the blocks of its transaction.
const SUMS_1: u32 = 1;

/// Flags of a tag. What "deleted" (4) says is of no matter to a replay.
const ESCAPED: u32 = 1;
const SAME_ID: u32 = 2;
const LAST: u32 = 8;

/// What the superblock of a journal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// The size of a block, the file system's.
    pub block: u64,
    /// The first block that is written to.
    pub first: u64,
    /// The block behind the last one.
    pub end: u64,
    /// Where the oldest transaction begins; 0: there is none.
    pub start: u64,
    /// Its number.
    pub sequence: u32,
    features: u32,
    /// Whether commits have the checksum of their transaction; see [`Commit::covers`].
    pub sums_transactions: bool,
    /// Where checksums begin, if there are any.
    seed: Option<u32>,
}

/// A block that is to be written to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Where, as a block of the file system.
    pub block: u64,
    /// Its first four bytes were the journal's magic number and are zero here.
    pub escaped: bool,
    sum: u32,
}

/// The end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// When, in seconds since 1970.
    pub time: u64,
    /// Of a checksum of the whole transaction: its kind, its length in bytes, and the checksum.
    sum: (u8, u8, u32),
}

impl Commit {
    /// Whether `crc`, by [`crc32::update`](crate::crc32::update) from all ones on, of the
    /// descriptors and data of the transaction, is what the commit says, or it says none.
    pub fn covers(&self, crc: u32) -> bool {
        self.sum == (1, 4, crc) || self.sum == (0, 0, 0)
    }
}

/// A block of a journal that is not data, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is. Of a revocation that is not intact nothing is told.
    pub block: Block,
    /// Whether its own checksum is right, where it has one.
    pub intact: bool,
}

/// A block of a journal that is not data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// The blocks that follow, in order.
    Descriptor(Vec<Tag>),
    /// The transaction is complete.
    Commit(Commit),
    /// Blocks of this and earlier transactions that are not to be written.
    Revoke(Vec<u64>),
}

fn be32(fields: &Fields<'_>, at: usize) -> Result<u32, Fault> {
    fields.array(at).map(u32::from_be_bytes)
}

fn commit(fields: &Fields<'_>) -> Result<Commit, Fault> {
    let sum = (fields.u8(12)?, fields.u8(13)?, be32(fields, 16)?);
    Ok(Commit { time: fields.array(48).map(u64::from_be_bytes)?, sum })
}

impl Journal {
    /// Reads the superblock, the first [`LENGTH`] bytes.
    pub fn read(bytes: &[u8]) -> Result<Journal, Fault> {
        let refuse = |why: String| Err(Fault::new(FORMAT, why));
        let fields = Fields::of(FORMAT, bytes);
        fields.slice(0, LENGTH)?;
        if be32(&fields, 0)? != MAGIC || !matches!(be32(&fields, 4)?, 3 | 4) {
            return refuse("the journal has no superblock".into());
        }
        let features_at = |at| if be32(&fields, 4)? == 4 { be32(&fields, at) } else { Ok(0) };
        let (compatible, features, readonly) =
            (features_at(36)?, features_at(40)?, features_at(44)?);
        let known = REVOKE | BIT64 | ASYNC_COMMIT | SUMS_2 | SUMS_3 | FAST_COMMIT;
        if features & !known != 0 {
            return refuse(format!("a journal with unknown features: {:#x}", features & !known));
        }
        if readonly != 0 {
            return refuse(format!("a journal with unknown read-only features: {readonly:#x}"));
        }
        let sums = [compatible & SUMS_1, features & SUMS_2, features & SUMS_3];
        if sums.iter().filter(|bit| **bit != 0).count() > 1 {
            return refuse("a journal with checksums of several versions".into());
        }
        let seed = match features & (SUMS_2 | SUMS_3) {
            0 => None,
            _ => {
                let mut summed = bytes[..LENGTH].to_vec();
                summed[252..256].fill(0);
                if fields.u8(80)? != 4 || crc32c(!0, &summed) != be32(&fields, 252)? {
                    return refuse("the checksum of the journal's superblock is wrong".into());
                }
                Some(crc32c(!0, &fields.array::<16>(48)?))
            }
        };
        let fast = match features & FAST_COMMIT {
            0 => 0,
            _ => match be32(&fields, 84)? {
                0 => 256,
                count => count,
            },
        };
        let journal = Journal {
            block: be32(&fields, 12)?.into(),
            first: be32(&fields, 20)?.into(),
            end: u64::from(be32(&fields, 16)?).saturating_sub(fast.into()),
            start: be32(&fields, 28)?.into(),
            sequence: be32(&fields, 24)?,
            features,
            sums_transactions: compatible & SUMS_1 != 0,
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

    /// Why this journal cannot be replayed, if that is so.
    pub fn refusal(&self) -> Option<&'static str> {
        if self.features & FAST_COMMIT != 0 {
            return Some("it has fast commits");
        }
        let unsummed = self.seed.is_none() && self.features & ASYNC_COMMIT != 0;
        unsummed.then_some("its commits need not be behind their blocks")
    }

    /// Whether commits may be written before the blocks of their transaction.
    pub fn is_async(&self) -> bool {
        self.features & ASYNC_COMMIT != 0
    }

    /// The block behind `block`.
    pub fn after(&self, block: u64) -> u64 {
        if block + 1 >= self.end { self.first } else { block + 1 }
    }

    /// What `bytes`, one block, is in transaction `sequence`; `None` if it is no part of it, which is
    /// where a journal ends.
    pub fn block(&self, bytes: &[u8], sequence: u32) -> Result<Option<Found>, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        if be32(&fields, 0)? != MAGIC || be32(&fields, 8)? != sequence {
            return Ok(None);
        }
        let end = bytes.len() - if self.seed.is_some() { 4 } else { 0 };
        let (block, intact) = match be32(&fields, 4)? {
            1 => (Block::Descriptor(self.tags(&bytes[..end])?), self.sum_holds(bytes, end)?),
            2 => (Block::Commit(commit(&fields)?), self.sum_holds(bytes, 16)?),
            5 if self.sum_holds(bytes, end)? => (Block::Revoke(self.revoked(&bytes[..end])?), true),
            5 => (Block::Revoke(Vec::new()), false),
            _ => return Ok(None),
        };
        Ok(Some(Found { block, intact }))
    }

    /// Whether the checksum at `at` is that of the block without it.
    fn sum_holds(&self, bytes: &[u8], at: usize) -> Result<bool, Fault> {
        let Some(seed) = self.seed else { return Ok(true) };
        let sum = be32(&Fields::of(FORMAT, bytes), at)?;
        let mut summed = bytes.to_vec();
        summed[at..at + 4].fill(0);
        Ok(crc32c(seed, &summed) == sum)
    }

    fn tags(&self, bytes: &[u8]) -> Result<Vec<Tag>, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        let wide = self.features & BIT64 != 0;
        let length = match self.features & (SUMS_2 | SUMS_3) {
            0 if wide => 12,
            0 => 8,
            sums if sums & SUMS_3 != 0 => 16,
            _ if wide => 14,
            _ => 10,
        };
        let mut tags = Vec::new();
        let mut at = HEAD;
        while at + length <= bytes.len() {
            let low = u64::from(be32(&fields, at)?);
            let (flags, sum, high) = if length == 16 {
                (be32(&fields, at + 4)?, be32(&fields, at + 12)?, be32(&fields, at + 8)?)
            } else {
                let half = |at| fields.array(at).map(u16::from_be_bytes).map(u32::from);
                let high = if wide { be32(&fields, at + 8)? } else { 0 };
                (half(at + 6)?, half(at + 4)?, high)
            };
            tags.push(Tag {
                block: low | if wide { u64::from(high) << 32 } else { 0 },
                escaped: flags & ESCAPED != 0,
                sum,
            });
            at += length + if flags & SAME_ID == 0 { 16 } else { 0 };
            if flags & LAST != 0 {
                break;
            }
        }
        Ok(tags)
    }

    fn revoked(&self, bytes: &[u8]) -> Result<Vec<u64>, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        let end = be32(&fields, HEAD)? as usize;
        let width = if self.features & BIT64 != 0 { 8 } else { 4 };
        let list = bytes.get(HEAD + 4..end);
        let list = list.ok_or_else(|| Fault::new(FORMAT, format!("a list of {end} bytes")))?;
        let number = |entry: &[u8]| entry.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Ok(list.chunks_exact(width).map(number).collect())
    }

    /// Whether `data` is what was written for `tag` in transaction `sequence`.
    pub fn is_intact(&self, tag: &Tag, data: &[u8], sequence: u32) -> bool {
        let Some(seed) = self.seed else { return true };
        let crc = crc32c(crc32c(seed, &sequence.to_be_bytes()), data);
        match self.features & SUMS_3 {
            0 => crc & 0xffff == tag.sum,
            _ => crc == tag.sum,
        }
    }
}
