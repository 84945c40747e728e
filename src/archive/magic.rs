//! What a file is by its first bytes. Names are not asked: a server may call anything `.tar.gz`.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// So much of the start tells all formats.
pub const LENGTH: usize = 512;

/// A format known by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// tar, also an OVA.
    Tar,
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// zip.
    Zip,
    /// QEMU's disk image.
    Qcow2,
    /// VMware's sparse disk image.
    Vmdk,
    /// A web page.
    Html,
}

/// With its article.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Tar => "a tar",
            Format::Gzip => "gzip data",
            Format::Bzip2 => "bzip2 data",
            Format::Xz => "xz data",
            Format::Zstd => "Zstandard data",
            Format::Zip => "a zip",
            Format::Qcow2 => "a qcow2 image",
            Format::Vmdk => "a VMDK image",
            Format::Html => "an HTML page",
        })
    }
}

/// What begins with what.
const STARTS: &[(&[u8], Format)] = &[
    (&[0x1f, 0x8b, 8], Format::Gzip),
    (b"BZh", Format::Bzip2),
    (b"\xfd7zXZ\0", Format::Xz),
    (&[0x28, 0xb5, 0x2f, 0xfd], Format::Zstd),
    (b"PK\x03\x04", Format::Zip),
    (b"PK\x05\x06", Format::Zip),
    (b"QFI\xfb", Format::Qcow2),
    (b"KDMV", Format::Vmdk),
];

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

/// What begins with `start`, its first [`LENGTH`] bytes or all there are.
pub fn of(start: &[u8]) -> Option<Format> {
    let known = STARTS.iter().find(|(magic, _)| start.starts_with(magic));
    if let Some((_, format)) = known {
        return Some(*format);
    }
    // Skippable frames may come before the first real one.
    if start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18] {
        return Some(Format::Zstd);
    }
    if is_tar(start) {
        return Some(Format::Tar);
    }
    is_html(start).then_some(Format::Html)
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

/// By the header's checksum, which old tars without `ustar` have as well.
fn is_tar(start: &[u8]) -> bool {
    let Some(header) = start.first_chunk::<512>() else { return false };
    super::tar::checksum_holds(header)
}

fn is_html(start: &[u8]) -> bool {
    let text = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start).trim_ascii_start();
    let begins = |word: &str| {
        text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
    };
    begins("<!doctype html") || begins("<html") || (begins("<!--") && contains_html(text))
}

fn contains_html(text: &[u8]) -> bool {
    text.windows(5).any(|word| word.eq_ignore_ascii_case(b"<html"))
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
