//! FAT12, FAT16 and FAT32. The reader takes all three; the writer makes FAT32. Where clusters are
//! read from or written to is the caller's matter.
//!
//! Written here because the crate `fatfs` (0.3.6) puts long-name entries before `.` and `..`, which
//! fsck.fat reports as damage.
//!
//! Source: Microsoft, "FAT32 File System Specification" 1.03 (2000).

mod read;
mod write;

pub use read::{BOOT_SECTOR, BootSector, Entry, FatType, Item, MOST_ENTRIES, entries, label};
pub use write::{END_OF_CHAIN, Geometry, Name, NewItem, ROOT_CLUSTER, Timestamp, padded};

pub(crate) const FORMAT: &str = "fat";

/// The length of a directory entry in bytes.
pub const ENTRY: usize = 32;

/// `DIR_Attr` of a directory entry.
pub mod attribute {
    /// `ATTR_VOLUME_ID`: the label of the volume.
    pub const VOLUME_ID: u8 = 0x08;
    /// `ATTR_DIRECTORY`.
    pub const DIRECTORY: u8 = 0x10;
    /// `ATTR_ARCHIVE`, which regular files have.
    pub const ARCHIVE: u8 = 0x20;
    /// `ATTR_LONG_NAME`: a piece of a long name.
    pub(super) const LONG_NAME: u8 = 0x0f;
}

/// `LDIR_Chksum`: the checksum of the 11 bytes of a short name.
fn short_name_checksum(short: &[u8]) -> u8 {
    short.iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}
