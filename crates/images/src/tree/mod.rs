//! The tar of a tree: its metadata, one reader and one writer. The writer gives the canonical form;
//! the reader takes tars of any kind (ustar, GNU, pax), so that it reads the archives of others too.
//! It knows neither where entries come from nor where they go.

mod pax;
mod reader;
pub mod sparse;
mod writer;

pub(crate) use reader::checksum_holds;
pub use reader::{Content, Entry, Reader};
pub use tar::EntryType as Kind;
pub use writer::{Data, FileWriter, Writer};

use crate::error::{Context, Result};
use crate::files::extents::Extents;

/// The prefix of pax records that hold an extended attribute, as star, GNU tar and libarchive write
/// them; the name of the attribute follows.
pub const ATTRIBUTE: &str = "SCHILY.xattr.";

/// Directories of which only the directory itself is part of a tree: their content belongs to a
/// running machine.
pub const EMPTIED: [&str; 5] = ["proc", "sys", "dev", "run", "tmp"];

/// Everything that a tar says of an entry besides its path and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The type; `Regular` for every file, however it is stored.
    pub kind: Kind,
    /// Permission bits, set-id and sticky bits among them.
    pub mode: u32,
    /// The owner.
    pub uid: u64,
    /// The group.
    pub gid: u64,
    /// Whole seconds since 1970; 0 for earlier times.
    pub mtime: u64,
    /// Bytes of content, holes included; 0 unless a regular file.
    pub size: u64,
    /// The data of a sparse file; `None` for a file that is stored whole.
    pub data: Option<Extents>,
    /// The target of a symbolic link, or the path of the file that a hard link names; else empty.
    pub link: Vec<u8>,
    /// Major and minor number of a device; else 0.
    pub device: (u32, u32),
    /// Extended attributes by name, such as `security.capability`.
    pub attributes: Vec<(String, Vec<u8>)>,
}

impl Metadata {
    /// A directory of root's with this mode.
    pub fn directory(mode: u32, mtime: u64) -> Metadata {
        Metadata { kind: Kind::Directory, mode, ..Metadata::file(0, mtime) }
    }

    /// A symbolic link of root's to `target`.
    pub fn symlink(target: Vec<u8>, mtime: u64) -> Metadata {
        Metadata { kind: Kind::Symlink, mode: 0o777, link: target, ..Metadata::file(0, mtime) }
    }

    /// A regular file of root's with mode 0644 and `size` bytes.
    pub fn file(size: u64, mtime: u64) -> Metadata {
        Metadata {
            kind: Kind::Regular,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime,
            size,
            data: None,
            link: Vec::new(),
            device: (0, 0),
            attributes: Vec::new(),
        }
    }
}

/// The parts of `path` without empty ones and `.`; `None` for a path with `..`. An absolute path counts
/// from the root of the tree.
pub fn components(path: &[u8]) -> Option<Vec<&[u8]>> {
    let parts: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    (!parts.contains(&&b".."[..])).then_some(parts)
}

/// `path` relative to the root of the tree: `a/b` for `./a//b/`, empty for the root. A path with `..`
/// is refused.
pub fn relative(path: &[u8]) -> Result<Vec<u8>> {
    let parts = components(path);
    let shown = String::from_utf8_lossy(path);
    Ok(parts.with_context(|| format!("the path `{shown}` leads out of the tree"))?.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_and_stay_inside() {
        for (path, expected) in [("./", ""), ("./a/b/", "a/b"), ("/a//b", "a/b"), ("a", "a")] {
            assert_eq!(relative(path.as_bytes()).unwrap(), expected.as_bytes());
        }
        assert!(relative(b"a/../../b").is_err());
    }
}
