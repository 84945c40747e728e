//! Makes the inodes of a fresh file system the same every time: mkfs.xfs takes their times from the
//! clock and their generation from the kernel's random numbers, and has no option against it (6.13).
//!
//! An inode is recognised by its magic number, the UUID of its file system, its own number, which
//! must be that of its place, and its checksum; so no content of a file can be taken for one.

use super::crc;
use super::inode::BIGTIME_EPOCH;
use super::superblock::Superblock;
use crate::digest::Digest;
use crate::fields::put;
use crate::units::Bytes;

/// Offsets in an inode of version 3 (`xfs_dinode`).
const DI_VERSION: usize = 4;
/// `di_atime`, `di_mtime`, `di_ctime` and `di_crtime`.
const TIMES: [usize; 4] = [32, 40, 48, 144];
const DI_GEN: usize = 92;
const DI_CRC: usize = 100;
const DI_INO: usize = 152;
const DI_UUID: usize = 160;

/// The inodes among `bytes`, which begin at `offset` of the file system, with their offsets and as
/// they should be: all times are `epoch`, in seconds since 1970, and generations follow from UUID and
/// inode number. `offset` is a multiple of the inode size; `superblock` is of version 5 with
/// `bigtime`.
pub fn inodes<'a>(
    superblock: &'a Superblock,
    bytes: &'a [u8],
    offset: Bytes,
    epoch: u64,
) -> impl Iterator<Item = (Bytes, Vec<u8>)> + 'a {
    let size = superblock.inode_size.0 as usize;
    bytes.chunks_exact(size).enumerate().filter_map(move |(index, bytes)| {
        let at = offset + Bytes((index * size) as u64);
        let number = superblock.inode_number(at).to_be_bytes();
        let uuid = superblock.uuid.0;
        let is_inode = bytes.starts_with(b"IN")
            && bytes[DI_VERSION] == 3
            && bytes[DI_UUID..DI_UUID + 16] == uuid
            && bytes[DI_INO..DI_INO + 8] == number
            && bytes[DI_CRC..DI_CRC + 4] == crc(bytes, DI_CRC).to_le_bytes();
        if !is_inode {
            return None;
        }
        let mut inode = bytes.to_vec();
        let time = (BIGTIME_EPOCH as u64 + epoch).saturating_mul(1_000_000_000);
        for at in TIMES {
            // A free inode has no times.
            if inode[at..at + 8] != [0; 8] {
                put(&mut inode, at, &time.to_be_bytes());
            }
        }
        // Any number will do that differs between inodes and file systems.
        let generation = Digest::of([&uuid[..], &number].concat()).0;
        put(&mut inode, DI_GEN, &generation[..4]);
        let sum = crc(&inode, DI_CRC).to_le_bytes();
        put(&mut inode, DI_CRC, &sum);
        Some((at, inode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Guid;

    fn superblock() -> Superblock {
        Superblock {
            block_size: Bytes(4096),
            data_blocks: 100_000,
            free_blocks: 0,
            ag_blocks: 25_600,
            ag_count: 4,
            ag_block_log: 15,
            inode_size: Bytes(512),
            inodes_per_block_log: 3,
            root_inode: 128,
            directory_block_size: Bytes(4096),
            has_file_types: true,
            has_crc: true,
            log_start: 0,
            log_blocks: 0,
            uuid: Guid::from_u128(7),
            label: String::new(),
        }
    }

    #[test]
    fn inode_numbers_follow_the_offset() {
        let superblock = superblock();
        for (offset, number) in [(16 * 4096, 128), (25_600 * 4096 + 4096 + 512, (1 << 18) + 9)] {
            assert_eq!(superblock.inode_number(Bytes(offset)), number);
            assert_eq!(superblock.inode_at(number), Ok(Bytes(offset)));
        }
    }

    #[test]
    fn only_true_inodes_are_changed() {
        let superblock = superblock();
        let mut inode = vec![0u8; 512];
        inode[..2].copy_from_slice(b"IN");
        inode[DI_VERSION] = 3;
        inode[DI_INO + 7] = 128;
        inode[DI_UUID..DI_UUID + 16].copy_from_slice(&superblock.uuid.0);
        inode[TIMES[1]] = 1;
        let sum = crc(&inode, DI_CRC).to_le_bytes();
        inode[DI_CRC..DI_CRC + 4].copy_from_slice(&sum);
        let found = |bytes: &[u8], at: u64| inodes(&superblock, bytes, Bytes(at), 5).count();
        assert_eq!(found(&inode, 16 * 4096), 1);
        assert_eq!(found(&inode, 17 * 4096), 0, "another place");
        inode[300] = 1;
        assert_eq!(found(&inode, 16 * 4096), 0, "a wrong checksum");
    }
}
