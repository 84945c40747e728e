//! How two locks differ, package by package and checksum by checksum.

use std::collections::{BTreeMap, BTreeSet};

use super::{Entries, LockEntry};

/// How the entries of two locks differ that answer one question of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The stage.
    pub stage: String,
    /// Which of its questions: `packages`, the address of a download; and what world it is of,
    /// `trixie amd64`.
    pub question: String,
    /// What differs: security updates first, then by name.
    pub items: Vec<Item>,
    /// How many things are the same.
    pub unchanged: usize,
}

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// A package, or the kind of a digest.
    pub name: String,
    /// What it was, if it was.
    pub old: Option<String>,
    /// What it is, if it is.
    pub new: Option<String>,
    /// Whether the new one is a security update.
    pub is_security: bool,
}

/// All questions of both locks, in the order of stages and questions.
pub fn changes(old: &Entries, new: &Entries) -> Vec<Changed> {
    let (old, new) = (by_question(old), by_question(new));
    let questions: BTreeSet<&(String, String)> = old.keys().chain(new.keys()).collect();
    let none = BTreeMap::new();
    questions
        .into_iter()
        .map(|question| {
            let (stage, asked) = question.clone();
            let before = old.get(question).unwrap_or(&none);
            let after = new.get(question).unwrap_or(&none);
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            let bytes = |pinned: Option<&Pinned>| pinned.map(|pinned| pinned.bytes.clone());
            let differs =
                names.iter().filter(|name| bytes(before.get(**name)) != bytes(after.get(**name)));
            let mut items: Vec<Item> =
                differs.map(|name| item(name, before.get(*name), after.get(*name))).collect();
            items.sort_by_key(|item| !item.is_security);
            Changed { stage, question: asked, unchanged: names.len() - items.len(), items }
        })
        .collect()
}

/// What a name is pinned to.
struct Pinned {
    /// The text for people.
    word: String,
    /// The digest of the bytes.
    bytes: String,
    is_security: bool,
}

fn item(name: &str, old: Option<&Pinned>, new: Option<&Pinned>) -> Item {
    // Two packages of one version differ by their bytes.
    let same_word = old.zip(new).is_some_and(|(old, new)| old.word == new.word);
    let shown = |Pinned { word, bytes, .. }: &Pinned| match same_word {
        true => format!("{word} ({})", &bytes[..bytes.len().min(12)]),
        false => word.clone(),
    };
    let is_security = new.is_some_and(|new| new.is_security);
    Item { name: name.to_string(), old: old.map(shown), new: new.map(shown), is_security }
}

/// What each question of each stage is answered with, by names.
fn by_question(entries: &Entries) -> BTreeMap<(String, String), BTreeMap<String, Pinned>> {
    let mut found = BTreeMap::new();
    for (stage, entries) in entries {
        for entry in entries {
            let question = (stage.clone(), entry.question().to_string());
            found.insert(question, pinned(entry));
        }
    }
    found
}

fn pinned(entry: &LockEntry) -> BTreeMap<String, Pinned> {
    match entry {
        LockEntry::Packages(locked) => {
            let packages = locked.packages.iter();
            packages
                .map(|it| {
                    let suite = it.suite.as_deref().unwrap_or_default();
                    let pinned = Pinned {
                        word: it.version.clone(),
                        bytes: it.sha256.to_string(),
                        is_security: suite.ends_with("-security"),
                    };
                    (it.name.clone(), pinned)
                })
                .collect()
        }
        LockEntry::Download(locked) => {
            let (algorithm, digits) = locked.checksum.parts();
            let pinned = Pinned { word: digits.clone(), bytes: digits, is_security: false };
            BTreeMap::from([(algorithm.to_string(), pinned)])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Checksum, LockedDownload, LockedPackages, Package, Part};
    use super::*;
    use crate::digest::{Digest, Sha512};
    use crate::recipe::Key;

    fn packages(rows: &[(&str, &str, u8)]) -> Entries {
        let package = |(name, version, byte): &(&str, &str, u8)| Package {
            name: name.to_string(),
            version: version.to_string(),
            architecture: "all".into(),
            sha256: Digest([*byte; 32]),
            size: 1,
            path: format!("pool/{name}"),
            essential: false,
            suite: None,
            repository: None,
            file: false,
        };
        let locked = LockedPackages {
            part: Part::Packages,
            request: Key(Digest::of("request")),
            suite: "trixie".into(),
            architecture: "amd64".into(),
            release: Digest::of("release"),
            date: None,
            asked: None,
            components: None,
            medium: None,
            suites: Vec::new(),
            packages: rows.iter().map(package).collect(),
        };
        Entries::from([("base".to_string(), vec![LockEntry::Packages(locked)])])
    }

    #[test]
    fn packages_are_compared_by_version_and_bytes() {
        let old =
            packages(&[("a", "1", 0x11), ("b", "1", 0x22), ("c", "1", 0x33), ("d", "1", 0x44)]);
        let new =
            packages(&[("a", "2", 0x12), ("b", "1", 0x23), ("e", "1", 0x33), ("d", "1", 0x44)]);
        let item = |name: &str, old: Option<&str>, new: Option<&str>| Item {
            name: name.into(),
            old: old.map(String::from),
            new: new.map(String::from),
            is_security: false,
        };
        let expected = Changed {
            stage: "base".into(),
            question: "packages trixie amd64".into(),
            items: vec![
                item("a", Some("1"), Some("2")),
                item("b", Some("1 (222222222222)"), Some("1 (232323232323)")),
                item("c", Some("1"), None),
                item("e", None, Some("1")),
            ],
            unchanged: 1,
        };
        assert_eq!(changes(&old, &new), [expected]);
        let same = changes(&old, &old);
        assert_eq!((same[0].items.len(), same[0].unchanged), (0, 4));
    }

    #[test]
    fn downloads_are_compared_by_their_checksums() {
        let of = |stage: &str, url: &str, checksum: Checksum| {
            let (url, checksums, size) = (url.to_string(), None, Some(1));
            let locked = LockedDownload { url, checksums, checksum, size };
            (stage.to_string(), vec![LockEntry::Download(locked)])
        };
        let sha256 = |text: &str| Checksum::Sha256(Digest::of(text));
        let sha512: Sha512 = "ab".repeat(64).parse().unwrap();
        let old = Entries::from([
            of("iso", "http://a/x", sha256("one")),
            of("gone", "http://a/y", Checksum::Sha512(sha512)),
        ]);
        let new = Entries::from([of("iso", "http://a/x", sha256("two"))]);
        let found = changes(&old, &new);
        let gone = Item {
            name: "sha512".into(),
            old: Some("ab".repeat(64)),
            new: None,
            is_security: false,
        };
        assert_eq!((found[0].stage.as_str(), &found[0].items[..]), ("gone", &[gone][..]));
        let digits = |text: &str| Some(Digest::of(text).to_string());
        let other = Item {
            name: "sha256".into(),
            old: digits("one"),
            new: digits("two"),
            is_security: false,
        };
        assert_eq!((found[1].question.as_str(), &found[1].items[..]), ("http://a/x", &[other][..]));
    }
}
