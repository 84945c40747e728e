//! What a name in an archive stands for, what is known of it, and where its contents lie.

use std::path::PathBuf;

use crate::files::extents::Extents;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Directory,
    /// Which of the contents. Two names of one file have the same.
    File(usize),
    Link(PathBuf),
}

impl Node {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Node::Directory => "a directory",
            Node::File(_) => "a file",
            Node::Link(_) => "a link",
        }
    }
}

/// A name's properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Properties {
    pub(super) mode: u32,
    /// In seconds since 1970.
    pub(super) time: u64,
}

impl Properties {
    /// Of a directory that no entry describes.
    pub(super) const UNTOLD: Properties = Properties { mode: 0o755, time: 0 };
}

/// What a file holds.
pub(super) struct Content {
    pub(super) size: u64,
    /// Where it has data.
    pub(super) extents: Extents,
    /// Where its data begins in the spool.
    pub(super) at: u64,
}
