//! Container images as files: an archive of an image layout is written ([`write_tree`], [`write_disk`]) and
//! read ([`Layout`]). It knows no registries and no stages.
//!
//! The bytes depend on the trees, the configuration, the level and the epoch alone: not on names, on the
//! number of threads or on the host.
//!
//! Source: OCI Image Format Specification 1.1.

mod difference;
mod layer;
mod layout;
mod writer;

pub use layout::{Layer, Layout};
pub use writer::{ImageOptions, write_disk, write_tree};
