//! Log records, as far as it takes to see whether the log is clean: its last record is then an
//! unmount record.

use crate::fields::Fields;

/// The size of a basic block, the unit of a log.
pub const BLOCK: usize = 512;
const MAGIC: [u8; 4] = [0xfe, 0xed, 0xba, 0xbe];
/// The bytes of a record that one header block describes, in a log of version 2.
const CYCLE_DATA: u32 = 32 << 10;
const UNMOUNT: u8 = 0x20;

/// The header of a log record (`xlog_rec_header`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// `h_lsn`: cycle and block of the record; ascends.
    pub lsn: u64,
    /// `h_num_logops`: the number of log operations.
    pub operations: u32,
    /// The number of header blocks.
    pub header_blocks: u64,
}

/// The record that begins at block `index` of the log, if one does.
pub fn record(block: &[u8], index: u64) -> Option<Record> {
    let fields = Fields::of(super::FORMAT, block);
    let lsn = fields.be64(16).ok()?;
    if !block.starts_with(&MAGIC) || lsn & 0xffff_ffff != index {
        return None;
    }
    let header_blocks = match fields.be32(8).ok()? {
        2 => fields.be32(320).ok()?.div_ceil(CYCLE_DATA).clamp(1, 8).into(),
        _ => 1,
    };
    Some(Record { lsn, operations: fields.be32(40).ok()?, header_blocks })
}

/// Whether the first operation in `block`, the first one behind the header blocks, is an unmount.
pub fn is_unmount(block: &[u8]) -> bool {
    block.get(9).is_some_and(|flags| flags & UNMOUNT != 0)
}
