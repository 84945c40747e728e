//! A disk image of others as a tree, read in user space: container, partitions, logical volumes and
//! file systems, each read from the one before, and none of it mounted. Nothing an image says is
//! believed: numbers are compared with what there is, and what goes round in circles ends.

use std::path::Path;

use crate::digest::Digest;
use crate::error::{Context, Result};

mod ext4;
mod fat;
mod filesystem;
mod fstab;
mod inspect;
pub mod layers;
pub mod live;
mod overlay;
mod partitions;
mod pick;
mod release;
pub mod rootfs;
mod squashfs;
mod system;
mod tree;
mod volume;
mod volumes;
mod xfs;

pub use crate::image::read::{Image, OtherFiles, open};
pub use crate::image::source::{Shared, Source};
pub use inspect::{DiskReport, Part, inspect};
pub use pick::{Picked, pick};
pub use release::Release;
pub use tree::Options;
pub use volume::Location;

/// What was made of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The SHA-256 of the tar.
    pub digest: Digest,
    /// Its length.
    pub size: u64,
    /// What its os-release says of its archive.
    pub release: Release,
    /// What was found, a sentence each, for a log.
    pub notes: Vec<String>,
}

/// Writes the system on `image`'s disk as the canonical tar `to`. `root` names the volume of its root
/// where there are several.
pub fn import(
    image: &Image,
    root: Option<&str>,
    to: &Path,
    options: &Options<'_>,
) -> Result<Imported> {
    let volumes = volume::read(&image.disk).context("reading the disk")?;
    let system = system::assemble(&volumes, root).context("putting the system together")?;
    let mut notes = vec![format!("a {} image", image.format)];
    for mounted in &system.mounted {
        let how = if mounted.on.is_some() { "a part of the tree" } else { "the root" };
        notes.push(format!("{} is {how}", mounted.place));
    }
    notes.extend(system.left_out.iter().cloned());
    let (digest, size) = tree::write(&system, to, options)?;
    let release = release::release(&system.os_release()?);
    Ok(Imported { digest, size, release, notes })
}
