//! Reads the tar of a tree entry by entry. Extension headers are taken apart here rather than by
//! the `tar` crate, which splits pax records at line ends and so breaks binary attributes.
//!
//! Source: POSIX.1-2017 `pax`, the GNU `L` and `K` entries, `SCHILY.xattr` as star writes it.

use std::io::Read;

use tar::{Archive, EntryType};

use crate::error::{Context, Result, bail, ensure};

use super::part::{Meta, XATTR};

/// The most bytes of extension headers before one entry.
const LONGEST_EXTENSION: u64 = 1 << 20;

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

/// What stands in front of an entry.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u64>,
    gid: Option<u64>,
    attributes: Vec<(String, Vec<u8>)>,
}

/// Calls `each` with every entry: its path without leading `./` and closing `/` (empty: the
/// root), what it is, and its content, which need not be read.
pub fn entries(
    tar: impl Read,
    mut each: impl FnMut(&[u8], Meta, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let mut archive = Archive::new(tar);
    let mut before = Extensions::default();
    for entry in archive.entries().context("reading the tree")?.raw(true) {
        let mut entry = entry.context("reading the tree")?;
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink) {
            ensure!(
                entry.size() <= LONGEST_EXTENSION,
                "reading the tree: a header of {} bytes",
                entry.size()
            );
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).context("reading the tree")?;
            let text = |mut bytes: Vec<u8>| {
                bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
                Some(bytes)
            };
            match kind {
                EntryType::GNULongName => before.path = text(bytes),
                EntryType::GNULongLink => before.link = text(bytes),
                _ => before.read(&bytes, entry.size())?,
            }
            continue;
        }
        if kind == EntryType::XGlobalHeader {
            continue;
        }
        let extensions = std::mem::take(&mut before);
        let header = entry.header();
        let path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let path = normal(&path)?;
        let meta = || -> std::io::Result<Meta> {
            let device = matches!(kind, EntryType::Block | EntryType::Char);
            let number = |number: std::io::Result<Option<u32>>| {
                if device { number.map(|number| number.unwrap_or(0)) } else { Ok(0) }
            };
            Ok(Meta {
                kind: if kind == EntryType::Continuous { EntryType::Regular } else { kind },
                mode: header.mode()? & 0o7777,
                uid: extensions.uid.map_or_else(|| header.uid(), Ok)?,
                gid: extensions.gid.map_or_else(|| header.gid(), Ok)?,
                mtime: header.mtime()?,
                size: if kind.is_file() { header.size()? } else { 0 },
                link: match extensions.link {
                    Some(link) => link,
                    None => header.link_name_bytes().map_or(Vec::new(), |link| link.into_owned()),
                },
                device: (number(header.device_major())?, number(header.device_minor())?),
                attributes: extensions.attributes,
            })
        };
        let shown = String::from_utf8_lossy(&path).into_owned();
        let meta = meta().with_context(|| format!("reading the header of `{shown}`"))?;
        let known = kind.is_file()
            || matches!(
                kind,
                EntryType::Continuous
                    | EntryType::Directory
                    | EntryType::Symlink
                    | EntryType::Link
                    | EntryType::Block
                    | EntryType::Char
                    | EntryType::Fifo
            );
        ensure!(
            known,
            "reading the tree: `{shown}` is of the unknown type {:?}",
            kind.as_byte() as char
        );
        each(&path, meta, &mut entry)?;
    }
    Ok(())
}

impl Extensions {
    /// Takes the records of a pax header.
    fn read(&mut self, bytes: &[u8], length: u64) -> Result<()> {
        ensure!(bytes.len() as u64 == length, "reading the tree: it is cut short");
        let mut rest = bytes;
        while !rest.is_empty() {
            let (key, value, after) = record(rest).context("reading a pax record of the tree")?;
            rest = after;
            self.take(key, value)?;
        }
        Ok(())
    }

    fn take(&mut self, key: &str, value: &[u8]) -> Result<()> {
        let number = || -> Result<u64> {
            let text = std::str::from_utf8(value).unwrap_or("?");
            text.parse().with_context(|| format!("reading the pax record {key}={text}"))
        };
        match key {
            "path" => self.path = Some(value.to_vec()),
            "linkpath" => self.link = Some(value.to_vec()),
            "uid" => self.uid = Some(number()?),
            "gid" => self.gid = Some(number()?),
            key if IGNORED.contains(&key) => {}
            key => match key.strip_prefix(XATTR) {
                Some(name) => self.attributes.push((name.to_string(), value.to_vec())),
                None => bail!("reading the tree: pax records of the key `{key}` cannot be kept"),
            },
        }
        Ok(())
    }
}

/// The first of some `LENGTH KEY=VALUE\n` records, and what follows it.
fn record(bytes: &[u8]) -> Result<(&str, &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ').context("no length")?;
    let length: usize = std::str::from_utf8(&bytes[..space])?.parse()?;
    let record = bytes.get(space + 1..length).context("a wrong length")?;
    let record = record.strip_suffix(b"\n").context("no line end")?;
    let equals = record.iter().position(|byte| *byte == b'=').context("no `=`")?;
    Ok((std::str::from_utf8(&record[..equals])?, &record[equals + 1..], &bytes[length..]))
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
    fn records_may_hold_any_bytes() {
        let bytes = b"30 SCHILY.xattr.user.x=a\nb\0=c\n11 path=./p\n";
        let (key, value, rest) = record(bytes).unwrap();
        assert_eq!((key, value), ("SCHILY.xattr.user.x", &b"a\nb\0=c"[..]));
        let mut extensions = Extensions::default();
        extensions.read(rest, 11 + 1).unwrap_err();
        assert!(record(b"99 a=b\n").is_err());
        assert!(record(b"a=b\n").is_err());
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let error = Extensions::default().take("SCHILY.acl.access", b"x").unwrap_err();
        assert!(error.to_string().contains("SCHILY.acl.access"));
    }

    #[test]
    fn paths_are_normal_and_stay_inside() {
        for (path, wanted) in [("./", ""), ("./a/b/", "a/b"), ("/a//b", "a/b"), ("a", "a")] {
            assert_eq!(normal(path.as_bytes()).unwrap(), wanted.as_bytes());
        }
        assert!(normal(b"a/../../b").is_err());
    }
}
