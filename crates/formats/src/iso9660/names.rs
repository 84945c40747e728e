//! The names of a file in the three views of an image: short capitals in ISO 9660 itself, UCS-2 in
//! Joliet, and unchanged in Rock Ridge.
//!
//! Source: ECMA-119 section 7.5 (interchange level 2); the Joliet specification, "File Names".

use std::collections::BTreeSet;

use super::FORMAT;
use crate::Fault;

/// The longest name, in UTF-16 units; what Joliet promises.
const LONGEST: usize = 64;
/// The longest name in UTF-8, so that its Rock Ridge entry fits into its directory record.
const LONGEST_UTF8: usize = 100;

/// Refuses names that one of the views cannot show.
pub(super) fn check(name: &str) -> Result<(), Fault> {
    let legal = |c: char| !c.is_control() && !"*/:;?\\".contains(c);
    let fits = !matches!(name, "" | "." | "..")
        && name.encode_utf16().count() <= LONGEST
        && name.len() <= LONGEST_UTF8
        && name.chars().all(legal);
    Fault::unless(fits, FORMAT, || format!("the name `{}` is not portable", name.escape_default()))
}

/// What a name is of; a version number follows the names of files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NameKind {
    File,
    Directory,
}

/// The name in ISO 9660 itself, other than all in `taken`, to which it is added.
pub(super) fn plain(name: &str, of: NameKind, taken: &mut BTreeSet<Vec<u8>>) -> Vec<u8> {
    let (base, extension) = match name.rsplit_once('.') {
        Some((base, extension)) if of == NameKind::File => (capitals(base), capitals(extension)),
        _ => (capitals(name), String::new()),
    };
    let (base, extension) = (&base[..base.len().min(20)], &extension[..extension.len().min(8)]);
    let full = |base: &str| match of {
        NameKind::File => format!("{base}.{extension};1").into_bytes(),
        NameKind::Directory => base.to_string().into_bytes(),
    };
    let numbered = (1..).map(|n| format!("{}{n:04}", &base[..base.len().min(16)]));
    let mut candidates = std::iter::once(base.to_string()).chain(numbered).map(|b| full(&b));
    let found = candidates.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(found.clone());
    found
}

/// `name` in the characters ISO 9660 knows.
fn capitals(name: &str) -> String {
    let capital = |c: char| match c.to_ascii_uppercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '_',
    };
    name.chars().map(capital).collect()
}

/// The name in Joliet.
pub(super) fn joliet(name: &str, of: NameKind) -> Vec<u8> {
    let version = if of == NameKind::File { ";1" } else { "" };
    ucs2(name).into_iter().chain(ucs2(version)).collect()
}

/// `text` in UTF-16, big endian.
pub(super) fn ucs2(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// A name as a directory record has it, without its version.
pub(super) fn without_version(name: &str) -> &str {
    let name = name.rsplit_once(';').map_or(name, |(name, _)| name);
    name.strip_suffix('.').unwrap_or(name)
}

/// UTF-16, big endian, as text.
pub(super) fn from_ucs2(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    String::from_utf16_lossy(&units.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_short_capitals_and_differ() {
        let mut taken = BTreeSet::new();
        let mut name = |name: &str, of| String::from_utf8(plain(name, of, &mut taken)).unwrap();
        assert_eq!(name("user-data", NameKind::File), "USER_DATA.;1");
        assert_eq!(name("user_data", NameKind::File), "USER_DATA0001.;1");
        assert_eq!(name("a.b.tar", NameKind::File), "A_B.TAR;1");
        assert_eq!(name("etc.d", NameKind::Directory), "ETC_D");
        assert_eq!(name(&"x".repeat(40), NameKind::File), format!("{}.;1", "X".repeat(20)));
        assert_eq!(name(&"x".repeat(41), NameKind::File), format!("{}0001.;1", "X".repeat(16)));
    }

    #[test]
    fn unportable_names_are_refused() {
        for name in ["", "..", "a/b", "a;1", "a\n", &"x".repeat(65), &"€".repeat(34)] {
            assert!(check(name).is_err(), "{name}");
        }
        assert_eq!(check("network-config"), Ok(()));
    }

    #[test]
    fn versions_come_off() {
        assert_eq!(without_version("USER_DATA.;1"), "USER_DATA");
        assert_eq!(without_version(&from_ucs2(&joliet("a.run", NameKind::File))), "a.run");
    }
}
