//! The `Release` file of a suite, plain or clear-signed (`InRelease`): its names, its contents, and
//! the digests of its index files. It does not check the signature.
//!
//! Source: the Debian Wiki's "DebianRepository/Format"; RFC 9580, 7 (clear-signed text).

use std::collections::BTreeMap;

use super::{Fault, deb822};
use crate::digest::Digest;

const FORMAT: &str = "release";
/// The most files of a suite.
const MOST_FILES: usize = 200_000;

/// The fields of a `Release` file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// `Debian`
    pub origin: String,
    /// `stable`
    pub suite: String,
    /// `trixie`
    pub codename: String,
    /// When it was made: `Sat, 21 Nov 2026 09:15:44 UTC`.
    pub date: String,
    /// Until when it counts, written like `date`; empty: for ever.
    pub valid_until: String,
    /// `amd64`, `all`, ...
    pub architectures: Vec<String>,
    /// `main`, `contrib`, ...
    pub components: Vec<String>,
    /// SHA-256 and length in bytes of the files of the suite, by their paths beside `Release`.
    pub files: BTreeMap<String, (Digest, u64)>,
}

impl Release {
    /// Reads the text, clear-signed or not. Files without an SHA-256 are not among its files.
    pub fn read(text: &str) -> Result<Release, Fault> {
        Release::read_plain(signed_text(text))
    }

    /// Reads a text that is not clear-signed.
    pub fn read_plain(text: &str) -> Result<Release, Fault> {
        let mut release = Release::default();
        let mut is_empty = true;
        for paragraph in deb822::paragraphs(text) {
            paragraph.check(FORMAT)?;
            for field in paragraph.fields() {
                is_empty = false;
                let text = || field.value.to_string();
                let words = || field.words().map(str::to_string).collect();
                match field.name.to_ascii_lowercase().as_str() {
                    "origin" => release.origin = text(),
                    "suite" => release.suite = text(),
                    "codename" => release.codename = text(),
                    "date" => release.date = text(),
                    "valid-until" => release.valid_until = text(),
                    "architectures" => release.architectures = words(),
                    "components" => release.components = words(),
                    "sha256" => field.continuation().try_for_each(|line| release.file(line))?,
                    _ => {}
                }
            }
        }
        Fault::unless(!is_empty, FORMAT, || "it is empty".to_string())?;
        Ok(release)
    }

    /// Adds the file of a line `DIGEST LENGTH PATH`.
    fn file(&mut self, line: &str) -> Result<(), Fault> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let read = match words[..] {
            [digest, length, path] => {
                let file = digest.parse::<Digest>().ok().zip(length.parse().ok());
                file.map(|file| (path.to_string(), file))
            }
            _ => None,
        };
        let (path, file) = read.ok_or_else(|| {
            Fault::new(FORMAT, format!("`{}` names no file", line.escape_debug()))
        })?;
        self.files.insert(path, file);
        Fault::unless(self.files.len() <= MOST_FILES, FORMAT, || "too many files".to_string())
    }

    /// The index files of `component` for `architecture`, the packages of all architectures among
    /// them: path, SHA-256 and length, in whatever compressions it names.
    pub fn lists(&self, component: &str, architecture: &str) -> Vec<(&str, Digest, u64)> {
        let wanted = |path: &str| {
            [architecture, "all"].iter().any(|architecture| {
                let list = format!("{component}/binary-{architecture}/Packages");
                let rest = path.strip_prefix(&list);
                rest.is_some_and(|end| end.is_empty() || end.starts_with('.') && !end.contains('/'))
            })
        };
        self.named(wanted)
    }

    /// The index files of a flat repository, which has no components, in the same way.
    pub fn flat_lists(&self) -> Vec<(&str, Digest, u64)> {
        self.named(|path| {
            let rest = path.strip_prefix("./").unwrap_or(path).strip_prefix("Packages");
            rest.is_some_and(|end| end.is_empty() || end.starts_with('.') && !end.contains('/'))
        })
    }

    fn named(&self, wanted: impl Fn(&str) -> bool) -> Vec<(&str, Digest, u64)> {
        let files = self.files.iter().filter(|(path, _)| wanted(path));
        files.map(|(path, (digest, length))| (path.as_str(), *digest, *length)).collect()
    }
}

/// The text, or the signed text in it, without the signature.
fn signed_text(text: &str) -> &str {
    let is_signed = text.starts_with("-----BEGIN PGP SIGNED MESSAGE-----");
    // An empty line ends the headers of the armour.
    let body = match is_signed {
        true => text.split_once("\n\n").map_or("", |(_, body)| body),
        false => text,
    };
    let lines = body.split_inclusive('\n').take_while(|line| !line.starts_with("-----BEGIN PGP"));
    &body[..lines.map(str::len).sum()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn text() -> String {
        format!(
            "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 21 Nov 2026 09:15:44 UTC\n\
             Architectures: all amd64\nComponents: main contrib\nMD5Sum:\n \
             900150983cd24fb0d6963f7d28e17f72 3 main/binary-amd64/Packages.bz2\nSHA256:\n \
             {ONE}  3 main/binary-amd64/Packages.gz\n {ONE} 9 main/binary-amd64/Packages\n \
             {ONE} 9 main/binary-all/Packages\n {ONE} 9 main/binary-amd64/Packages.diff/Index\n \
             {ONE} 9 main/binary-arm64/Packages\nDescription: x\n"
        )
    }

    #[test]
    fn fields_and_files_are_read() {
        let release = Release::read(&text()).unwrap();
        assert_eq!((release.suite.as_str(), release.codename.as_str()), ("stable", "trixie"));
        assert_eq!(release.architectures, ["all", "amd64"]);
        assert_eq!(release.components, ["main", "contrib"]);
        assert_eq!(release.files.len(), 5);
        let lists = release.lists("main", "amd64");
        let paths: Vec<&str> = lists.iter().map(|(path, ..)| *path).collect();
        let expected = ["main/binary-all/Packages", "main/binary-amd64/Packages"];
        assert_eq!(paths, [&expected[..], &["main/binary-amd64/Packages.gz"]].concat());
        assert_eq!(release.lists("contrib", "amd64"), []);
    }

    #[test]
    fn a_signature_around_it_makes_no_difference() {
        let signed = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{}-----BEGIN PGP SIGNATURE-----\n\n\
             wsB=\n-----END PGP SIGNATURE-----\n",
            text()
        );
        assert_eq!(Release::read(&signed).unwrap(), Release::read(&text()).unwrap());
    }

    #[test]
    fn other_texts_are_refused() {
        let why = |text: &str| Release::read(text).unwrap_err().to_string();
        assert_eq!(why(""), "release: it is empty");
        assert_eq!(why("<html>\n"), "release: `<html>` is not a field");
        assert_eq!(why("SHA256:\n x 1 y\n"), "release: `x 1 y` names no file");
        assert_eq!(
            why(&format!("SHA256:\n {ONE} -1 y\n")),
            format!("release: `{ONE} -1 y` names no file")
        );
    }

    proptest! {
        #[test]
        fn damage_is_refused_or_read(at in 0usize..500, byte in any::<u8>()) {
            let mut bytes = text().into_bytes();
            if let Some(damaged) = bytes.get_mut(at) {
                *damaged = byte;
            }
            let _ = Release::read(&String::from_utf8_lossy(&bytes));
        }
    }
}
