//! One block of a directory (`ext4_dir_entry_2`). The blocks of a hash tree look like unused entries.

use super::FORMAT;
use crate::Fault;
use crate::crc32c::update as crc32c;
use crate::fields::Fields;

/// The file type of the fake entry that holds the checksum of a block (`ext4_dir_entry_tail`).
const TAIL: u8 = 0xde;

/// What is in a block of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Entries alone.
    Leaf,
    /// The root of a hash tree, behind the entries `.` and `..`.
    Root,
    /// A node of a hash tree.
    Node,
}

impl Kind {
    /// What `block`, the block `number` of a directory, has; `has_index`: its inode says that there is a
    /// hash tree. As Linux finds out.
    pub fn of(block: &[u8], number: u64, has_index: bool) -> Kind {
        let length = block.get(4..6).map_or(0, |length| u16::from_le_bytes([length[0], length[1]]));
        let is_whole = usize::from(length) == block.len()
            || block.len() == 1 << 16 && matches!(length, 0 | 0xffff);
        match (has_index, number) {
            (false, _) => Kind::Leaf,
            (true, 0) => Kind::Root,
            (true, _) if is_whole => Kind::Node,
            (true, _) => Kind::Leaf,
        }
    }

    /// Compares the checksum of a block of a hash tree (`dx_tail`). Without checksums a damaged tree does
    /// no harm: Linux reads the blocks of entries in order, as kuth does.
    ///
    /// # Errors
    ///
    /// It is wrong, or the tree does not fit in its block.
    pub fn check(self, block: &[u8], seed: Option<u32>) -> Result<(), Fault> {
        let Some(seed) = seed else { return Ok(()) };
        let counts = match self {
            Kind::Leaf => return Ok(()),
            Kind::Root => 32,
            Kind::Node => 8,
        };
        let fields = Fields::of(FORMAT, block);
        let (limit, count) =
            (usize::from(fields.le16(counts)?), usize::from(fields.le16(counts + 2)?));
        let tail = counts + limit * 8;
        Fault::unless(count <= limit && tail + 8 <= block.len(), FORMAT, || {
            format!("a hash tree with {count} of {limit} entries in a directory's block")
        })?;
        let sum = crc32c(seed, &block[..counts + count * 8]);
        let sum = crc32c(crc32c(sum, fields.slice(tail, 4)?), &[0; 4]);
        Fault::unless(sum == fields.le32(tail + 4)?, FORMAT, || {
            "the checksum of a directory's hash tree is wrong".into()
        })
    }
}

/// Whether the block of entries `block` has its checksum.
fn has_sum(block: &[u8]) -> bool {
    block.len().checked_sub(12).is_some_and(|at| block[at..at + 8] == [0, 0, 0, 0, 12, 0, 0, TAIL])
}

/// Reads the names in `block` with their inode numbers, without `.` and `..`. `seed` is the checksum
/// seed of the directory's inode, if it has one; then the block has to have a checksum.
pub fn read(block: &[u8], seed: Option<u32>) -> Result<Vec<(&[u8], u32)>, Fault> {
    Fault::unless(seed.is_none() || has_sum(block), FORMAT, || {
        "a directory's block has no checksum".into()
    })?;
    let fields = Fields::of(FORMAT, block);
    let mut names = Vec::new();
    let mut at = 0;
    while at + 8 <= block.len() {
        let inode = fields.le32(at)?;
        let length = match usize::from(fields.le16(at + 4)?) {
            // A block of 64 KiB as a whole.
            0 | 0xffff => 1 << 16,
            length => length,
        };
        let (name, kind) = (usize::from(fields.u8(at + 6)?), fields.u8(at + 7)?);
        let fits =
            length >= 12.max(8 + name) && length.is_multiple_of(4) && at + length <= block.len();
        Fault::unless(fits, FORMAT, || {
            format!(
                "an entry of {length} bytes with a name of {name}, at {at} of a directory's block"
            )
        })?;
        if let (Some(seed), 0, 12, 0, TAIL) = (seed, inode, length, name, kind) {
            Fault::unless(crc32c(seed, &block[..at]) == fields.le32(at + 8)?, FORMAT, || {
                "the checksum of a directory's block is wrong".into()
            })?;
        }
        let name = fields.slice(at + 8, name)?;
        if inode != 0 && name != b"." && name != b".." {
            names.push((name, inode));
        }
        at += length;
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unused_entries_are_left_out() {
        let mut block = vec![0; 64];
        block[..9].copy_from_slice(&[2, 0, 0, 0, 12, 0, 1, 2, b'.']);
        block[12..23].copy_from_slice(&[7, 0, 0, 0, 20, 0, 3, 1, b'a', b'b', b'c']);
        block[36] = 32;
        block[32..40].copy_from_slice(&[0, 0, 0, 0, 32, 0, 0, 0]);
        assert_eq!(read(&block, None), Ok(vec![(b"abc".as_slice(), 7)]));
        for (at, value) in [(4, 8), (4, 13), (18, 20), (36, 36)] {
            let mut wrong = block.clone();
            wrong[at] = value;
            assert!(read(&wrong, None).is_err(), "{at}");
        }
    }

    #[test]
    fn blocks_of_a_hash_tree_are_known_as_linux_knows_them() {
        let block = |length: u16| {
            let mut block = vec![0; 1024];
            block[4..6].copy_from_slice(&length.to_le_bytes());
            block
        };
        assert_eq!(Kind::of(&block(1024), 0, true), Kind::Root);
        assert_eq!(Kind::of(&block(1024), 1, true), Kind::Node);
        assert_eq!(Kind::of(&block(1012), 1, true), Kind::Leaf);
        assert_eq!(Kind::of(&block(1024), 1, false), Kind::Leaf);
        assert_eq!(Kind::of(&[0; 12], 1, true), Kind::Leaf);
        let mut node = block(1024);
        node[8..12].copy_from_slice(&[126, 0, 2, 0]);
        let sum = crc32c(crc32c(crc32c(7, &node[..24]), &[0; 4]), &[0; 4]);
        node[1020..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Kind::Node.check(&node, Some(7)), Ok(()));
        for at in [10, 23, 1016, 1020] {
            let mut wrong = node.clone();
            wrong[at] ^= 1;
            assert!(Kind::Node.check(&wrong, Some(7)).is_err(), "{at}");
        }
        node[8] = 128;
        assert!(Kind::Node.check(&node, Some(7)).is_err() && Kind::Node.check(&node, None).is_ok());
        assert!(Kind::Root.check(&[0; 20], Some(7)).is_err());
        // Nothing but a checksum at its end makes a block of entries sound.
        assert!(read(&block(1024), Some(7)).is_err() && read(&block(1024), None).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(block in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (read(&block, Some(1)), read(&block, None));
            let _ = (Kind::Root.check(&block, Some(1)), Kind::Node.check(&block, Some(2)));
        }
    }
}
