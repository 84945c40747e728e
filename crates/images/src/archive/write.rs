//! Writes a table of names and contents as the canonical tar.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::node::{Content, Node, Properties};
use super::{Options, Unpacked};
use crate::cancel::Cancel;
use crate::error::{Context, Result};
use crate::files::extents::{Filled, is_sparse, stored};
use crate::tree::{Data, FileWriter, Kind, Metadata};
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
    let mut writer = FileWriter::create_new(to, options.epoch)?;
    let written = add_all(&mut writer, table, options.cancel).with_context(what);
    // A reader can only fail with an `io::Error`.
    options.cancel.check()?;
    written?;
    let (digest, size) = writer.finish().with_context(what)?;
    Ok(Unpacked { digest, size: Bytes(size) })
}

fn add_all(writer: &mut FileWriter, table: &Table<'_>, cancel: &Cancel) -> Result<()> {
    writer.add(Path::new("./"), &Metadata::directory(0o755, 0), Data::Nothing)?;
    let mut first_names: HashMap<usize, &PathBuf> = HashMap::new();
    for (path, (node, properties)) in table.nodes {
        let metadata = Metadata { mode: properties.mode, ..Metadata::file(0, properties.time) };
        let link = |kind, mode, target: &Path| {
            let link = target.as_os_str().as_bytes().to_vec();
            Metadata { kind, mode, link, ..metadata.clone() }
        };
        let metadata = match node {
            Node::Directory => Metadata { kind: Kind::Directory, ..metadata },
            Node::Link(target) => link(Kind::Symlink, 0o777, target),
            Node::File(content) => match first_names.get(content) {
                Some(first) => link(Kind::Link, properties.mode, first),
                None => {
                    first_names.insert(*content, path);
                    add_file(
                        writer,
                        path,
                        metadata,
                        &table.contents[*content],
                        table.spool,
                        cancel,
                    )?;
                    continue;
                }
            },
        };
        writer.add(path, &metadata, Data::Nothing)?;
    }
    Ok(())
}

fn add_file(
    writer: &mut FileWriter,
    path: &Path,
    metadata: Metadata,
    content: &Content,
    spool: &File,
    cancel: &Cancel,
) -> Result<()> {
    let Content { size, extents, at } = content;
    let mut data = Spooled { spool, at: *at, left: stored(extents), cancel };
    if is_sparse(*size, extents) {
        let metadata = Metadata { size: *size, data: Some(extents.clone()), ..metadata };
        return writer.add(path, &metadata, Data::Stored(&mut data));
    }
    let metadata = Metadata { size: *size, ..metadata };
    writer.add(path, &metadata, Data::Stored(&mut Filled::new(extents, *size, data)))
}

/// The data of a file out of the spool.
struct Spooled<'a> {
    spool: &'a File,
    at: u64,
    left: u64,
    cancel: &'a Cancel,
}

impl Read for Spooled<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // `write` asks again, where the reason can be given.
        self.cancel.check().map_err(|error| io::Error::other(error.to_string()))?;
        let n = self.left.min(buf.len() as u64) as usize;
        self.spool.read_exact_at(&mut buf[..n], self.at)?;
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}
