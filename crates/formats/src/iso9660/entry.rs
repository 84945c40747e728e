//! What a directory of an image has: a name, what it stands for, and where its contents lie.

use crate::units::Bytes;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file, or anything that is neither of the others.
    File,
    /// A directory.
    Directory,
    /// A symbolic link and where it points.
    Link(String),
}

/// A file or directory of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without its directory's.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Type and permissions, where Rock Ridge has them.
    pub mode: Option<u32>,
    /// The length of its contents.
    pub size: Bytes,
    /// Offset and length of each extent of the contents.
    pub(super) extents: Vec<(u64, u64)>,
}

impl Entry {
    /// Offset and length in bytes of each extent of its contents.
    pub fn extents(&self) -> &[(u64, u64)] {
        &self.extents
    }
}
