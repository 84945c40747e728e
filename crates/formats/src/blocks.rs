//! Maps of the allocated blocks of a disk, which all sparse image formats have in common, and plans
//! that say what to write where. The rest of a disk is zero.

use std::ops::Range;

use super::{Fault, Pieces};
use crate::units::Bytes;

const FORMAT: &str = "disk";

/// The allocated blocks of a disk, all of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockMap {
    disk: Bytes,
    block: Bytes,
    runs: Vec<Range<u64>>,
}

/// A range of the disk to copy to the image file, or, where a plan reads an image, the other way
/// round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyRange {
    /// The offset to read from.
    pub from: Bytes,
    /// The offset to write to.
    pub to: Bytes,
    /// The length; never past the end of the disk.
    pub length: Bytes,
}

/// How to make a file: write the pieces, copy the ranges; the rest is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The structures of the format, ascending.
    pub pieces: Pieces,
    /// The data, ascending on both sides.
    pub copies: Vec<CopyRange>,
    /// The length of the file.
    pub length: Bytes,
}

impl BlockMap {
    /// The blocks of `block` bytes that `extents` (offset and length) touch. Refuses extents that
    /// pass the end of the disk, and blocks of no whole sectors.
    pub fn new(
        disk: Bytes,
        block: Bytes,
        extents: impl IntoIterator<Item = (Bytes, Bytes)>,
    ) -> Result<BlockMap, Fault> {
        let whole = |size: Bytes| size.0 > 0 && size.0.is_multiple_of(crate::units::SECTOR);
        Fault::unless(whole(disk) && whole(block), FORMAT, || {
            format!("{disk} in blocks of {block} is not whole sectors")
        })?;
        let mut touched = Vec::new();
        for (at, length) in extents {
            let end = at.0.checked_add(length.0).filter(|end| *end <= disk.0);
            let end = end.ok_or_else(|| {
                Fault::new(FORMAT, format!("{length} at {at} pass the end of {disk}"))
            })?;
            if length.0 > 0 {
                touched.push(at.0 / block.0..end.div_ceil(block.0));
            }
        }
        touched.sort_by_key(|run| run.start);
        let mut runs: Vec<Range<u64>> = Vec::new();
        for run in touched {
            match runs.last_mut().filter(|last| run.start <= last.end) {
                Some(last) => last.end = last.end.max(run.end),
                None => runs.push(run),
            }
        }
        Ok(BlockMap { disk, block, runs })
    }

    /// The size of the disk.
    pub fn disk(&self) -> Bytes {
        self.disk
    }

    /// The size of a block.
    pub fn block(&self) -> Bytes {
        self.block
    }

    /// The number of blocks of the disk; the last may be partial.
    pub fn count(&self) -> u64 {
        self.disk.0.div_ceil(self.block.0)
    }

    /// The number of allocated blocks.
    pub fn allocated(&self) -> u64 {
        self.runs.iter().map(|run| run.end - run.start).sum()
    }

    /// The allocated blocks, as ascending ranges with gaps between.
    pub fn runs(&self) -> &[Range<u64>] {
        &self.runs
    }

    /// The allocated blocks one by one.
    pub fn indices(&self) -> impl Iterator<Item = u64> {
        self.runs.iter().cloned().flatten()
    }

    /// The same data in blocks of another size.
    pub fn in_blocks_of(&self, block: Bytes) -> Result<BlockMap, Fault> {
        let copies = self.copies_from(Bytes(0));
        BlockMap::new(self.disk, block, copies.iter().map(|copy| (copy.from, copy.length)))
    }

    /// Fails unless blocks have the size that `format` requires.
    pub(super) fn require(&self, format: &'static str, block: Bytes) -> Result<(), Fault> {
        Fault::unless(self.block == block, format, || {
            format!("blocks of {}, it has blocks of {block}", self.block)
        })
    }

    /// One range for each run; the blocks follow each other from `to` on.
    pub fn copies_from(&self, to: Bytes) -> Vec<CopyRange> {
        let mut copies = Vec::new();
        let mut to = to.0;
        for run in &self.runs {
            let (from, end) = (run.start * self.block.0, run.end * self.block.0);
            let length = Bytes(end.min(self.disk.0) - from);
            copies.push(CopyRange { from: Bytes(from), to: Bytes(to), length });
            to += end - from;
        }
        copies
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(extents: &[(u64, u64)]) -> Result<BlockMap, Fault> {
        let extents = extents.iter().map(|(at, length)| (Bytes(*at), Bytes(*length)));
        BlockMap::new(Bytes(10_240), Bytes(1024), extents)
    }

    #[test]
    fn touched_blocks_join_into_runs() {
        let map = map(&[(9000, 1240), (0, 1), (1024, 1), (5000, 200), (7000, 0)]).unwrap();
        assert_eq!(map.runs(), [0..2, 4..6, 8..10]);
        assert_eq!((map.count(), map.allocated()), (10, 6));
        let copies = map.copies_from(Bytes(512));
        let copies: Vec<_> = copies.iter().map(|c| (c.from.0, c.to.0, c.length.0)).collect();
        assert_eq!(copies, [(0, 512, 2048), (4096, 2560, 2048), (8192, 4608, 2048)]);
        assert!(map.in_blocks_of(Bytes(4096)).unwrap().indices().eq(0..3));
    }

    #[test]
    fn the_last_block_may_be_short() {
        let disk = Bytes(1536);
        let map = BlockMap::new(disk, Bytes(1024), [(Bytes(0), disk)]).unwrap();
        assert_eq!(map.copies_from(Bytes(0))[0].length, disk);
        assert!(BlockMap::new(disk, Bytes(100), []).is_err());
    }

    #[test]
    fn extents_past_the_end_are_refused() {
        assert!(map(&[(10_000, 241)]).is_err());
        assert!(map(&[(u64::MAX, 2)]).is_err());
    }

    proptest! {
        #[test]
        fn runs_cover_every_extent(extents in prop::collection::vec((0u64..9000, 0u64..1240), 0..20)) {
            let map = map(&extents).unwrap();
            for (at, length) in extents.into_iter().filter(|(_, length)| *length > 0) {
                prop_assert!(map.runs().iter().any(|r| r.start * 1024 <= at && at + length <= r.end * 1024));
            }
            prop_assert!(map.runs().windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
