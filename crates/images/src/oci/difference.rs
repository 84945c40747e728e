//! What a layer has to hold, so that a tree comes of the tree below it: names that are new or changed,
//! the directories above them, and whiteouts of names that are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::cancel::Cancel;
use crate::digest::{self, Digest};
use crate::error::{Context, Result, bail};
use crate::format::oci::WHITEOUT;
use crate::tree::{self, Kind, Metadata, Reader};

/// A path in the order of a tree: its parts with zeros between them. The root is empty.
pub(super) type Key = Vec<u8>;

/// The names of a tree, what they are, and the SHA-256 of the content of files.
pub(super) struct Contents(BTreeMap<Key, (Metadata, Option<Digest>)>);

/// What a layer holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// The names whose entries of the upper tree it has.
    pub(super) entries: BTreeSet<Key>,
    /// The names that it removes from the layers below.
    pub(super) removed: Vec<Key>,
}

impl Difference {
    /// Whether the trees are the same.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The key of a path of a tree.
pub(super) fn key(path: &[u8]) -> Result<Key> {
    let path = tree::relative(path)?;
    Ok(path.into_iter().map(|byte| if byte == b'/' { 0 } else { byte }).collect())
}

/// The last part of a name.
pub(super) fn last(key: &[u8]) -> &[u8] {
    key.rsplit(|byte| *byte == 0).next().unwrap_or(key)
}

/// The name of the directory that a name is in; `None` of the root.
fn parent(key: &[u8]) -> Option<&[u8]> {
    match key.iter().rposition(|byte| *byte == 0) {
        Some(end) => Some(&key[..end]),
        None if key.is_empty() => None,
        None => Some(&[]),
    }
}

impl Contents {
    /// Reads the tar of a tree.
    pub(super) fn read(tree: &Path, cancel: &Cancel) -> Result<Contents> {
        let what = || format!("reading {}", tree.display());
        let file = File::open(tree).with_context(what)?;
        let mut entries = Reader::new(BufReader::with_capacity(1 << 18, file));
        let mut names = BTreeMap::new();
        while let Some((entry, mut content)) = entries.next_entry().with_context(what)? {
            cancel.check()?;
            let key = key(&entry.path)?;
            if last(&key).starts_with(WHITEOUT) {
                let path = entry.path.escape_ascii();
                bail!("the tree has {path}: layers remove files by such names and cannot hold it");
            }
            let mut metadata = entry.metadata;
            let digest = match metadata.kind {
                Kind::Regular => Some(digest::of_reader(&mut content).with_context(what)?.0),
                _ => None,
            };
            // The same content may be stored in several ways.
            metadata.data = None;
            names.insert(key, (metadata, digest));
        }
        Ok(Contents(names))
    }

    fn is_directory(&self, key: &[u8]) -> bool {
        self.0.get(key).is_some_and(|(metadata, _)| metadata.kind == Kind::Directory)
    }

    /// What has to lie above `lower` to give this tree.
    pub(super) fn above(&self, lower: &Contents) -> Result<Difference> {
        let mut found = Difference::default();
        // The names of a file that has several, by the one that has the content.
        let mut names: BTreeMap<Key, Vec<&Key>> = BTreeMap::new();
        for (name, (metadata, _)) in &self.0 {
            if metadata.kind == Kind::Link {
                names.entry(key(&metadata.link)?).or_default().push(name);
            }
        }
        let mut changed: Vec<&Key> = Vec::new();
        for (name, item) in &self.0 {
            if lower.0.get(name) == Some(item) {
                continue;
            }
            changed.push(name);
            // Who unpacks a layer by itself has no name of another layer to link to.
            let first = match item.0.kind {
                Kind::Link => key(&item.0.link)?,
                _ => name.clone(),
            };
            changed.extend(names.get(&first).into_iter().flatten());
            changed.extend(self.0.get_key_value(&first).map(|(name, _)| name));
        }
        for name in changed {
            found.add_with_parents(name);
        }
        for name in lower.0.keys().filter(|name| !self.0.contains_key(*name)) {
            // With a directory that is gone all goes that is in it.
            if let Some(above) = parent(name)
                && self.is_directory(above)
                && lower.is_directory(above)
            {
                found.add_with_parents(above);
                found.removed.push(name.clone());
            }
        }
        Ok(found)
    }
}

impl Difference {
    /// Adds a name and the directories above it, whose owners and modes would be lost otherwise.
    fn add_with_parents(&mut self, name: &[u8]) {
        let mut next = Some(name);
        while let Some(name) = next {
            self.entries.insert(name.to_vec());
            next = parent(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contents from rows of a path, a kind (`d`, `f`, or the target of a hard link) and a time.
    fn contents(rows: &[(&str, &str, u64)]) -> Contents {
        let item = |(path, kind, time): &(&str, &str, u64)| {
            let metadata = match *kind {
                "d" => Metadata::directory(0o755, *time),
                "f" => Metadata::file(1, *time),
                target => Metadata {
                    kind: Kind::Link,
                    link: target.as_bytes().to_vec(),
                    ..Metadata::file(0, *time)
                },
            };
            let digest = (*kind == "f").then(|| Digest::of("x"));
            (key(path.as_bytes()).unwrap(), (metadata, digest))
        };
        Contents(rows.iter().map(item).collect())
    }

    fn shown(difference: &Difference) -> (Vec<String>, Vec<String>) {
        let show = |key: &Key| String::from_utf8(key.clone()).unwrap().replace('\0', "/");
        (
            difference.entries.iter().map(show).collect(),
            difference.removed.iter().map(show).collect(),
        )
    }

    #[track_caller]
    fn is(
        lower: &[(&str, &str, u64)],
        upper: &[(&str, &str, u64)],
        entries: &[&str],
        removed: &[&str],
    ) {
        let found = contents(upper).above(&contents(lower)).unwrap();
        let strings = |texts: &[&str]| texts.iter().map(|it| it.to_string()).collect::<Vec<_>>();
        assert_eq!(shown(&found), (strings(entries), strings(removed)));
    }

    const LOWER: &[(&str, &str, u64)] =
        &[("", "d", 0), ("a", "d", 0), ("a/x", "f", 0), ("a/y", "f", 0), ("b", "d", 0)];

    #[test]
    fn equal_trees_differ_in_nothing() {
        is(LOWER, LOWER, &[], &[]);
    }

    #[test]
    fn what_changed_comes_with_the_directories_above_it() {
        let mut upper = LOWER.to_vec();
        upper[2].2 = 1;
        upper.push(("a/n/new", "f", 0));
        upper.push(("a/n", "d", 0));
        is(LOWER, &upper, &["", "a", "a/n", "a/n/new", "a/x"], &[]);
    }

    #[test]
    fn what_is_gone_is_removed_once() {
        is(LOWER, &[("", "d", 0), ("b", "d", 0)], &[""], &["a"]);
        is(LOWER, &[LOWER[0], LOWER[1], LOWER[2], LOWER[4]], &["", "a"], &["a/y"]);
        // A file in place of a directory hides all that was in it.
        is(LOWER, &[("", "d", 0), ("a", "f", 0), ("b", "d", 0)], &["", "a"], &[]);
    }

    #[test]
    fn all_names_of_a_changed_file_are_in_one_layer() {
        let lower = &[("", "d", 0), ("a", "f", 0), ("b", "a", 0), ("c", "d", 0)];
        let upper = &[("", "d", 0), ("a", "f", 0), ("b", "a", 0), ("c", "d", 0), ("c/d", "a", 0)];
        is(lower, upper, &["", "a", "b", "c", "c/d"], &[]);
        is(lower, &[("", "d", 0), ("a", "f", 0), ("c", "d", 0)], &[""], &["b"]);
        is(
            lower,
            &[("", "d", 0), ("a", "f", 1), ("b", "a", 0), ("c", "d", 0)],
            &["", "a", "b"],
            &[],
        );
    }
}
