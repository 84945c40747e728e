//! QEMU's qcow2. The reader takes versions 2 and 3; the writer makes version 3.
//!
//! Source: QEMU's docs/interop/qcow2.txt; all big endian.

pub mod read;
mod write;

pub use write::{BackingFormat, Overlay, plan};

use crate::units::Bytes;

const FORMAT: &str = "qcow2";
const MAGIC: &[u8; 4] = b"QFI\xfb";
const CLUSTER_BITS: u32 = 16;
/// The size of the clusters that [`plan`] writes.
pub const CLUSTER: Bytes = Bytes(1 << CLUSTER_BITS);
/// The type of the header extension with the backing file format name.
const BACKING_FORMAT: u32 = 0xe279_2aca;
/// QEMU refuses an L1 table of more than 32 MiB.
const MAX_L1_SIZE: u64 = (32 << 20) / 8;
/// QEMU refuses longer names of backing files.
const LONGEST_BACKING_FILE: usize = 1023;
