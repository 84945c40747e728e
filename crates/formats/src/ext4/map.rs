//! Where the blocks of a file are: a node of the tree of extents, or a block of block numbers.

use super::FORMAT;
use crate::Fault;
use crate::crc32c::update as crc32c;
use crate::fields::Fields;

const MAGIC: u16 = 0xf30a;
/// A tree is never deeper.
pub const DEEPEST: u16 = 5;
/// Longer ones are not written yet and read as zeros.
const WRITTEN: u16 = 1 << 15;

/// Blocks of a file that lie one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first, counted in the file.
    pub first: u32,
    /// How many.
    pub length: u32,
    /// The first, counted in the file system; `None`: they read as zeros.
    pub start: Option<u64>,
}

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Where blocks are.
    Leaf(Vec<Extent>),
    /// The depth of the nodes below; for each the first block of the file it is about, and where it
    /// is.
    Inner(u16, Vec<(u32, u64)>),
}

impl Node {
    /// Reads a node, which is a block or the 60 bytes in an inode. `seed` is the inode's, for a block
    /// that has a checksum.
    pub fn read(bytes: &[u8], seed: Option<u32>) -> Result<Node, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        let (entries, most, depth) = (fields.le16(2)?, fields.le16(4)?, fields.le16(6)?);
        let room = (bytes.len() - 12) / 12;
        let sane = fields.le16(0)? == MAGIC
            && entries <= most
            && usize::from(most) <= room
            && depth <= DEEPEST;
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
        let places = (1..=usize::from(entries)).map(|i| i * 12);
        if depth > 0 {
            let child = |at: usize| -> Result<(u32, u64), Fault> {
                let block = u64::from(fields.le32(at + 4)?) | u64::from(fields.le16(at + 8)?) << 32;
                Ok((fields.le32(at)?, block))
            };
            return Ok(Node::Inner(depth - 1, places.map(child).collect::<Result<_, _>>()?));
        }
        let extent = |at: usize| -> Result<Extent, Fault> {
            let length = fields.le16(at + 4)?;
            let block = u64::from(fields.le32(at + 8)?) | u64::from(fields.le16(at + 6)?) << 32;
            let (length, start) = match length {
                written if written <= WRITTEN => (written, Some(block)),
                unwritten => (unwritten - WRITTEN, None),
            };
            Ok(Extent { first: fields.le32(at)?, length: length.into(), start })
        };
        Ok(Node::Leaf(places.map(extent).collect::<Result<_, _>>()?))
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
            Extent { first: 5, length: 3, start: Some(1 << 32 | 7) },
            Extent { first: 9, length: 2, start: None },
        ];
        assert_eq!(Node::read(&bytes, None), Ok(Node::Leaf(extents)));
        bytes[6] = 1;
        let Ok(Node::Inner(0, children)) = Node::read(&bytes, None) else { panic!() };
        assert_eq!(children[0], (5, 7 << 32 | 0x1_0003));
        for (at, value) in [(0, 0), (2, 5), (4, 9), (6, 6)] {
            let mut wrong = bytes.clone();
            wrong[at] = value;
            assert!(Node::read(&wrong, None).is_err(), "{at}");
        }
    }

    proptest! {
        #[test]
        fn reading_anything_ends(mut bytes in prop::collection::vec(any::<u8>(), 60..200)) {
            bytes[..2].copy_from_slice(&MAGIC.to_le_bytes());
            let _ = Node::read(&bytes, Some(1));
        }
    }
}
