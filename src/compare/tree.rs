//! The files of a tree, from its tar.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use tar::EntryType;

use crate::archive::entries::Content;
use crate::archive::holes::{self, Map};
use crate::digest::{Digest, HashingWriter};
use crate::disk::part::Meta;
use crate::disk::source;
use crate::error::{Context, Result};

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

fn kind(meta: &Meta) -> &'static str {
    match meta.kind {
        EntryType::Directory => "directory",
        EntryType::Symlink => "link",
        EntryType::Link => "hard link",
        EntryType::Block => "block device",
        EntryType::Char => "character device",
        EntryType::Fifo => "pipe",
        _ => "file",
    }
}

/// The digest of a file that is stored whole, or of the data of one with holes. Zeros that a tree
/// of an older kuth has are taken for a hole too.
fn digests(content: &mut Content<'_>, size: u64) -> io::Result<(Option<Digest>, Option<Digest>)> {
    let mut hash = HashingWriter::new(io::sink());
    let map: Option<Map> = match content.map().cloned() {
        Some(map) => {
            io::copy(&mut content.stored(), &mut hash)?;
            Some(map)
        }
        None => holes::sift(content, size, &mut hash)?,
    };
    let (_, digest, _) = hash.finish();
    Ok(match map {
        Some(map) => (None, Some(Digest::of(format!("{map:?} {digest}")))),
        None => (Some(digest), None),
    })
}

/// Reads all files of the tree in the tar at `path`.
pub fn read(path: &Path) -> Result<Files> {
    let what = || format!("reading {}", path.display());
    let file = File::open(path).with_context(what)?;
    let mut files = Files::new();
    source::entries(BufReader::with_capacity(1 << 20, file), |name, meta, content| {
        let kind = kind(&meta);
        let (content, data) = match kind {
            "file" => digests(content, meta.size).context("reading a file")?,
            _ => (None, None),
        };
        let mut attributes = meta.attributes.clone();
        attributes.sort();
        let entry = Entry {
            kind,
            mode: meta.mode,
            owner: (meta.uid, meta.gid),
            size: meta.size,
            time: meta.mtime,
            link: meta.link,
            content,
            data,
            rest: Digest::of(format!("{attributes:?} {:?}", meta.device)),
        };
        files.insert(name.to_vec(), entry);
        Ok(())
    })
    .with_context(what)?;
    Ok(files)
}
