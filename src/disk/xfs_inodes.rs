//! Makes the inodes of a fresh XFS the same every time: mkfs.xfs takes their times from the clock
//! and their generation from the kernel's random numbers, and has no option against it (6.13).
//!
//! An inode is recognized by its magic, its filesystem's UUID, its own number, which must be the
//! one of its place, and its checksum; so no file's content can be taken for one.
//!
//! Source: "XFS Algorithms & Data Structures", 3rd edition, chapters 12 and 14.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::digest::Digest;
use crate::error::{Context, Result, ensure};
use crate::files::sparse::data_extents;
use crate::format::Guid;

/// The size kuth makes inodes.
const INODE: usize = 512;
/// Fields of an inode, version 3, all but the checksum big endian.
const VERSION: usize = 4;
const TIMES: [usize; 4] = [32, 40, 48, 144];
const GENERATION: usize = 92;
const CHECKSUM: usize = 100;
const NUMBER: usize = 152;
const UUID: usize = 160;
/// With the feature `bigtime` times count nanoseconds since 1901.
const BIGTIME_EPOCH: u64 = 1 << 31;

/// What of the superblock is needed to tell where an inode lies.
struct Geometry {
    block: u64,
    group_blocks: u64,
    group_bits: u8,
    inode_bits: u8,
}

/// Sets times and generations of all inodes in `image`.
pub fn settle(image: &Path, epoch: u64, uuid: &Guid) -> Result<()> {
    let file = File::options().read(true).write(true).open(image).context("opening it")?;
    let mut head = [0; INODE];
    file.read_exact_at(&mut head, 0).context("reading the superblock")?;
    ensure!(head.starts_with(b"XFSB"), "there is no superblock");
    ensure!(
        u16::from_be_bytes([head[104], head[105]]) as usize == INODE,
        "its inodes are not 512 bytes"
    );
    let be32 = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let geometry = Geometry {
        block: u64::from(be32(4)),
        group_blocks: u64::from(be32(84)),
        group_bits: head[124],
        inode_bits: head[123],
    };
    ensure!(
        geometry.block >= INODE as u64 && geometry.group_blocks > 0,
        "its superblock is damaged"
    );
    let mut buffer = vec![0; 1 << 20];
    for (start, length) in data_extents(&file).context("looking for data")? {
        let (mut at, end) = (start / INODE as u64 * INODE as u64, start + length);
        while at < end {
            let n = (buffer.len() as u64).min(end - at).next_multiple_of(INODE as u64) as usize;
            let bytes = &mut buffer[..n];
            file.read_exact_at(bytes, at).context("reading it")?;
            settle_piece(bytes, at, &geometry, epoch, uuid)
                .try_for_each(|(place, inode)| file.write_all_at(&inode, place))
                .context("writing it")?;
            at += n as u64;
        }
    }
    Ok(())
}

/// The inodes among the sectors of `bytes`, which lie at `at`, as they should be.
fn settle_piece<'a>(
    bytes: &'a [u8],
    at: u64,
    geometry: &'a Geometry,
    epoch: u64,
    uuid: &'a Guid,
) -> impl Iterator<Item = (u64, Vec<u8>)> + 'a {
    bytes.chunks_exact(INODE).enumerate().filter_map(move |(index, sector)| {
        let place = at + (index * INODE) as u64;
        let number = geometry.number(place);
        let is_inode = sector.starts_with(b"IN")
            && sector[VERSION] == 3
            && sector[UUID..UUID + 16] == uuid.0
            && sector[NUMBER..NUMBER + 8] == number.to_be_bytes()
            && sector[CHECKSUM..CHECKSUM + 4] == checksum(sector).to_le_bytes();
        if !is_inode {
            return None;
        }
        let mut inode = sector.to_vec();
        let time = (BIGTIME_EPOCH + epoch).saturating_mul(1_000_000_000);
        for at in TIMES {
            // A free inode has no times.
            if inode[at..at + 8] != [0; 8] {
                inode[at..at + 8].copy_from_slice(&time.to_be_bytes());
            }
        }
        // Any number will do that differs between inodes and filesystems.
        let generation = Digest::of([&uuid.0[..], &number.to_be_bytes()].concat()).0;
        inode[GENERATION..GENERATION + 4].copy_from_slice(&generation[..4]);
        let sum = checksum(&inode).to_le_bytes();
        inode[CHECKSUM..CHECKSUM + 4].copy_from_slice(&sum);
        Some((place, inode))
    })
}

impl Geometry {
    /// The number of the inode that would lie at this byte.
    fn number(&self, at: u64) -> u64 {
        let block = at / self.block;
        let (group, block) = (block / self.group_blocks, block % self.group_blocks);
        let index = (at % self.block) / INODE as u64;
        (group << self.group_bits | block) << self.inode_bits | index
    }
}

/// CRC-32C over an inode with zeros for the checksum itself.
fn checksum(inode: &[u8]) -> u32 {
    let bytes = inode.iter().enumerate().map(|(at, byte)| match at {
        CHECKSUM..=103 => 0,
        _ => *byte,
    });
    !bytes.fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            sum >> 1 ^ (0x82f6_3b78 & (sum & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc_32c() {
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn numbers_follow_the_place() {
        let geometry =
            Geometry { block: 4096, group_blocks: 25_600, group_bits: 15, inode_bits: 3 };
        assert_eq!(geometry.number(16 * 4096), 128);
        assert_eq!(geometry.number(25_600 * 4096 + 4096 + 512), (1 << 18) + 9);
    }

    #[test]
    fn only_true_inodes_are_touched() {
        let geometry =
            Geometry { block: 4096, group_blocks: 25_600, group_bits: 15, inode_bits: 3 };
        let uuid = Guid::from_u128(7);
        let mut inode = vec![0u8; INODE];
        inode[..2].copy_from_slice(b"IN");
        inode[VERSION] = 3;
        inode[NUMBER + 7] = 128;
        inode[UUID..UUID + 16].copy_from_slice(&uuid.0);
        inode[TIMES[1]] = 1;
        let sum = checksum(&inode).to_le_bytes();
        inode[CHECKSUM..CHECKSUM + 4].copy_from_slice(&sum);
        let settled = |bytes: &[u8], at: u64| settle_piece(bytes, at, &geometry, 5, &uuid).count();
        assert_eq!(settled(&inode, 16 * 4096), 1);
        assert_eq!(settled(&inode, 17 * 4096), 0, "another place");
        inode[300] = 1;
        assert_eq!(settled(&inode, 16 * 4096), 0, "a wrong checksum");
    }
}
