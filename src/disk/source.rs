//! The files of a tree, out of its tar, as a disk takes them: names below the root, and nothing that
//! no filesystem could keep.

use std::io::Read;

use tar::EntryType;

use crate::archive::entries::{Content, Entries};
use crate::error::{Context, Result, bail, ensure};

use super::part::Meta;

/// Records that only repeat what the header says, or say what no filesystem keeps.
const IGNORED: [&str; 9] = [
    "atime",
    "ctime",
    "mtime",
    "uname",
    "gname",
    "comment",
    "hdrcharset",
    "SCHILY.dev",
    "SCHILY.ino",
];

/// Calls `each` with every entry: its path without leading `./` and closing `/` (empty: the
/// root), what it is, and its content, which need not be read.
pub fn entries(
    tar: impl Read,
    mut each: impl FnMut(&[u8], Meta, &mut Content<'_>) -> Result<()>,
) -> Result<()> {
    let mut entries = Entries::new(tar);
    while let Some((entry, mut content)) = entries.next_entry().context("reading the tree")? {
        let path = normal(&entry.path)?;
        if let Some(key) = entry.unknown.iter().find(|key| !IGNORED.contains(&key.as_str())) {
            bail!("reading the tree: pax records of the key `{key}` cannot be kept");
        }
        let known = matches!(
            entry.kind,
            EntryType::Regular
                | EntryType::Directory
                | EntryType::Symlink
                | EntryType::Link
                | EntryType::Block
                | EntryType::Char
                | EntryType::Fifo
        );
        ensure!(
            known,
            "reading the tree: `{}` is of the unknown type {:?}",
            String::from_utf8_lossy(&path),
            entry.kind.as_byte() as char
        );
        let meta = Meta {
            kind: entry.kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            size: entry.size,
            data: content.map().cloned(),
            link: entry.link,
            device: entry.device,
            attributes: entry.attributes,
        };
        each(&path, meta, &mut content)?;
    }
    Ok(())
}

/// A path inside the tree without what means nothing; `..` is refused.
pub fn normal(path: &[u8]) -> Result<Vec<u8>> {
    let parts: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    let shown = || String::from_utf8_lossy(path).into_owned();
    ensure!(!parts.contains(&&b".."[..]), "reading the tree: the path `{}` leaves it", shown());
    Ok(parts.join(&b'/'))
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

    #[test]
    fn paths_are_normal_and_stay_inside() {
        for (path, wanted) in [("./", ""), ("./a/b/", "a/b"), ("/a//b", "a/b"), ("a", "a")] {
            assert_eq!(normal(path.as_bytes()).unwrap(), wanted.as_bytes());
        }
        assert!(normal(b"a/../../b").is_err());
    }
}
