//! A node of the extent tree: header, then leaf or index entries (`ext4_extent_header`,
//! `ext4_extent`, `ext4_extent_idx`).

use super::FORMAT;
use crate::Fault;
use crate::crc32c::update as crc32c;
use crate::fields::Fields;

const MAGIC: u16 = 0xf30a;
/// The greatest depth of a tree.
pub const MAX_DEPTH: u16 = 5;
/// The greatest `ee_len` of a written extent; longer ones are unwritten and read as zeros.
const MAX_WRITTEN: u16 = 1 << 15;

/// Consecutive blocks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// `ee_block`: the first block, counted in the file.
    pub block: u32,
    /// `ee_len`: the number of blocks.
    pub length: u32,
    /// `ee_start`: the first block, counted in the file system; `None` for an unwritten extent,
    /// which reads as zeros.
    pub start: Option<u64>,
}

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// The extents of a leaf.
    Leaf(Vec<Extent>),
    /// An index node.
    Index {
        /// The depth of the children; 0 for leaves.
        depth: u16,
        /// `ei_leaf`: the block of each child, counted in the file system.
        children: Vec<u64>,
    },
}

impl Node {
    /// Reads a node, which is a block or the 60 bytes of `i_block`. `seed` is the checksum seed of the
    /// inode, for a block that has a checksum.
    pub fn read(bytes: &[u8], seed: Option<u32>) -> Result<Node, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        let (entries, most, depth) = (fields.le16(2)?, fields.le16(4)?, fields.le16(6)?);
        let room = bytes.len().saturating_sub(12) / 12;
        let sane = fields.le16(0)? == MAGIC
            && entries <= most
            && usize::from(most) <= room
            && depth <= MAX_DEPTH;
        Fault::unless(sane, FORMAT, || {
            format!("a node of extents with {entries} of {most} entries, {depth} deep")
        })?;
        if let Some(seed) = seed {
            let end = 12 + usize::from(most) * 12;
            let sum = fields.le32(end)?;
            Fault::unless(crc32c(seed, &bytes[..end]) == sum, FORMAT, || {
                "the checksum of a node of extents is wrong".into()
            })?;
        }
        let offsets = (1..=usize::from(entries)).map(|i| i * 12);
        if depth > 0 {
            let child = |at: usize| -> Result<u64, Fault> {
                Ok(u64::from(fields.le32(at + 4)?) | u64::from(fields.le16(at + 8)?) << 32)
            };
            let children = offsets.map(child).collect::<Result<_, _>>()?;
            return Ok(Node::Index { depth: depth - 1, children });
        }
        let extent = |at: usize| -> Result<Extent, Fault> {
            let length = fields.le16(at + 4)?;
            let start = u64::from(fields.le32(at + 8)?) | u64::from(fields.le16(at + 6)?) << 32;
            let (length, start) = match length {
                written if written <= MAX_WRITTEN => (written, Some(start)),
                unwritten => (unwritten - MAX_WRITTEN, None),
            };
            Ok(Extent { block: fields.le32(at)?, length: length.into(), start })
        };
        Ok(Node::Leaf(offsets.map(extent).collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn extents_are_read() {
        let mut bytes = vec![0; 60];
        bytes[..8].copy_from_slice(&[0x0a, 0xf3, 2, 0, 4, 0, 0, 0]);
        bytes[12..24].copy_from_slice(&[5, 0, 0, 0, 3, 0, 1, 0, 7, 0, 0, 0]);
        bytes[24..36].copy_from_slice(&[9, 0, 0, 0, 2, 0x80, 0, 0, 7, 0, 0, 0]);
        let extents = vec![
            Extent { block: 5, length: 3, start: Some(1 << 32 | 7) },
            Extent { block: 9, length: 2, start: None },
        ];
        assert_eq!(Node::read(&bytes, None), Ok(Node::Leaf(extents)));
        bytes[6] = 1;
        let Ok(Node::Index { depth: 0, children }) = Node::read(&bytes, None) else { panic!() };
        assert_eq!(children[0], 7 << 32 | 0x1_0003);
        for (at, value) in [(0, 0), (2, 5), (4, 9), (6, 6)] {
            let mut wrong = bytes.clone();
            wrong[at] = value;
            assert!(Node::read(&wrong, None).is_err(), "{at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 60..200)) {
            bytes[..2].copy_from_slice(&MAGIC.to_le_bytes());
            let _ = Node::read(&bytes, Some(1));
        }
    }
}
