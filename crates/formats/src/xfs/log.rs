//! Whether the log is empty: the last record in it then says that the file system was unmounted.

use super::{be32, be64};
use crate::fields::Fields;

/// The unit of a log.
pub const BLOCK: usize = 512;
const MAGIC: [u8; 4] = [0xfe, 0xed, 0xba, 0xbe];
/// What one block of a record's head describes, in a log of version 2.
const DESCRIBED: u32 = 32 << 10;
const UNMOUNT: u8 = 0x20;

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The round of the log that it was written in, then its block; ascends.
    pub sequence: u64,
    /// How many operations it holds.
    pub operations: u32,
    /// How many blocks its head has.
    pub head: u64,
}

/// The record that begins at block `index` of the log, if one does.
pub fn record(block: &[u8], index: u64) -> Option<Record> {
    let fields = Fields::of(super::FORMAT, block);
    let sequence = be64(&fields, 16).ok()?;
    if !block.starts_with(&MAGIC) || sequence & 0xffff_ffff != index {
        return None;
    }
    let head = match be32(&fields, 8).ok()? {
        2 => be32(&fields, 320).ok()?.div_ceil(DESCRIBED).clamp(1, 8).into(),
        _ => 1,
    };
    Some(Record { sequence, operations: be32(&fields, 40).ok()?, head })
}

/// Whether the first operation in the first block behind a record's head is an unmount.
pub fn is_unmount(block: &[u8]) -> bool {
    block.get(9).is_some_and(|flags| flags & UNMOUNT != 0)
}
