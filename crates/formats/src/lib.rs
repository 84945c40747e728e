//! The formats room: bytes in, values out, and back. It knows no files, clock, randomness,
//! environment or commands: UUIDs, serials and times are arguments, so that the same values
//! give the same bytes on every machine. Each file names the source of its format.

pub mod acl;
pub mod appliance;
pub mod blocks;
pub mod cpio;
pub mod crc32;
pub mod crc32c;
pub mod deb822;
pub mod digest;
pub mod disk_info;
pub mod dpkg;
pub mod dsse;
pub mod ext4;
pub mod fat;
pub mod fault;
pub mod fields;
pub mod gpt;
pub mod grub;
pub mod guid;
pub mod install_sources;
pub mod intoto;
pub mod iso9660;
pub mod lvm2;
pub mod mbr;
pub mod os_release;
pub mod ovf;
pub mod probe;
pub mod purl;
pub mod qcow2;
pub mod release;
pub mod sbom;
pub mod squashfs;
pub mod swap;
pub mod units;
pub mod vbox;
pub mod vdi;
pub mod vhd;
pub mod vmdk;
pub mod xfs;
pub mod yaml;

pub use fault::Fault;
pub use guid::Guid;

use crate::units::Bytes;

/// Bytes to write at offsets, ascending and not overlapping; what lies between is zero.
pub type Pieces = Vec<(Bytes, Vec<u8>)>;

// The fuzz targets name this crate as every other user does.
#[cfg(test)]
extern crate self as kuth_formats;
#[cfg(test)]
mod fuzz_corpus;
#[cfg(test)]
#[path = "../fuzz/src/lib.rs"]
mod fuzz_targets;
