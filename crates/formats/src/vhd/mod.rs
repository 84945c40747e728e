//! Microsoft's VHD. The reader takes fixed and dynamic images, the writer makes dynamic ones;
//! differencing images are refused.
//!
//! Source: Microsoft's "Virtual Hard Disk Image Format Specification" 1.0; all big endian.

pub mod read;
mod write;

pub use write::{Identity, plan};

use crate::units::Bytes;

const FORMAT: &str = "vhd";
/// `Cookie` of a footer.
const COOKIE: &[u8; 8] = b"conectix";
/// `Cookie` of a dynamic disk header.
const HEADER_COOKIE: &[u8; 8] = b"cxsparse";
/// The length of a footer, which ends an image and begins most dynamic ones too.
pub const FOOTER_LENGTH: usize = 512;
/// The length of a dynamic disk header.
pub const HEADER_LENGTH: usize = 1024;
/// The size of the blocks that [`plan`] writes.
pub const BLOCK: Bytes = Bytes::mib(2);
/// The entry of the block allocation table (BAT) of an unallocated block.
const UNALLOCATED: u32 = u32::MAX;

/// The one's complement of the sum of all bytes; the checksum field itself counts as zero.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    (!sum).to_be_bytes()
}
