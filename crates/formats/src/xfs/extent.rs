//! Extents, and the tree they are in where an inode has no room for them.

use super::{FORMAT, be16, be64, check};
use crate::Fault;
use crate::fields::Fields;

/// The length of an extent.
const LENGTH: usize = 16;
/// A tree is never deeper.
pub const DEEPEST: u16 = 9;

/// Blocks of a file that lie one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first, counted in the file.
    pub first: u64,
    /// How many.
    pub length: u64,
    /// The first, by its number in the file system; `None`: they read as zeros.
    pub start: Option<u64>,
}

/// A block of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Where blocks are.
    Leaf(Vec<Extent>),
    /// The level, above 0, and the blocks of the level below.
    Inner(u16, Vec<u64>),
}

/// Reads extents that lie one behind the other.
pub fn list(bytes: &[u8]) -> Vec<Extent> {
    let extent = |bytes: &[u8]| {
        let bits = bytes.iter().fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
        let start = (bits >> 21) as u64 & ((1 << 52) - 1);
        Extent {
            first: (bits >> 73) as u64 & ((1 << 54) - 1),
            length: bits as u64 & ((1 << 21) - 1),
            start: (bits >> 127 == 0).then_some(start),
        }
    };
    bytes.chunks_exact(LENGTH).map(extent).collect()
}

/// The root of a tree, in a fork.
pub fn root(fork: &[u8]) -> Result<Node, Fault> {
    let fields = Fields::of(FORMAT, fork);
    let (level, count) = (be16(&fields, 0)?, usize::from(be16(&fields, 2)?));
    let most = fork.len().saturating_sub(4) / 16;
    inner(&fields, level, count, (4, most))
}

/// A block of a tree.
pub fn node(block: &[u8], has_sums: bool) -> Result<Node, Fault> {
    let fields = Fields::of(FORMAT, block);
    let (magic, head) = if has_sums { (b"BMA3", 72) } else { (b"BMAP", 24) };
    Fault::unless(fields.slice(0, 4)? == magic, FORMAT, || "no block of extents".into())?;
    if has_sums {
        check(block, 64, "a block of extents")?;
    }
    let (level, count) = (be16(&fields, 4)?, usize::from(be16(&fields, 6)?));
    if level == 0 {
        return Ok(Node::Leaf(list(fields.slice(head, count * LENGTH)?)));
    }
    inner(&fields, level, count, (head, (block.len() - head) / 16))
}

/// Keys for `most` entries from `head` on, and behind them as many blocks.
fn inner(
    fields: &Fields<'_>,
    level: u16,
    count: usize,
    (head, most): (usize, usize),
) -> Result<Node, Fault> {
    Fault::unless((1..=DEEPEST).contains(&level) && count <= most, FORMAT, || {
        format!("a tree of level {level} with {count} of {most} entries")
    })?;
    let blocks = (0..count).map(|index| be64(fields, head + most * 8 + index * 8));
    Ok(Node::Inner(level, blocks.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn extents_are_packed_bits() {
        let bits: u128 = 5 << 73 | 77 << 21 | 3;
        let extent = Extent { first: 5, length: 3, start: Some(77) };
        assert_eq!(list(&bits.to_be_bytes()), [extent]);
        let unwritten = Extent { start: None, ..extent };
        assert_eq!(list(&(bits | 1 << 127).to_be_bytes()), [unwritten]);
    }

    proptest! {
        #[test]
        fn reading_anything_ends(mut bytes in prop::collection::vec(any::<u8>(), 72..200)) {
            let _ = root(&bytes);
            bytes[..4].copy_from_slice(b"BMAP");
            let _ = node(&bytes, false);
        }
    }
}
