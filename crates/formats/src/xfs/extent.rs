//! Extent records, and the B+tree that holds them where an inode has no room (bmbt).

use super::{FORMAT, check_crc};
use crate::Fault;
use crate::fields::Fields;

/// The length of an extent record.
const LENGTH: usize = 16;
/// The highest level of a tree (`XFS_BTREE_MAXLEVELS`).
pub const DEEPEST: u16 = 9;

/// Consecutive blocks of a file, by `xfs_bmbt_rec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// `br_startoff`: the first block, counted in the file.
    pub start_offset: u64,
    /// `br_blockcount`: the number of blocks.
    pub block_count: u64,
    /// `br_startblock`: the number of the first block in the file system; `None` for an unwritten
    /// extent, which reads as zeros.
    pub start_block: Option<u64>,
}

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// The extents of a leaf.
    Leaf(Vec<Extent>),
    /// The level, above 0, and the blocks of the children.
    Inner(u16, Vec<u64>),
}

/// Reads consecutive extent records; an incomplete one at the end is ignored.
pub fn records(bytes: &[u8]) -> Vec<Extent> {
    let extent = |bytes: &[u8]| {
        let bits = bytes.iter().fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
        let start = (bits >> 21) as u64 & ((1 << 52) - 1);
        Extent {
            start_offset: (bits >> 73) as u64 & ((1 << 54) - 1),
            block_count: bits as u64 & ((1 << 21) - 1),
            start_block: (bits >> 127 == 0).then_some(start),
        }
    };
    bytes.chunks_exact(LENGTH).map(extent).collect()
}

/// Reads the root of a tree, which is in the fork of an inode.
pub fn root(fork: &[u8]) -> Result<Node, Fault> {
    let fields = Fields::of(FORMAT, fork);
    let (level, count) = (fields.be16(0)?, usize::from(fields.be16(2)?));
    let most = fork.len().saturating_sub(4) / 16;
    inner(&fields, level, count, (4, most))
}

/// Reads a node of a tree, which is a block.
pub fn node(block: &[u8], has_crc: bool) -> Result<Node, Fault> {
    let fields = Fields::of(FORMAT, block);
    let (magic, head) = if has_crc { (b"BMA3", 72) } else { (b"BMAP", 24) };
    Fault::unless(fields.slice(0, 4)? == magic, FORMAT, || "no block of extents".into())?;
    if has_crc {
        check_crc(block, 64, "a block of extents")?;
    }
    let (level, count) = (fields.be16(4)?, usize::from(fields.be16(6)?));
    if level == 0 {
        return Ok(Node::Leaf(records(fields.slice(head, count * LENGTH)?)));
    }
    inner(&fields, level, count, (head, block.len().saturating_sub(head) / 16))
}

/// The children of a node with room for `most` keys at `head` and as many pointers behind them.
fn inner(
    fields: &Fields<'_>,
    level: u16,
    count: usize,
    (head, most): (usize, usize),
) -> Result<Node, Fault> {
    Fault::unless((1..=DEEPEST).contains(&level) && count <= most, FORMAT, || {
        format!("a tree of level {level} with {count} of {most} entries")
    })?;
    let blocks = (0..count).map(|index| fields.be64(head + most * 8 + index * 8));
    Ok(Node::Inner(level, blocks.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn extent_records_are_read() {
        let bits: u128 = 5 << 73 | 77 << 21 | 3;
        let extent = Extent { start_offset: 5, block_count: 3, start_block: Some(77) };
        assert_eq!(records(&bits.to_be_bytes()), [extent]);
        let unwritten = Extent { start_block: None, ..extent };
        assert_eq!(records(&(bits | 1 << 127).to_be_bytes()), [unwritten]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 72..200)) {
            let _ = root(&bytes);
            bytes[..4].copy_from_slice(b"BMAP");
            let _ = node(&bytes, false);
        }
    }
}
