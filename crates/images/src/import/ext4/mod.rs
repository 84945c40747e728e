//! ext2, ext3 and ext4 as a [`Filesystem`]. A journal that was not emptied is replayed in memory,
//! so what is read is what the system would have found.

use std::sync::Arc;

use crate::error::{Context, Hint, Result, anyhow, ensure};
use crate::format::ext4::attribute::{self, Value};
use crate::format::ext4::directory;
use crate::format::ext4::inode::{I_BLOCK, Inode, flag};
use crate::format::ext4::superblock::{LENGTH, OFFSET, Superblock};

use super::filesystem::{Content, Filesystem, Kind, Names, Node};
use crate::image::source::{Recent, Shared, bytes};

mod blocks;
mod journal;

/// The number of the root's inode.
const ROOT_INODE: u32 = 2;
/// What blocks of inodes may take in memory.
const MEMORY: usize = 4 << 20;
/// Nothing links further.
const LONGEST_LINK: u64 = 4096;

/// A file system that was opened.
pub struct Ext4 {
    source: Shared,
    superblock: Superblock,
    /// Blocks with inodes and descriptors.
    recent: Recent,
}

impl Ext4 {
    /// Opens what is in `source`.
    pub fn open(source: Shared) -> Result<Ext4> {
        let superblock = read_superblock(&source)?;
        let mut opened = Ext4::with(source, superblock);
        if opened.superblock.needs_recovery() {
            opened = opened.replayed().context("replaying the journal")?;
        } else if opened.has_disowned_journal() {
            return Err(anyhow!("its journal holds changes, and it says that it was unmounted"))
                .hint("the kernel would drop them, e2fsck asks: run e2fsck on the file system");
        }
        Ok(opened)
    }

    fn with(source: Shared, superblock: Superblock) -> Ext4 {
        let recent = Recent::of(MEMORY, superblock.block_size().0 as usize);
        Ext4 { source, superblock, recent }
    }

    fn replayed(self) -> Result<Ext4> {
        let number = self.superblock.journal_inode.filter(|number| *number != 0);
        let number = number.ok_or_else(|| anyhow!("it lies on another disk"));
        let number = number.hint("mount the file system once, or run e2fsck on it")?;
        let inode = self.inode(number)?;
        let runs = self.runs(&inode)?;
        let replayed = journal::replay(self.source.clone(), self.superblock.block_size().0, &runs)?;
        let source: Shared = Arc::new(replayed);
        let superblock = read_superblock(&source)?;
        Ok(Ext4::with(source, superblock))
    }

    /// Whether the journal holds changes that the superblock denies. One that cannot be read holds
    /// none that anybody needs.
    fn has_disowned_journal(&self) -> bool {
        let Some(number) = self.superblock.journal_inode.filter(|number| *number != 0) else {
            return false;
        };
        let runs = self.inode(number).and_then(|inode| self.runs(&inode));
        let block = self.superblock.block_size().0;
        runs.and_then(|runs| journal::holds_changes(&*self.source, block, &runs)).unwrap_or(false)
    }

    /// What its superblock says.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// `length` bytes at `at`, which do not leave their block.
    fn within_block(&self, at: u64, length: usize) -> Result<Vec<u8>> {
        let size = self.superblock.block_size().0;
        let index = at / size;
        let block = self.recent.get(index, || self.block(index))?;
        let start = (at % size) as usize;
        let slice = block.get(start..start + length).context("a structure leaves its block")?;
        Ok(slice.to_vec())
    }

    /// A whole block.
    fn block(&self, index: u64) -> Result<Vec<u8>> {
        ensure!(index < self.superblock.blocks_count, "there is no block {index}");
        bytes(
            &*self.source,
            index * self.superblock.block_size().0,
            self.superblock.block_size().0 as usize,
        )
        .with_context(|| format!("reading block {index}"))
    }

    fn inode(&self, number: u32) -> Result<Inode> {
        let of = &self.superblock;
        ensure!(number > 0 && number <= of.inodes_count, "there is no inode {number}");
        let (group, index) =
            ((number - 1) / of.inodes_per_group, (number - 1) % of.inodes_per_group);
        let at = of.descriptor_at(group.into()).0;
        let descriptor = self
            .within_block(at, of.descriptor_size.into())
            .with_context(|| format!("reading the descriptor of group {group} at {at}"))?;
        let table = of.inode_table(&descriptor, group.into())?;
        ensure!(table < of.blocks_count, "the inodes of group {group} lie in block {table}");
        let at = table * of.block_size().0 + u64::from(index) * u64::from(of.inode_size);
        let bytes = self
            .within_block(at, of.inode_size.into())
            .with_context(|| format!("reading inode {number} at {at}"))?;
        Inode::read(&bytes, number, of).with_context(|| format!("at byte {at}"))
    }

    /// The inode of a node of the tree, which is in use.
    fn used(&self, node: u64) -> Result<Inode> {
        let inode = self.inode(u32::try_from(node).context("a number of 64 bits")?)?;
        if inode.has(flag::ENCRYPTED) {
            return Err(anyhow!("inode {node} is encrypted"))
                .hint("kuth cannot read what fscrypt encrypted; decrypt it in the guest first");
        }
        ensure!(
            !inode.has(flag::COMPRESSED) || inode.has(flag::EXTENTS),
            "inode {node} is compressed"
        );
        Ok(inode)
    }

    /// All attributes, the content of small files among them.
    fn values(&self, inode: &Inode) -> Result<Vec<(String, Value)>> {
        let mut values = attribute::in_inode(&inode.rest)?;
        if inode.file_acl != 0 {
            let block = self.block(inode.file_acl)?;
            values.extend(attribute::in_block(&block, inode.file_acl, self.superblock.seed)?);
        }
        Ok(values)
    }

    fn value(&self, value: Value) -> Result<Vec<u8>> {
        match value {
            Value::Local(bytes) => Ok(bytes),
            Value::Inode { number, size } => {
                let inode = self.inode(number)?;
                let right = inode.has(flag::EA_INODE) && inode.size == size;
                ensure!(right, "inode {number} holds no attribute of {} bytes", size.0);
                let runs = self.runs(&inode)?;
                Content::new(self.source.clone(), runs, size.0).all(attribute::LONGEST)
            }
        }
    }

    /// The content of a small file, in the inode and in an attribute.
    fn small(&self, inode: &Inode) -> Result<Vec<u8>> {
        let mut content = inode.block.to_vec();
        let number = inode.number;
        let mut values = self.values(inode)?.into_iter();
        // It is there even where all fits in the inode.
        let rest = values.find(|(name, _)| name == attribute::INLINE_DATA);
        let (_, rest) = rest.with_context(|| format!("half of inode {number} is missing"))?;
        content.extend(self.value(rest)?);
        ensure!(inode.size.0 <= content.len() as u64, "inode {number} is cut short");
        content.truncate(inode.size.0 as usize);
        Ok(content)
    }
}

fn read_superblock(source: &Shared) -> Result<Superblock> {
    let superblock = Superblock::read(&bytes(&**source, OFFSET.0, LENGTH)?)?;
    let (blocks, block) = (superblock.blocks_count, superblock.block_size().0);
    ensure!(
        blocks.checked_mul(block).is_some_and(|size| size <= source.size()),
        "cut short: {blocks} blocks of {block} bytes in {} bytes",
        source.size()
    );
    Ok(superblock)
}

impl Filesystem for Ext4 {
    fn root(&self) -> u64 {
        ROOT_INODE.into()
    }

    fn bytes_used(&self) -> Result<Option<u64>> {
        let of = &self.superblock;
        let blocks = of.blocks_count.checked_sub(of.free_blocks_count);
        Ok(blocks.map(|blocks| blocks * of.block_size().0))
    }

    fn node(&self, node: u64) -> Result<Node> {
        let inode = self.used(node)?;
        let kind = Kind::of(inode.mode, inode.device());
        let kind = kind.with_context(|| format!("inode {node} has the mode {:#o}", inode.mode))?;
        Ok(Node {
            kind,
            mode: u32::from(inode.mode) & 0o7777,
            uid: inode.uid,
            gid: inode.gid,
            time: inode.mtime,
            size: inode.size.0,
            links: inode.links.into(),
        })
    }

    fn names(&self, node: u64, most: usize) -> Result<Names> {
        let inode = self.used(node)?;
        let mut names = Names::new();
        let mut take = |block: &[u8], seed: Option<u32>| -> Result<()> {
            for (name, inode) in directory::read(block, seed)? {
                ensure!(names.len() < most, "too many names");
                names.push((name.to_vec(), inode.into()));
            }
            Ok(())
        };
        if inode.has(flag::INLINE_DATA) {
            // The first four bytes are the directory above; what does not fit is a list of its own.
            let content = self.small(&inode)?;
            ensure!(content.len() >= I_BLOCK, "a directory of {} bytes", content.len());
            let (first, rest) = content.split_at(I_BLOCK);
            take(&first[4..], None)?;
            take(rest, None)?;
            return Ok(names);
        }
        let block = self.superblock.block_size().0;
        ensure!(inode.size.0.is_multiple_of(block), "a directory of {} bytes", inode.size.0);
        let mut next = 0;
        for run in self.runs(&inode)?.iter() {
            let end = (run.at + run.length).min(inode.size.0);
            for at in (run.at..end).step_by(block as usize) {
                ensure!(at == next, "the directory has a hole at byte {next}");
                next = at + block;
                let index = (run.from + (at - run.at)) / block;
                let what = || format!("at byte {}", index * block);
                let bytes = self.block(index)?;
                let kind = directory::Kind::of(&bytes, at / block, inode.has(flag::INDEX));
                kind.check(&bytes, inode.seed).with_context(what)?;
                let seed = inode.seed.filter(|_| kind == directory::Kind::Leaf);
                take(&bytes, seed).with_context(what)?;
            }
        }
        ensure!(next >= inode.size.0, "the directory has a hole at byte {next}");
        Ok(names)
    }

    fn target(&self, node: u64) -> Result<Vec<u8>> {
        let inode = self.used(node)?;
        ensure!(
            inode.size.0 > 0 && inode.size.0 < LONGEST_LINK,
            "a link of {} bytes",
            inode.size.0
        );
        // Short ones are where the map of blocks would be. Blocks that are counted may be of
        // attributes.
        let unmapped = inode.blocks.0 == 0 || inode.file_acl != 0;
        let short = inode.size.0 < I_BLOCK as u64 && !inode.has(flag::EXTENTS) && unmapped;
        if short && !inode.has(flag::INLINE_DATA) {
            return Ok(inode.block[..inode.size.0 as usize].to_vec());
        }
        self.content(node)?.all(LONGEST_LINK)
    }

    fn attributes(&self, node: u64) -> Result<Vec<(String, Vec<u8>)>> {
        let inode = self.used(node)?;
        let mut attributes = Vec::new();
        for (name, value) in self.values(&inode)? {
            if name != attribute::INLINE_DATA {
                attributes.push((name, self.value(value)?));
            }
        }
        Ok(attributes)
    }

    fn content(&self, node: u64) -> Result<Content> {
        let inode = self.used(node)?;
        if inode.has(flag::INLINE_DATA) {
            return Ok(Content::here(self.small(&inode)?));
        }
        let runs = self.runs(&inode)?;
        Ok(Content::new(self.source.clone(), runs, inode.size.0))
    }
}
