//! XFS of version 4 and 5. The reader takes structures as bytes and returns values; it reads no disk.
//! [`normalize`] makes the inodes of a fresh file system reproducible.
//!
//! Source: the kernel's fs/xfs/libxfs/xfs_format.h and xfs_da_format.h, and "XFS Algorithms & Data
//! Structures", 3rd edition; all big endian but for checksums.

pub mod attribute;
pub mod directory;
pub mod extent;
pub mod inode;
pub mod log;
pub mod normalize;
pub mod superblock;

use super::fields::Fields;
use super::{Fault, crc32c};

pub(crate) const FORMAT: &str = "xfs";

/// The CRC-32C of a structure whose own checksum field is the four bytes at `at`, counted as zero.
fn crc(bytes: &[u8], at: usize) -> u32 {
    let before = crc32c::update(!0, &bytes[..at]);
    !crc32c::update(crc32c::update(before, &[0; 4]), &bytes[at + 4..])
}

/// Fails unless the checksum at `at` is right. `what` names the structure in the fault.
fn check_crc(bytes: &[u8], at: usize, what: &str) -> Result<(), Fault> {
    let expected = Fields::of(FORMAT, bytes).le32(at)?;
    Fault::unless(crc(bytes, at) == expected, FORMAT, || format!("the checksum of {what} is wrong"))
}
