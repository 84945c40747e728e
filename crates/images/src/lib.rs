//! Trees, archives and disk images: read, written and imported in user space, without mounts and
//! without root. It uses the formats of `kuth-formats` and on files of the host alone; it knows
//! no pipelines, stages, caches or networks. The README has a table of the modules.

pub mod archive;
pub mod cancel;
pub mod error;
pub mod files;
pub mod image;
pub mod import;
pub mod oci;
pub mod threads;
pub mod tree;

pub use kuth_formats::{self as format, digest, units};
