//! The files of a tree, from its tar.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::digest::{Digest, HashingWriter};
use crate::error::{Context, Result};
use crate::files::extents::{is_sparse, sift, stored};
use crate::tree::sparse::UNIT;
use crate::tree::{Content, Kind, Metadata, Reader, relative};

/// The files by their paths, without the leading `/`; the root is empty.
pub type Files = BTreeMap<Vec<u8>, Entry>;

/// What is known of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: &'static str,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u64, u64),
    /// Bytes of content.
    pub size: u64,
    /// Seconds since 1970.
    pub time: u64,
    /// Where a link leads.
    pub link: Vec<u8>,
    /// The SHA-256 of a regular file; `None` for one with a MiB of zeros and more, which are not
    /// read.
    pub content: Option<Digest>,
    /// Of the data of a file with such zeros, and where it is.
    data: Option<Digest>,
    /// Of extended attributes and numbers of devices.
    rest: Digest,
}

/// `directory 0755`, `file 0644, 12 bytes`
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:04o}", self.kind, self.mode)?;
        match self.kind {
            "file" => write!(f, ", {} bytes", self.size),
            "link" | "hard link" => write!(f, " to {}", String::from_utf8_lossy(&self.link)),
            _ => Ok(()),
        }
    }
}

impl Entry {
    /// In what it is not as `old`, a clause each: `mode 0644 -> 0600`.
    pub fn changes(&self, old: &Entry) -> Vec<String> {
        let mut changes = Vec::new();
        let mut note = |what: &str, old: String, new: String| {
            if old != new {
                changes.push(format!("{what} {old} -> {new}"));
            }
        };
        note("kind", old.kind.into(), self.kind.into());
        note("mode", format!("{:04o}", old.mode), format!("{:04o}", self.mode));
        let owner = |(user, group): (u64, u64)| format!("{user}:{group}");
        note("owner", owner(old.owner), owner(self.owner));
        note("size", old.size.to_string(), self.size.to_string());
        let link = |entry: &Entry| String::from_utf8_lossy(&entry.link).into_owned();
        note("link", link(old), link(self));
        note("time", old.time.to_string(), self.time.to_string());
        let content = |entry: &Entry| entry.content.or(entry.data);
        let both = content(old).zip(content(self));
        if both.is_some_and(|(old, new)| old != new) {
            changes.push("content".to_string());
        }
        if old.rest != self.rest {
            changes.push("attributes".to_string());
        }
        changes
    }
}

fn kind(metadata: &Metadata) -> &'static str {
    match metadata.kind {
        Kind::Directory => "directory",
        Kind::Symlink => "link",
        Kind::Link => "hard link",
        Kind::Block => "block device",
        Kind::Char => "character device",
        Kind::Fifo => "pipe",
        _ => "file",
    }
}

/// The SHA-256 of a file that is stored whole, or a digest of the data of a sparse one. Zeros in a tree
/// that an older kuth packed count as holes too.
fn digests(
    content: &mut Content<'_>,
    metadata: &Metadata,
) -> io::Result<(Option<Digest>, Option<Digest>)> {
    let mut hash = HashingWriter::new(io::sink());
    let extents = match &metadata.data {
        Some(extents) => {
            io::copy(content.stored(), &mut hash)?;
            extents.clone()
        }
        None => sift(content, metadata.size, UNIT, &mut hash)?,
    };
    if is_sparse(metadata.size, &extents) {
        let (_, digest, _) = hash.finish();
        return Ok((None, Some(Digest::of(format!("{extents:?} {digest}")))));
    }
    // Less than a unit is left out: a shorter last one of zeros.
    let rest = metadata.size - stored(&extents);
    io::copy(&mut io::repeat(0).take(rest), &mut hash)?;
    Ok((Some(hash.finish().1), None))
}

/// Reads all files of the tree in the tar at `path`.
pub fn read(path: &Path) -> Result<Files> {
    let what = || format!("reading {}", path.display());
    let file = File::open(path).with_context(what)?;
    let mut files = Files::new();
    let mut entries = Reader::new(BufReader::with_capacity(1 << 20, file));
    while let Some((entry, mut content)) = entries.next_entry().with_context(what)? {
        let metadata = entry.metadata;
        let (content, data) = match metadata.kind {
            Kind::Regular => digests(&mut content, &metadata).with_context(what)?,
            _ => (None, None),
        };
        let mut attributes = metadata.attributes.clone();
        attributes.sort();
        let found = Entry {
            kind: kind(&metadata),
            mode: metadata.mode,
            owner: (metadata.uid, metadata.gid),
            size: metadata.size,
            time: metadata.mtime,
            link: metadata.link,
            content,
            data,
            rest: Digest::of(format!("{attributes:?} {:?}", metadata.device)),
        };
        files.insert(relative(&entry.path).with_context(what)?, found);
    }
    Ok(files)
}
