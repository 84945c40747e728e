//! VMware's VMDK. The reader takes descriptors and hosted sparse extents of any writer; the writer
//! makes streamOptimized images.
//!
//! Source: VMware's "Virtual Disk Format 5.0"; all little endian.

pub mod read;
mod write;

pub use write::{Adapter, Description, Level, Stream, compress_grain};

use crate::units::Bytes;

const FORMAT: &str = "vmdk";
/// `magicNumber` of a hosted sparse extent.
const MAGIC: &[u8; 4] = b"KDMV";
/// `singleEndLineChar` to `doubleEndLineChar2`, which a transfer as text would change.
const NEW_LINE_TEST: &[u8; 4] = b"\n \r\n";
/// `gdOffset` of a header whose grain directory is named by the footer.
const GD_AT_END: u64 = u64::MAX;
/// The size of the grains that [`Stream`] writes.
pub const GRAIN: Bytes = Bytes(64 << 10);
