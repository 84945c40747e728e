//! The files of a tree as a disk takes them: paths below the root, and nothing that no file system
//! could keep.

use std::io::Read;

use crate::error::{Context, Result, bail};
use crate::tree::{Content, Kind, Metadata, Reader, relative};

/// Pax records that only repeat what the header says, or say what no file system keeps.
const IGNORED: [&str; 8] =
    ["atime", "ctime", "uname", "gname", "comment", "hdrcharset", "SCHILY.dev", "SCHILY.ino"];

/// Calls `each` with every entry of the tree in `tar`: its path without leading `./` and closing `/`
/// (empty: the root), its metadata, and its content, which need not be read.
pub fn entries(
    tar: impl Read,
    mut each: impl FnMut(&[u8], Metadata, &mut Content<'_>) -> Result<()>,
) -> Result<()> {
    let mut entries = Reader::new(tar);
    while let Some((entry, mut content)) = entries.next_entry().context("reading the tree")? {
        let path = relative(&entry.path).context("reading the tree")?;
        if let Some(key) = entry.other_records.iter().find(|key| !IGNORED.contains(&key.as_str())) {
            bail!("reading the tree: pax records of the key `{key}` cannot be kept");
        }
        match entry.metadata.kind {
            Kind::Regular
            | Kind::Directory
            | Kind::Symlink
            | Kind::Link
            | Kind::Block
            | Kind::Char
            | Kind::Fifo => each(&path, entry.metadata, &mut content)?,
            other => bail!(
                "reading the tree: `{}` is of the unknown type {:?}",
                String::from_utf8_lossy(&path),
                other.as_byte() as char
            ),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let mut builder = tar::Builder::new(Vec::new());
        let records = [("mtime", &b"5"[..]), ("SCHILY.acl.access", b"x")];
        builder.append_pax_extensions(records).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        builder.append_data(&mut header, "a", std::io::empty()).unwrap();
        let tar = builder.into_inner().unwrap();
        let error = entries(tar.as_slice(), |_, _, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("SCHILY.acl.access"), "{error:#}");
    }
}
