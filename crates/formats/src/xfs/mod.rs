//! XFS of version 4 and 5 as it lies on a disk: structures in, values out. Where blocks are read
//! from is not known here.
//!
//! Source: the kernel's fs/xfs/libxfs/xfs_format.h and xfs_da_format.h, and "XFS Algorithms & Data
//! Structures"; all big endian but for checksums.

pub mod attribute;
pub mod directory;
pub mod extent;
pub mod inode;
pub mod log;
pub mod superblock;

use super::fields::Fields;
use super::{Fault, crc32c};

pub(crate) const FORMAT: &str = "xfs";

pub(crate) fn be16(fields: &Fields<'_>, at: usize) -> Result<u16, Fault> {
    fields.array(at).map(u16::from_be_bytes)
}

pub(crate) fn be32(fields: &Fields<'_>, at: usize) -> Result<u32, Fault> {
    fields.array(at).map(u32::from_be_bytes)
}

pub(crate) fn be64(fields: &Fields<'_>, at: usize) -> Result<u64, Fault> {
    fields.array(at).map(u64::from_be_bytes)
}

/// Fails unless the checksum at `at` is that of all other bytes.
pub(crate) fn check(bytes: &[u8], at: usize, what: &str) -> Result<(), Fault> {
    let sum = Fields::of(FORMAT, bytes).le32(at)?;
    let crc = crc32c::update(!0, &bytes[..at]);
    let crc = !crc32c::update(crc32c::update(crc, &[0; 4]), &bytes[at + 4..]);
    Fault::unless(crc == sum, FORMAT, || format!("the checksum of {what} is wrong"))
}
