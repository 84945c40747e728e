//! Where the blocks of a file are: along the tree of extents, or, of ext2 and ext3, along lists of
//! block numbers.

use crate::error::{Context, Result, bail, ensure};
use crate::format::ext4::extent::{MAX_DEPTH, Node};
use crate::format::ext4::inode::{Inode, flag};
use crate::import::filesystem::{Run, Runs};

use super::Ext4;

/// Block numbers in an inode: of blocks, then of lists one, two and three deep.
const DIRECT: usize = 12;

impl Ext4 {
    /// The runs of the file of an inode, up to its size.
    pub(super) fn runs(&self, inode: &Inode) -> Result<Runs> {
        let what = || format!("finding the blocks of inode {}", inode.number);
        let mut runs = Runs::default();
        if inode.has(flag::EXTENTS) {
            let root = Node::read(&inode.block, None).with_context(what)?;
            let mut walk = Extents { of: self, inode, runs: &mut runs, next: 0, nodes: 0 };
            walk.node(root, MAX_DEPTH).with_context(what)?;
        } else {
            let end = inode.size.0.div_ceil(self.superblock().block_size().0);
            let mut walk = Lists { of: self, runs: &mut runs, at: 0, end };
            walk.inode(inode).with_context(what)?;
        }
        Ok(runs)
    }
}

/// A walk along a tree of extents, which must go forward all the time.
struct Extents<'a> {
    of: &'a Ext4,
    inode: &'a Inode,
    runs: &'a mut Runs,
    /// The block of the file that comes next at the earliest.
    next: u64,
    /// How many nodes were read.
    nodes: u64,
}

impl Extents<'_> {
    fn node(&mut self, node: Node, most: u16) -> Result<()> {
        match node {
            Node::Leaf(extents) => {
                for extent in extents {
                    let (first, length) = (u64::from(extent.block), u64::from(extent.length));
                    ensure!(first >= self.next && length > 0, "its extents overlap at {first}");
                    self.next = first + length;
                    let Some(start) = extent.start else { continue };
                    let blocks = self.of.superblock().blocks_count;
                    let end = start.checked_add(length);
                    ensure!(end.is_some_and(|end| end <= blocks), "{length} blocks at {start}");
                    let block = self.of.superblock().block_size().0;
                    self.runs.push(Run {
                        at: first * block,
                        length: length * block,
                        from: start * block,
                    })?;
                }
            }
            Node::Index { depth, children } => {
                ensure!(depth < most, "its tree of extents gets no shallower");
                for block in children {
                    self.nodes += 1;
                    ensure!(self.nodes <= self.of.superblock().blocks_count, "its tree has no end");
                    let bytes = self.of.block(block)?;
                    let node = Node::read(&bytes, self.inode.seed)
                        .with_context(|| format!("reading block {block}"))?;
                    match &node {
                        Node::Leaf(_) if depth == 0 => {}
                        Node::Index { depth: below, .. } if *below + 1 == depth => {}
                        _ => bail!("block {block} is of another depth"),
                    }
                    self.node(node, depth)?;
                }
            }
        }
        Ok(())
    }
}

/// A walk along lists of block numbers.
struct Lists<'a> {
    of: &'a Ext4,
    runs: &'a mut Runs,
    /// The block of the file that comes next.
    at: u64,
    /// The block behind its last.
    end: u64,
}

impl Lists<'_> {
    fn inode(&mut self, inode: &Inode) -> Result<()> {
        for (i, number) in numbers(&inode.block).enumerate() {
            self.list(number, i.saturating_sub(DIRECT - 1) as u32)?;
        }
        Ok(())
    }

    /// A block, or a list `depth` deep; 0 is a hole.
    fn list(&mut self, number: u32, depth: u32) -> Result<()> {
        if self.at >= self.end {
            return Ok(());
        }
        let block = self.of.superblock().block_size().0;
        if number == 0 {
            self.at = self.at.saturating_add((block / 4).pow(depth));
            return Ok(());
        }
        ensure!(
            u64::from(number) < self.of.superblock().blocks_count,
            "there is no block {number}"
        );
        if depth == 0 {
            let run = Run { at: self.at * block, length: block, from: u64::from(number) * block };
            self.at += 1;
            return self.runs.push(run);
        }
        let list = self.of.block(number.into())?;
        for number in numbers(&list) {
            self.list(number, depth - 1)?;
        }
        Ok(())
    }
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes
        .chunks_exact(4)
        .map(|number| u32::from_le_bytes([number[0], number[1], number[2], number[3]]))
}
