//! ISO 9660 images with the two extensions that keep long names, Joliet and Rock Ridge. The writer is
//! for small images such as cloud-init seeds; the reader opens files in media of any size.
//!
//! Source: ECMA-119; Microsoft's Joliet specification; IEEE P1281 (SUSP) and P1282 (RRIP).

mod descriptor;
mod entry;
mod names;
pub mod read;
mod record;
pub mod write;

pub use entry::{Entry, Kind};
pub use read::Image;
pub use write::{File, Volume};

pub(crate) const FORMAT: &str = "iso9660";

/// A logical sector, the unit of addresses.
pub(crate) const SECTOR: usize = 2048;
/// The first volume descriptor; the sectors before it are the boot loader's.
pub(crate) const DESCRIPTORS: usize = 16;
/// What every volume descriptor says behind its type.
pub(crate) const STANDARD_ID: &[u8; 5] = b"CD001";
/// Flag of a directory record: it is of a directory.
pub(crate) const DIRECTORY: u8 = 0x02;
/// Flag of a directory record: another record goes on with this file.
pub(crate) const MORE_EXTENTS: u8 = 0x80;
