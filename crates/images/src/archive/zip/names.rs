//! The names of a zip: in UTF-8, in the charset of MS-DOS, or both; and with the separators of Windows.
//!
//! Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.4.4 (bit 11), 4.4.17, 4.6.9 and appendix D.

use flate2::Crc;

use crate::format::ibm437;

/// The id of the field that has the name in UTF-8 (4.6.9).
pub(super) const UNICODE_PATH: u64 = 0x7075;
/// The flag of a name that is UTF-8.
const UTF8: u64 = 1 << 11;
/// Systems (4.4.2) in whose names a backslash is a character: Unix, BeOS and macOS.
const WITH_BACKSLASHES: [u64; 3] = [3, 16, 19];

/// The name of an entry: `raw` as its header has it, or its Unicode Path field, whose checksum says
/// that it is of this name; with `/` between its parts.
pub(super) fn name(raw: &[u8], flags: u64, made_by: u64, unicode: Option<&[u8]>) -> Vec<u8> {
    let mut name = match unicode.and_then(|field| unicode_path(raw, field)) {
        Some(name) => name.to_vec(),
        // Many write UTF-8 without saying so; text in another charset is hardly ever valid as it.
        None if flags & UTF8 != 0 || std::str::from_utf8(raw).is_ok() => raw.to_vec(),
        None => ibm437::decode(raw).into_bytes(),
    };
    if !WITH_BACKSLASHES.contains(&made_by) {
        name.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
    }
    name
}

/// The name in a Unicode Path field: a version, the checksum of the other name, and UTF-8.
fn unicode_path<'a>(raw: &[u8], field: &'a [u8]) -> Option<&'a [u8]> {
    let (version, rest) = field.split_first()?;
    let (sum, name) = rest.split_first_chunk::<4>()?;
    let mut crc = Crc::new();
    crc.update(raw);
    let is_of_it = *version == 1 && u32::from_le_bytes(*sum) == crc.sum();
    (is_of_it && !name.is_empty() && std::str::from_utf8(name).is_ok()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(raw: &[u8], flags: u64, made_by: u64, unicode: Option<&[u8]>) -> String {
        String::from_utf8(name(raw, flags, made_by, unicode)).unwrap()
    }

    #[test]
    fn names_without_the_flag_are_of_ibm_437_unless_they_are_utf_8() {
        assert_eq!(shown(b"gr\x81n\x80", 0, 0, None), "gr\u{fc}n\u{c7}");
        assert_eq!(shown(b"\xe1\xff\xfe", 0, 3, None), "\u{df}\u{a0}\u{25a0}");
        assert_eq!(shown("gr\u{fc}n".as_bytes(), 0, 3, None), "gr\u{fc}n");
        assert_eq!(shown("gr\u{fc}n".as_bytes(), UTF8, 0, None), "gr\u{fc}n");
    }

    #[test]
    fn a_unicode_path_counts_if_it_is_of_the_name() {
        let field = |version: u8, raw: &[u8], name: &[u8]| {
            let mut crc = Crc::new();
            crc.update(raw);
            [&[version][..], &crc.sum().to_le_bytes(), name].concat()
        };
        let good = field(1, b"gr?n", "gr\u{fc}n".as_bytes());
        assert_eq!(shown(b"gr?n", 0, 0, Some(&good)), "gr\u{fc}n");
        for bad in [
            field(2, b"gr?n", b"other"),
            field(1, b"else", b"other"),
            field(1, b"gr?n", b"\xff"),
            field(1, b"gr?n", b""),
            b"\x01abc".to_vec(),
        ] {
            assert_eq!(shown(b"gr?n", 0, 0, Some(&bad)), "gr?n", "{bad:?}");
        }
    }

    #[test]
    fn backslashes_are_separators_unless_unix_made_the_name() {
        assert_eq!(shown(b"a\\b/c\\", 0, 0, None), "a/b/c/");
        assert_eq!(shown(b"a\\b", UTF8, 10, None), "a/b");
        assert_eq!(shown(b"..\\x", 0, 11, None), "../x");
        for unix in WITH_BACKSLASHES {
            assert_eq!(shown(b"a\\b", 0, unix, None), "a\\b");
        }
    }
}
