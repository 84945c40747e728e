//! Reads a tar of any kind into a [`Directory`]. Owners and extended attributes are dropped.

use std::io::Read;

use ::tar::EntryType;

use super::directory::{Directory, refused};
use super::node::Properties;
use crate::error::{Result, anyhow, bail, ensure, with_hint};
use crate::tree::{Content, Entry, Reader};

/// Reads the tar up to its end.
pub(super) fn read(reader: &mut dyn Read, directory: &mut Directory<'_>) -> Result<()> {
    let mut entries = Reader::new(reader).without_owners().without_end();
    while let Some((entry, mut content)) = entries.next_entry()? {
        add(directory, &entry, &mut content)?;
    }
    Ok(())
}

fn add(directory: &mut Directory<'_>, entry: &Entry, content: &mut Content<'_>) -> Result<()> {
    let (name, metadata) = (entry.path.as_slice(), &entry.metadata);
    let shown = || String::from_utf8_lossy(name).escape_debug().to_string();
    let properties = Properties { mode: metadata.mode & 0o777, time: metadata.mtime };
    let link = || {
        ensure!(!metadata.link.is_empty(), "the link {} leads nowhere", shown());
        Ok(metadata.link.as_slice())
    };
    match metadata.kind {
        EntryType::Directory => directory.add_directory(name, properties),
        EntryType::Regular => {
            let extents = content.extents().to_vec();
            directory.add_file(name, properties, metadata.size, &extents, content.stored())
        }
        EntryType::Symlink => directory.add_link(name, link()?, properties),
        EntryType::Link => directory.add_hard_link(name, link()?),
        EntryType::Char | EntryType::Block | EntryType::Fifo => {
            let kind = if metadata.kind == EntryType::Fifo { "a pipe" } else { "a device" };
            let error = refused(anyhow!("{} is {kind}", shown()));
            Err(with_hint(error, "a whole system's tar is for a stage that makes a tree"))
        }
        // The label of a volume.
        kind if kind.as_byte() == b'V' => Ok(()),
        // GNU's list of a directory.
        kind if kind.as_byte() == b'D' => directory.add_directory(name, properties),
        kind => bail!("{} is of the unknown kind `{}`", shown(), kind.as_byte().escape_ascii()),
    }
}
