//! Finds out which blocks of a disk are not zero. A hole and written zeros are the same here, so
//! that an image of a disk does not depend on how the disk was written.

use std::fs::File;

use crate::cancel::Progress;
use crate::error::Result;
use crate::files::extents::find;
use crate::format::blocks::BlockMap;
use crate::units::Bytes;

/// The smallest block of all formats; a larger one holds data when one of these does.
pub(super) const BLOCK: Bytes = Bytes(64 << 10);
/// How many blocks are read between two checks whether to stop.
const CHECK: u64 = 256;

/// The blocks of 64 KiB of `disk` that are not all zero.
pub(super) fn data_blocks(disk: &File, size: Bytes, progress: Progress<'_>) -> Result<BlockMap> {
    let found = find(disk, size.0, BLOCK.0, |block| match block % CHECK {
        0 => progress.cancel.check(),
        _ => Ok(()),
    })?;
    let found = found.into_iter().map(|(at, length)| (Bytes(at), Bytes(length)));
    Ok(BlockMap::new(size, BLOCK, found)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;
    use std::os::unix::fs::FileExt;

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
    fn a_block_of_two_extents_is_found_once() {
        assert_eq!(blocks(1 << 20, &[(0, &[7; 10]), (20, &[7; 70_000])]), [0, 1]);
        assert_eq!(blocks(1 << 20, &[(200_000, &[7]), (400_000, &[7; 100_000])]), [3, 6, 7]);
    }
}
