//! The blocks that a SquashFS file consists of: metadata, which is read on from any place, and data, of
//! which several blocks are decompressed at once, as those behind the wanted one come next.

use std::sync::Arc;

use crate::error::{Context, Result, ensure};
use crate::format::squashfs::block::{FRAGMENT_ENTRY, StoredBlock, fragment};
use crate::format::squashfs::superblock::{LENGTH, Superblock};
use crate::format::squashfs::{METADATA_SIZE, Reference, attribute, blocks_of};
use crate::image::source::{Recent, Shared, Source, bytes, table};
use crate::threads;

/// What decompressed metadata may take in memory, and data, and fragments.
const MEMORY: usize = 8 << 20;
/// The length of an owner in the table of owners, and of a place in any table of places.
const OWNER: usize = 4;
const PLACE: u64 = 8;

/// A file that was opened.
pub struct Stored {
    source: Shared,
    /// What its superblock says.
    pub superblock: Superblock,
    /// The places of the blocks of the table of fragments.
    fragments: Vec<u8>,
    metadata: Recent,
    data: Recent,
    ends: Recent,
    /// How many blocks are decompressed at once.
    threads: usize,
}

/// A block of data: where it is, how it is stored, and the lengths that it may have.
#[derive(Clone, Copy)]
pub struct Block {
    /// Where.
    pub at: u64,
    /// How.
    pub piece: StoredBlock,
    /// The least that it may hold.
    pub least: usize,
    /// The most.
    pub most: usize,
}

/// The table of lists of attributes.
pub struct Lists {
    /// Where names and values are.
    pub start: u64,
    /// How many lists there are.
    pub count: u32,
    /// The places of the blocks of the table.
    pub places: Vec<u8>,
}

/// The places of the blocks of a table of `count` entries.
fn places(source: &dyn Source, at: u64, count: u32, width: usize) -> Result<Vec<u8>> {
    match blocks_of(count.into(), width as u64) {
        0 => Ok(Vec::new()),
        blocks => table(source, at, blocks * PLACE),
    }
}

impl Stored {
    /// Opens what is in `source`.
    pub fn open(source: Shared) -> Result<Stored> {
        let superblock = Superblock::read(&bytes(&*source, 0, LENGTH)?)?;
        let (used, size) = (superblock.bytes_used.0, source.size());
        ensure!(used <= size, "cut short: {used} bytes in use, of {size}");
        let (count, at) = (superblock.fragments, superblock.fragment_table.0);
        let fragments =
            places(&*source, at, count, FRAGMENT_ENTRY).context("finding the fragments")?;
        Ok(Stored {
            source,
            superblock,
            fragments,
            metadata: Recent::of(MEMORY, METADATA_SIZE),
            data: Recent::of(MEMORY, superblock.block_size),
            ends: Recent::of(MEMORY, superblock.block_size),
            threads: std::thread::available_parallelism().map_or(1, |threads| threads.get()),
        })
    }

    /// `length` bytes of what is in use.
    fn bytes(&self, at: u64, length: usize) -> Result<Vec<u8>> {
        self.check(at, length)?;
        bytes(&*self.source, at, length)
    }

    /// An error unless `length` bytes at `at` are in use.
    pub fn check(&self, at: u64, length: usize) -> Result<()> {
        let inside =
            at.checked_add(length as u64).is_some_and(|end| end <= self.superblock.bytes_used.0);
        ensure!(inside, "cut short: {length} bytes at {at} of {}", self.superblock.bytes_used.0);
        Ok(())
    }

    /// The block of metadata at `at`, and where the next one is.
    fn metadata(&self, at: u64) -> Result<(Arc<Vec<u8>>, u64)> {
        let head = self.bytes(at, 2)?;
        let piece = StoredBlock::of_metadata([head[0], head[1]])?;
        let block = self.metadata.get(at, || {
            let stored = self.bytes(at + 2, piece.length)?;
            Ok(piece.unpack(stored, METADATA_SIZE, self.superblock.compression)?)
        });
        let block = block.with_context(|| format!("reading the metadata at {at}"))?;
        Ok((block, at + 2 + piece.length as u64))
    }

    /// Reads on from a place of the table that begins at `table`.
    pub fn cursor(&self, table: u64, at: Reference) -> Result<Cursor<'_>> {
        let first = table.checked_add(at.block).context("metadata beyond any file")?;
        let (block, next) = self.metadata(first)?;
        ensure!(at.offset <= block.len(), "there is no byte {} of {first}", at.offset);
        Ok(Cursor { of: self, block, within: at.offset, next })
    }

    /// Entry `index` of the table whose blocks are at `places`.
    pub fn entry(&self, places: &[u8], index: u32, width: usize) -> Result<Vec<u8>> {
        let each = METADATA_SIZE / width;
        let (which, within) = (index as usize / each, index as usize % each * width);
        let place = places.get(which * PLACE as usize..).and_then(|rest| rest.first_chunk());
        let at = u64::from_le_bytes(*place.context("there is no such entry")?);
        let (block, _) = self.metadata(at)?;
        let entry = block.get(within..within + width);
        Ok(entry.with_context(|| format!("the table at {at} is cut short"))?.to_vec())
    }

    /// All owners and groups.
    pub fn owners(&self) -> Result<Vec<u32>> {
        let (count, at) = (self.superblock.ids, self.superblock.id_table.0);
        let places = places(&*self.source, at, count.into(), OWNER)?;
        let mut owners = Vec::new();
        for index in 0..count.into() {
            let entry = self.entry(&places, index, OWNER)?;
            owners.push(u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]));
        }
        Ok(owners)
    }

    /// The table of attributes at `at`, if there is anything in it.
    pub fn lists(&self, at: u64) -> Result<Option<Lists>> {
        let (start, count) = attribute::header(&self.bytes(at, attribute::HEADER)?)?;
        let start = start.0;
        let behind = at + attribute::HEADER as u64;
        let places = places(&*self.source, behind, count, attribute::ENTRY)?;
        Ok((count > 0).then_some(Lists { start, count, places }))
    }

    /// What the first of `blocks` holds; the others come next.
    pub fn data(&self, blocks: impl Iterator<Item = Block>) -> Result<Arc<Vec<u8>>> {
        self.first(&self.data, blocks)
    }

    /// What fragment `index` holds.
    pub fn fragment(&self, index: u32) -> Result<Arc<Vec<u8>>> {
        let count = self.superblock.fragments;
        ensure!(index < count, "there is no fragment {index}");
        let first = self.end(index);
        // One that cannot be found is an error once it is wanted.
        let further = (index + 1..count).map_while(|index| self.end(index).ok());
        first
            .and_then(|first| self.first(&self.ends, std::iter::once(first).chain(further)))
            .with_context(|| format!("reading fragment {index}"))
    }

    fn end(&self, index: u32) -> Result<Block> {
        let (at, size) = fragment(&self.entry(&self.fragments, index, FRAGMENT_ENTRY)?)?;
        let at = at.0;
        let most = self.superblock.block_size;
        let piece = StoredBlock::of_data(size, most)?.context("a fragment of nothing")?;
        Ok(Block { at, piece, least: 0, most })
    }

    /// What the first of `blocks` holds. If it is not among the recent ones, as many as there are
    /// processors are decompressed.
    fn first(
        &self,
        recent: &Recent,
        mut blocks: impl Iterator<Item = Block>,
    ) -> Result<Arc<Vec<u8>>> {
        let first = blocks.next().context("there is no block")?;
        let whole = |block: Arc<Vec<u8>>| {
            let (length, at) = (block.len(), first.at);
            let fits = (first.least..=first.most).contains(&length);
            ensure!(fits, "the data at {at} is {length} bytes, not {}", first.most);
            Ok(block)
        };
        if let Some(block) = recent.find(first.at) {
            return whole(block);
        }
        let most = self.threads.min(recent.room() / 2).max(1) - 1;
        let further: Vec<Block> =
            blocks.take(most).filter(|block| recent.find(block.at).is_none()).collect();
        let (unpacked, ahead) = std::thread::scope(|scope| {
            let start = |block| threads::start(scope, move || self.unpack(block)).ok();
            let threads: Vec<_> = further.iter().map_while(start).collect();
            let unpacked = self.unpack(&first);
            let ahead: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            (unpacked, ahead)
        });
        // What is wrong with one that is not wanted yet is an error once it is.
        for (block, unpacked) in further.iter().zip(ahead).rev() {
            if let Ok(Ok(unpacked)) = unpacked {
                recent.put(block.at, unpacked);
            }
        }
        whole(recent.put(first.at, unpacked?))
    }

    fn unpack(&self, block: &Block) -> Result<Vec<u8>> {
        let unpack = || -> Result<Vec<u8>> {
            let stored = self.bytes(block.at, block.piece.length)?;
            Ok(block.piece.unpack(stored, block.most, self.superblock.compression)?)
        };
        unpack().with_context(|| format!("reading the data at {}", block.at))
    }
}

/// A place in metadata, from which it is read on into the blocks behind.
pub struct Cursor<'a> {
    of: &'a Stored,
    block: Arc<Vec<u8>>,
    within: usize,
    next: u64,
}

impl Cursor<'_> {
    /// The next `length` bytes, which the caller has bounded.
    pub fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut taken = Vec::new();
        while taken.len() < length {
            if self.within >= self.block.len() {
                (self.block, self.next) = self.of.metadata(self.next)?;
                self.within = 0;
            }
            let n = (length - taken.len()).min(self.block.len() - self.within);
            taken.extend_from_slice(&self.block[self.within..self.within + n]);
            self.within += n;
        }
        Ok(taken)
    }
}
