//! Replays a journal in memory: blocks of complete transactions take the place of those that they
//! were meant for. Nothing is written.

use std::collections::BTreeMap;

use crate::error::{Context, Hint, Result, anyhow, ensure};
use crate::format::crc32;
use crate::format::ext4::journal::{Block, Journal, LENGTH, Tag};
use crate::image::source::{Shared, Source, bytes, check};
use crate::import::filesystem::Runs;

/// No journal holds more blocks: 1 GiB of 1 KiB each.
const MOST: u64 = 1 << 20;
const DAMAGED: &str = "run e2fsck on the file system: it says what can be saved";

/// A file system as it is once its journal is replayed.
pub struct Replayed {
    below: Shared,
    block: u64,
    /// Blocks of the file system that are elsewhere: at which byte, and whether they were escaped.
    moved: BTreeMap<u64, (u64, bool)>,
}

/// A block of a complete transaction.
struct Change {
    sequence: u32,
    tag: Tag,
    /// Where the journal has it.
    at: u64,
}

/// What complete transactions say, and nothing of others.
#[derive(Default)]
struct Log {
    changes: Vec<Change>,
    /// The last transaction in which a block was revoked.
    revoked: BTreeMap<u64, u32>,
    /// The number of the transaction that would come next.
    next: u32,
}

/// The journal in the file of `runs`, and where its blocks are.
fn open(below: &dyn Source, block: u64, runs: &Runs) -> Result<(Journal, Vec<u64>)> {
    let blocks = blocks(runs, block)?;
    let first = blocks.first().context("the journal is empty")?;
    let journal = Journal::read(&bytes(below, *first, LENGTH)?)?;
    ensure!(
        journal.block_size.0 == block,
        "the journal has blocks of {} bytes",
        journal.block_size.0
    );
    Ok((journal, blocks))
}

/// Whether the journal in the file of `runs` was not emptied.
pub fn holds_changes(below: &dyn Source, block: u64, runs: &Runs) -> Result<bool> {
    Ok(open(below, block, runs)?.0.start != 0)
}

/// `below`, whose blocks are `block` long, with the journal in the file of `runs` replayed.
pub fn replay(below: Shared, block: u64, runs: &Runs) -> Result<Replayed> {
    let (journal, blocks) = open(&*below, block, runs)?;
    let mut moved = BTreeMap::new();
    if journal.start == 0 {
        return Ok(Replayed { below, block, moved });
    }
    if let Some(why) = journal.refusal() {
        return Err(anyhow!(
            "the file system was not unmounted, and its journal cannot be replayed: {why}"
        ))
        .hint("mount it once, or run e2fsck on it");
    }
    let Log { changes, revoked, next } = scan(&*below, &journal, &blocks)?;
    if let Some(first) = journal.fast_commits() {
        let at = usize::try_from(first).ok().and_then(|first| blocks.get(first));
        let at = at.with_context(|| format!("the journal has no block {first}"))?;
        if Journal::is_fast_commit(&bytes(&*below, *at, block as usize)?, next) {
            return Err(anyhow!("the journal ends with fast commits, which kuth cannot replay"))
                .hint("run `e2fsck -fy` on the file system, which replays them, or mount it once");
        }
    }
    for Change { sequence, tag, at } in changes {
        let later = |other: &u32| sequence.wrapping_sub(*other) as i32 <= 0;
        if revoked.get(&tag.block).is_some_and(later) {
            continue;
        }
        let data = bytes(&*below, at, block as usize)?;
        if !journal.is_intact(&tag, &data, sequence) {
            return Err(anyhow!("the checksum of a block in the journal is wrong, at byte {at}"))
                .hint(DAMAGED);
        }
        moved.insert(tag.block, (at, tag.escaped));
    }
    Ok(Replayed { below, block, moved })
}

/// Reads the journal, transaction by transaction, up to the first that is not complete. A wrong
/// checksum in a complete one is an error, unless its time says that it is left over from an
/// earlier use of the same blocks, as e2fsck and the kernel have it.
fn scan(below: &dyn Source, journal: &Journal, blocks: &[u64]) -> Result<Log> {
    let size = journal.block_size.0 as usize;
    let at = |number: u64| -> Result<u64> {
        let place = usize::try_from(number).ok().and_then(|number| blocks.get(number));
        place.copied().with_context(|| format!("the journal has no block {number}"))
    };
    let mut log = Log::default();
    let (mut here, mut sequence, mut time) = (journal.start, journal.sequence, 0);
    // Of the transaction that is not complete yet.
    let (mut pending, mut forgotten) = (Vec::new(), Vec::new());
    let (mut intact, mut crc) = (true, !0);
    for _ in 0..journal.end {
        let read = bytes(below, at(here)?, size)?;
        let Some(found) = journal.block(&read, sequence)? else { break };
        here = journal.after(here);
        match found.block {
            Block::Descriptor(tags) => {
                ensure!(tags.len() as u64 <= journal.end, "more blocks than the journal has");
                intact &= found.intact;
                if journal.has_transaction_checksums {
                    crc = crc32::update(crc, &read);
                }
                for tag in tags {
                    let at = at(here)?;
                    if journal.has_transaction_checksums {
                        crc = crc32::update(crc, &bytes(below, at, size)?);
                    }
                    pending.push(Change { sequence, tag, at });
                    here = journal.after(here);
                }
                ensure!(pending.len() as u64 <= journal.end, "more blocks than the journal has");
            }
            Block::Revoke(blocks) => {
                intact &= found.intact;
                forgotten.extend(blocks);
            }
            Block::Commit(commit) => {
                let sound =
                    found.intact && (!journal.has_transaction_checksums || commit.covers(crc));
                if !intact || !sound {
                    let interrupted = intact && journal.is_async();
                    if commit.time < time || interrupted {
                        break;
                    }
                    let why = if intact { "its commit" } else { "one of its blocks" };
                    return Err(anyhow!(
                        "transaction {sequence} of the journal is damaged: the checksum of {why} \
                         is wrong"
                    ))
                    .hint(DAMAGED);
                }
                log.changes.append(&mut pending);
                log.revoked.extend(forgotten.drain(..).map(|block| (block, sequence)));
                (sequence, time, crc) = (sequence.wrapping_add(1), commit.time, !0);
            }
        }
    }
    log.next = sequence;
    Ok(log)
}

/// Where the blocks of the journal are, in order.
fn blocks(runs: &Runs, block: u64) -> Result<Vec<u64>> {
    let mut blocks = Vec::new();
    for run in runs.iter() {
        ensure!(run.at == blocks.len() as u64 * block, "the journal has a hole at {}", run.at);
        let count = run.length / block;
        ensure!(blocks.len() as u64 + count <= MOST, "the journal has more than {MOST} blocks");
        blocks.extend((0..count).map(|index| run.from + index * block));
    }
    Ok(blocks)
}

impl Source for Replayed {
    fn size(&self) -> u64 {
        self.below.size()
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        check(self, at, bytes.len() as u64)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let last = (at + bytes.len() as u64 - 1) / self.block;
        if self.moved.range(at / self.block..=last).next().is_none() {
            return self.below.read_at(bytes, at);
        }
        let mut done = 0;
        while done < bytes.len() {
            let here = at + done as u64;
            let within = here % self.block;
            let n = (bytes.len() - done).min((self.block - within) as usize);
            let part = &mut bytes[done..done + n];
            match self.moved.get(&(here / self.block)) {
                None => self.below.read_at(part, here)?,
                Some((place, escaped)) => {
                    self.below.read_at(part, place + within)?;
                    if *escaped {
                        let magic = 0xc03b_3998u32.to_be_bytes();
                        for (byte, right) in part.iter_mut().zip(magic.iter().skip(within as usize))
                        {
                            *byte = *right;
                        }
                    }
                }
            }
            done += n;
        }
        Ok(())
    }
}
