//! Writes a table of names and contents as the canonical tar; large files with holes as sparse
//! entries ([`holes`]).

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ::tar::{Builder, EntryType, Header};

use super::directory::{Content, Node, Properties};
use super::sparse::WORTH;
use super::{Options, Unpacked, holes};
use crate::cancel::Cancel;
use crate::digest::HashingWriter;
use crate::error::{Context, Result};
use crate::units::Bytes;

/// What to write.
pub(super) struct Table<'a> {
    pub(super) nodes: &'a BTreeMap<PathBuf, (Node, Properties)>,
    pub(super) contents: &'a [Content],
    /// Holds the data of the contents.
    pub(super) spool: &'a File,
}

/// Writes `table` to the new file `to`.
pub(super) fn write(table: &Table<'_>, to: &Path, options: &Options<'_>) -> Result<Unpacked> {
    let what = || format!("writing {}", to.display());
    let file = File::options().write(true).create_new(true).open(to).with_context(what)?;
    let out = HashingWriter::new(BufWriter::with_capacity(1 << 20, file));
    let mut writer = Writer { builder: Builder::new(out), table, options };
    let written = writer.all().with_context(what);
    // A reader can only fail with an `io::Error`.
    options.cancel.check()?;
    written?;
    let (out, digest, size) = writer.builder.into_inner().with_context(what)?.finish();
    out.into_inner().map_err(|error| error.into_error()).with_context(what)?;
    Ok(Unpacked { digest, size: Bytes(size) })
}

struct Writer<'a, W: Write> {
    builder: Builder<W>,
    table: &'a Table<'a>,
    options: &'a Options<'a>,
}

impl<W: Write> Writer<'_, W> {
    fn all(&mut self) -> Result<()> {
        let root = Properties { mode: 0o755, time: 0 };
        self.directory("./".as_ref(), root)?;
        let mut first_names = HashMap::new();
        for (path, (node, properties)) in self.table.nodes {
            let mut header = self.header(*properties);
            match node {
                Node::Directory => {
                    let mut name = path.as_os_str().to_owned();
                    name.push("/");
                    self.directory(name.as_ref(), *properties)?;
                }
                Node::Link(target) => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_mode(0o777);
                    self.builder.append_link(&mut header, path, target)?;
                }
                Node::File(content) => match first_names.get(content) {
                    Some(first) => {
                        header.set_entry_type(EntryType::Link);
                        self.builder.append_link(&mut header, path, first)?;
                    }
                    None => {
                        first_names.insert(*content, path);
                        self.file(path, header, &self.table.contents[*content])?;
                    }
                },
            }
        }
        Ok(())
    }

    fn header(&self, properties: Properties) -> Header {
        let mut header = Header::new_gnu();
        header.set_mode(properties.mode & 0o777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(properties.time.min(self.options.epoch));
        header.set_size(0);
        header
    }

    fn directory(&mut self, name: &Path, properties: Properties) -> Result<()> {
        let mut header = self.header(properties);
        header.set_entry_type(EntryType::Directory);
        Ok(self.builder.append_data(&mut header, name, io::empty())?)
    }

    fn file(&mut self, path: &Path, mut header: Header, content: &Content) -> Result<()> {
        let stored: u64 = content.map.iter().map(|(_, length)| length).sum();
        let cancel = self.options.cancel;
        if content.size - stored < WORTH {
            header.set_size(content.size);
            let data = Filled::new(content, self.table.spool, cancel);
            return Ok(self.builder.append_data(&mut header, path, data)?);
        }
        let mut data = Stored { spool: self.table.spool, at: content.at, left: stored, cancel };
        let name = path.as_os_str().as_bytes();
        let (size, map) = (content.size, &content.map);
        Ok(holes::append(&mut self.builder, name, header, size, map, &mut data)?)
    }
}

/// The data of a file out of the spool.
struct Stored<'a> {
    spool: &'a File,
    at: u64,
    left: u64,
    cancel: &'a Cancel,
}

impl Read for Stored<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // The reason is asked for again where it can be said.
        self.cancel.check().map_err(|error| io::Error::other(error.to_string()))?;
        let n = self.left.min(buf.len() as u64) as usize;
        self.spool.read_exact_at(&mut buf[..n], self.at)?;
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

/// A file out of the spool, its holes filled with zeros.
struct Filled<'a> {
    map: std::iter::Peekable<std::slice::Iter<'a, (u64, u64)>>,
    stored: Stored<'a>,
    size: u64,
    at: u64,
}

impl<'a> Filled<'a> {
    fn new(content: &'a Content, spool: &'a File, cancel: &'a Cancel) -> Filled<'a> {
        let stored = Stored { spool, at: content.at, left: u64::MAX, cancel };
        Filled { map: content.map.iter().peekable(), stored, size: content.size, at: 0 }
    }
}

impl Read for Filled<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = (self.size - self.at).min(buf.len() as u64);
        let n = match self.map.peek() {
            Some((from, length)) if *from <= self.at => {
                let end = from + length;
                let n = self.stored.read(&mut buf[..most.min(end - self.at) as usize])?;
                if self.at + n as u64 == end {
                    self.map.next();
                }
                n
            }
            next => {
                let hole = next.map_or(most, |(from, _)| most.min(from - self.at)) as usize;
                buf[..hole].fill(0);
                hole
            }
        };
        self.at += n as u64;
        Ok(n)
    }
}
