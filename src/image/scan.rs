//! Finds out which blocks of a disk are not zero. A hole and written zeros are the same here, so
//! that an image of a disk does not depend on how the disk was written.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::cancel::Progress;
use crate::error::Result;
use crate::files::sparse::{data_extents, is_blank, is_zero};
use crate::format::blocks::BlockMap;
use crate::units::Bytes;

/// The smallest block of all formats; a larger one holds data when one of these does.
pub(super) const BLOCK: Bytes = Bytes(64 << 10);
/// What is read of a block first: most blocks with data show it at once.
const GLANCE: usize = 4096;
/// Blocks between two looks at whether to stop.
const PAUSE: u64 = 256;

/// The blocks of 64 KiB of `disk` that are not all zero.
pub(super) fn data_blocks(disk: &File, size: Bytes, progress: Progress<'_>) -> Result<BlockMap> {
    let mut buffer = vec![0; BLOCK.0 as usize];
    let mut found = Vec::new();
    for blocks in candidates(&data_extents(disk)?) {
        for block in blocks {
            if block % PAUSE == 0 {
                progress.cancel.check()?;
            }
            let at = block * BLOCK.0;
            let length = BLOCK.0.min(size.0 - at);
            if holds_data(disk, at, &mut buffer[..length as usize])? {
                found.push((Bytes(at), Bytes(length)));
            }
        }
    }
    Ok(BlockMap::new(size, BLOCK, found)?)
}

/// The blocks that extents touch, each once.
fn candidates(extents: &[(u64, u64)]) -> Vec<Range<u64>> {
    let mut next = 0;
    let mut ranges = Vec::new();
    for (start, length) in extents {
        let range = (start / BLOCK.0).max(next)..(start + length).div_ceil(BLOCK.0);
        next = next.max(range.end);
        if !range.is_empty() {
            ranges.push(range);
        }
    }
    ranges
}

fn holds_data(disk: &File, at: u64, block: &mut [u8]) -> io::Result<bool> {
    let glance = GLANCE.min(block.len());
    let (head, rest) = block.split_at_mut(glance);
    disk.read_exact_at(head, at)?;
    if !is_blank(head) {
        return Ok(true);
    }
    disk.read_exact_at(rest, at + glance as u64)?;
    Ok(!is_zero(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;

    fn blocks(size: u64, data: &[(u64, &[u8])]) -> Vec<u64> {
        let disk = tempfile::tempfile().unwrap();
        disk.set_len(size).unwrap();
        for (at, bytes) in data {
            disk.write_all_at(bytes, *at).unwrap();
        }
        let progress = Progress { cancel: &Cancel::default(), report: &|_, _| () };
        data_blocks(&disk, Bytes(size), progress).unwrap().indices().collect()
    }

    #[test]
    fn written_zeros_are_no_data() {
        let size = (10 << 16) + 512;
        assert!(blocks(size, &[(0, &[0; 300_000]), (size - 512, &[0; 512])]).is_empty());
        let ends = [((3 << 16) - 1, [7].as_slice()), (size - 1, &[7])];
        assert_eq!(blocks(size, &ends), [2, 10]);
        assert_eq!(blocks(size, &[(65_535, &[7, 7])]), [0, 1]);
    }

    #[test]
    fn a_block_of_two_extents_is_looked_at_once() {
        assert_eq!(candidates(&[(0, 10), (20, 70_000), (65_600, 1)]), [0..1, 1..2]);
        assert_eq!(candidates(&[(200_000, 1), (400_000, 100_000)]), [3..4, 6..8]);
    }
}
