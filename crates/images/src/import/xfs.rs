//! XFS as a [`Filesystem`]. One whose log holds changes is refused: they would have to be replayed
//! first.

use std::collections::BTreeSet;

use crate::error::{Context, Hint, Result, anyhow, bail, ensure};
use crate::format::xfs::attribute::{self, Block, LONGEST, Value};
use crate::format::xfs::directory;
use crate::format::xfs::extent::{self, DEEPEST, Extent};
use crate::format::xfs::inode::{Fork, Inode};
use crate::format::xfs::log;
use crate::format::xfs::superblock::{LENGTH, Superblock};

use super::filesystem::{Content, Filesystem, Kind, Names, Node, Run, Runs};
use crate::image::source::{Recent, Shared, bytes, head};

/// What blocks of inodes may take in memory.
const MEMORY: usize = 4 << 20;
/// What of the log is read at once.
const CHUNK: u64 = 1 << 20;
/// No log is larger.
const LARGEST_LOG: u64 = 2 << 30;
/// Nothing links further.
const LONGEST_LINK: u64 = 1024;

/// A file system that was opened.
pub struct Xfs {
    source: Shared,
    superblock: Superblock,
    recent: Recent,
}

impl Xfs {
    /// Opens what is in `source`.
    pub fn open(source: Shared) -> Result<Xfs> {
        let superblock = Superblock::read(&head(&*source, LENGTH)?)?;
        let size = superblock.data_blocks.checked_mul(superblock.block_size.0);
        ensure!(
            size.is_some_and(|size| size <= source.size()),
            "cut short: {} blocks of {} bytes in {}",
            superblock.data_blocks,
            superblock.block_size.0,
            source.size()
        );
        let recent = Recent::of(MEMORY, superblock.block_size.0 as usize);
        let opened = Xfs { source, superblock, recent };
        opened.check_log().context("reading the log")?;
        Ok(opened)
    }

    /// What its superblock says.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Fails unless the last record of the log says that the file system was unmounted.
    fn check_log(&self) -> Result<()> {
        let (first, blocks) = (self.superblock.log_start, self.superblock.log_blocks);
        ensure!(first != 0, "it lies on another disk");
        let length = blocks * self.superblock.block_size.0;
        ensure!(length <= LARGEST_LOG, "a log of {length} bytes");
        let start = self.superblock.block_at(first, blocks)?.0;
        let mut last: Option<(u64, log::Record)> = None;
        for at in (0..length).step_by(CHUNK as usize) {
            let chunk = bytes(&*self.source, start + at, CHUNK.min(length - at) as usize)?;
            for (within, block) in chunk.chunks_exact(log::BLOCK).enumerate() {
                let index = at / log::BLOCK as u64 + within as u64;
                let record = log::record(block, index).map(|record| (index, record));
                if let Some((index, record)) = record
                    && last.is_none_or(|(_, last)| record.lsn > last.lsn)
                {
                    last = Some((index, record));
                }
            }
        }
        let Some((index, record)) = last else { return Ok(()) };
        let behind = (index + record.header_blocks) * log::BLOCK as u64 % length;
        let block = bytes(&*self.source, start + behind, log::BLOCK)?;
        if record.operations == 1 && log::is_unmount(&block) {
            return Ok(());
        }
        Err(anyhow!("the file system was not unmounted: its log holds changes"))
            .hint("mount it once, or stop the system properly before its image is taken")
    }

    fn inode(&self, number: u64) -> Result<Inode> {
        let at = self.superblock.inode_at(number)?.0;
        let size = self.superblock.block_size.0;
        let within = at % size;
        let block =
            self.recent.get(at - within, || bytes(&*self.source, at - within, size as usize))?;
        let inode = &block[within as usize..(within + self.superblock.inode_size.0) as usize];
        Inode::read(inode, number).with_context(|| format!("at byte {at}"))
    }

    /// Where the data of a fork is; nothing for one that holds it.
    fn runs(&self, fork: &Fork) -> Result<Runs> {
        let mut tree = ExtentTree { of: self, runs: Runs::default(), next: 0, blocks: 0 };
        match fork {
            Fork::Device(..) | Fork::Local(_) => {}
            Fork::Extents(bytes) => tree.extents(extent::records(bytes))?,
            Fork::Btree(bytes) => tree.node(extent::root(bytes)?, DEEPEST + 1)?,
        }
        Ok(tree.runs)
    }

    /// The byte at which byte `at` of the data in `runs` is, with `length` bytes behind it.
    fn place(&self, runs: &Runs, at: u64, length: u64) -> Result<u64> {
        let run = runs.iter().find(|run| (run.at..run.at + run.length).contains(&at));
        let run = run.with_context(|| format!("there is nothing at byte {at} of it"))?;
        let within = at - run.at;
        ensure!(within + length <= run.length, "a structure at byte {at} is in two places");
        Ok(run.from + within)
    }

    fn value(&self, runs: &Runs, value: Value) -> Result<Vec<u8>> {
        let (first, length) = match value {
            Value::Local(bytes) => return Ok(bytes),
            Value::Remote { block, length } => (block, length.0 as usize),
        };
        let mut held = Vec::new();
        let size = self.superblock.block_size.0;
        let mut at = u64::from(first) * size;
        while held.len() < length {
            let block = bytes(&*self.source, self.place(runs, at, size)?, size as usize)?;
            match self.superblock.has_crc {
                true => {
                    let part = attribute::remote(&block, b"XARM")?;
                    ensure!(!part.is_empty(), "a block of a value is empty");
                    held.extend(part);
                }
                false => held.extend(&block),
            }
            at += size;
        }
        held.truncate(length);
        Ok(held)
    }
}

/// A tree along the extents of a fork, which must go forward all the time.
struct ExtentTree<'a> {
    of: &'a Xfs,
    runs: Runs,
    next: u64,
    blocks: u64,
}

impl ExtentTree<'_> {
    fn extents(&mut self, extents: Vec<Extent>) -> Result<()> {
        for Extent { start_offset: first, block_count: length, start_block } in extents {
            ensure!(first >= self.next && length > 0, "its extents overlap at {first}");
            self.next = first + length;
            let Some(start) = start_block else { continue };
            let from = self.of.superblock.block_at(start, length)?.0;
            let size = self.of.superblock.block_size.0;
            let at = first.checked_mul(size).context("an extent lies beyond any file")?;
            self.runs.push(Run { at, length: length * size, from })?;
        }
        Ok(())
    }

    fn node(&mut self, node: extent::Node, above: u16) -> Result<()> {
        match node {
            extent::Node::Leaf(extents) => self.extents(extents),
            extent::Node::Inner(level, children) => {
                ensure!(level < above, "its tree of extents gets no shallower");
                for block in children {
                    self.blocks += 1;
                    ensure!(self.blocks <= self.of.superblock.data_blocks, "its tree has no end");
                    let size = self.of.superblock.block_size.0 as usize;
                    let at = self.of.superblock.block_at(block, 1)?.0;
                    let read = bytes(&*self.of.source, at, size)?;
                    let node = extent::node(&read, self.of.superblock.has_crc)
                        .with_context(|| format!("reading block {block}"))?;
                    self.node(node, level)?;
                }
                Ok(())
            }
        }
    }
}

impl Filesystem for Xfs {
    fn root(&self) -> u64 {
        self.superblock.root_inode
    }

    fn bytes_used(&self) -> Result<Option<u64>> {
        let of = &self.superblock;
        Ok(of.data_blocks.checked_sub(of.free_blocks).map(|blocks| blocks * of.block_size.0))
    }

    fn node(&self, node: u64) -> Result<Node> {
        let inode = self.inode(node)?;
        let device = match inode.data_fork {
            Fork::Device(major, minor) => (major, minor),
            _ => (0, 0),
        };
        let kind = Kind::of(inode.mode, device);
        let kind = kind.with_context(|| format!("inode {node} has the mode {:#o}", inode.mode))?;
        Ok(Node {
            kind,
            mode: u32::from(inode.mode) & 0o7777,
            uid: inode.uid,
            gid: inode.gid,
            time: inode.mtime,
            size: inode.size.0,
            links: inode.links,
        })
    }

    fn names(&self, node: u64, most: usize) -> Result<Names> {
        let inode = self.inode(node)?;
        let has_file_types = self.superblock.has_file_types;
        let mut names = Names::new();
        let mut take = |found: Vec<directory::Entry<'_>>| -> Result<()> {
            ensure!(found.len() <= most - names.len(), "too many names");
            names.extend(found.into_iter().map(|(name, inode)| (name.to_vec(), inode)));
            Ok(())
        };
        if let Fork::Local(bytes) = &inode.data_fork {
            take(directory::short_form(bytes, has_file_types)?)?;
            return Ok(names);
        }
        let size = self.superblock.directory_block_size.0;
        let runs = self.runs(&inode.data_fork)?;
        // A block may be in several runs, so it is read as a part of a file.
        let end = inode.size.0.min(directory::LEAF_OFFSET.0);
        let mut content = Content::new(self.source.clone(), runs.clone(), end);
        let mut block = vec![0; size as usize];
        for run in blocks(&runs, size, end) {
            content.seek(run);
            std::io::Read::read_exact(&mut content, &mut block)
                .with_context(|| format!("reading byte {run} of a directory"))?;
            take(
                directory::block(&block, has_file_types, self.superblock.has_crc)
                    .with_context(|| format!("at byte {run} of a directory"))?,
            )?;
        }
        Ok(names)
    }

    fn target(&self, node: u64) -> Result<Vec<u8>> {
        let inode = self.inode(node)?;
        ensure!((1..=LONGEST_LINK).contains(&inode.size.0), "a link of {} bytes", inode.size.0);
        if let Fork::Local(bytes) = inode.data_fork {
            return Ok(bytes);
        }
        let runs = self.runs(&inode.data_fork)?;
        if !self.superblock.has_crc {
            return Content::new(self.source.clone(), runs, inode.size.0).all(LONGEST_LINK);
        }
        let size = self.superblock.block_size.0;
        let mut target = Vec::new();
        let mut at = 0;
        while (target.len() as u64) < inode.size.0 {
            let block = bytes(&*self.source, self.place(&runs, at, size)?, size as usize)?;
            let part = attribute::remote(&block, b"XSLM")?;
            ensure!(!part.is_empty(), "a block of a link is empty");
            target.extend(part);
            at += size;
        }
        target.truncate(inode.size.0 as usize);
        Ok(target)
    }

    fn attributes(&self, node: u64) -> Result<Vec<(String, Vec<u8>)>> {
        let inode = self.inode(node)?;
        let fork = match &inode.attribute_fork {
            None => return Ok(Vec::new()),
            Some(Fork::Local(bytes)) => {
                let here = |(name, value)| match value {
                    Value::Local(bytes) => Ok((name, bytes)),
                    Value::Remote { .. } => bail!("a small attribute that is in blocks"),
                };
                return attribute::short_form(bytes)?.into_iter().map(here).collect();
            }
            Some(fork) => fork,
        };
        let runs = self.runs(fork)?;
        if runs.iter().next().is_none() {
            return Ok(Vec::new());
        }
        let size = self.superblock.block_size.0;
        let mut attributes = Vec::new();
        let (mut next, mut seen, mut down) = (Some(0), BTreeSet::new(), true);
        while let Some(here) = next {
            ensure!(seen.insert(here), "the blocks of its attributes go round in circles");
            let at = self.place(&runs, u64::from(here) * size, size)?;
            let block = bytes(&*self.source, at, size as usize)?;
            let read = attribute::block(&block, self.superblock.has_crc);
            match read.with_context(|| format!("at byte {at}"))? {
                Block::Node(below) if down => next = Some(below),
                Block::Node(_) => bail!("a leaf of its attributes is none, at byte {at}"),
                Block::Leaf(found, after) => {
                    for (name, value) in found {
                        let value = self.value(&runs, value)?;
                        ensure!(value.len() as u64 <= LONGEST, "an attribute is too long");
                        attributes.push((name, value));
                    }
                    (next, down) = (after, false);
                }
            }
        }
        Ok(attributes)
    }

    fn content(&self, node: u64) -> Result<Content> {
        let inode = self.inode(node)?;
        if let Fork::Local(bytes) = inode.data_fork {
            return Ok(Content::here(bytes));
        }
        let runs = self.runs(&inode.data_fork)?;
        Ok(Content::new(self.source.clone(), runs, inode.size.0))
    }
}

/// The blocks of `size` bytes below `end` that runs touch, each once.
fn blocks(runs: &Runs, size: u64, end: u64) -> Vec<u64> {
    let mut found: Vec<u64> = Vec::new();
    for run in runs.iter().filter(|run| run.at < end) {
        let first = run.at / size * size;
        for at in (first..(run.at + run.length).min(end)).step_by(size as usize) {
            if found.last() != Some(&at) {
                found.push(at);
            }
        }
    }
    found
}
