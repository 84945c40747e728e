//! What a file is by its first bytes. Names are not asked: a server may call anything `.tar.gz`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub use crate::format::probe::ImageFormat as Format;
use crate::format::probe::probe;

/// So many bytes of the start identify every format that archives and downloads have.
pub const LENGTH: usize = 512;

/// A format with its article.
pub fn shown(format: Format) -> String {
    match format {
        Format::Tar => "a tar".into(),
        Format::Zip => "a zip".into(),
        Format::Gzip | Format::Bzip2 | Format::Xz => format!("{format} data"),
        Format::Zstd => "Zstandard data".into(),
        Format::Qcow2 => "a qcow2 image".into(),
        Format::Vmdk => "a VMDK image".into(),
        Format::Html => "an HTML page".into(),
        other => format!("data of the format {other}"),
    }
}

/// The endings that promise a format.
const ENDINGS: &[(&str, Format)] = &[
    (".tar", Format::Tar),
    (".ova", Format::Tar),
    (".gz", Format::Gzip),
    (".tgz", Format::Gzip),
    (".bz2", Format::Bzip2),
    (".tbz2", Format::Bzip2),
    (".tbz", Format::Bzip2),
    (".xz", Format::Xz),
    (".txz", Format::Xz),
    (".zst", Format::Zstd),
    (".zip", Format::Zip),
    (".qcow2", Format::Qcow2),
    (".vmdk", Format::Vmdk),
    (".html", Format::Html),
    (".htm", Format::Html),
];

/// What begins with `start`, its first [`LENGTH`] bytes or all there are. A tar is known by the
/// checksum of its first header, which those of before `ustar` have as well.
pub fn of(start: &[u8]) -> Option<Format> {
    if start.first_chunk::<512>().is_some_and(crate::tree::checksum_holds) {
        return Some(Format::Tar);
    }
    probe(start).filter(|format| *format != Format::Tar)
}

/// What a file of this name should be; nothing where the name promises nothing.
pub fn promised(name: &str) -> Option<Format> {
    let name = name.to_ascii_lowercase();
    ENDINGS.iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, format)| *format)
}

/// What `file` is.
pub fn of_file(file: &File) -> io::Result<Option<Format>> {
    let mut start = [0; LENGTH];
    let mut length = 0;
    while length < LENGTH {
        match file.read_at(&mut start[length..], length as u64)? {
            0 => break,
            n => length += n,
        }
    }
    Ok(of(&start[..length]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_bytes() {
        assert_eq!(of(b"BZh91AY&SY"), Some(Format::Bzip2));
        assert_eq!(of(b"\x50\x2a\x4d\x18...."), Some(Format::Zstd));
        assert_eq!(of(b"PK\x05\x06"), Some(Format::Zip));
        assert_eq!(of(b"\n  <!DOCTYPE HTML><p>"), Some(Format::Html));
        assert_eq!(of("\u{feff}<html>".as_bytes()), Some(Format::Html));
        assert_eq!(of(b""), None);
        assert_eq!(of(&[0; 512]), None);
    }

    #[test]
    fn names_promise() {
        assert_eq!(promised("a.tar.bz2"), Some(Format::Bzip2));
        assert_eq!(promised("A.TGZ"), Some(Format::Gzip));
        assert_eq!(promised("debian.iso"), None);
    }
}
