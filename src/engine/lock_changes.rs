//! How two locks differ, package by package.

use std::collections::{BTreeMap, BTreeSet};

use super::lockfile::{Entries, place};

/// How what a stage is pinned to differs, for one of its questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The stage.
    pub stage: String,
    /// Which of its questions: `packages`, the address of a download; and what world it is of,
    /// `trixie amd64`.
    pub question: String,
    /// What differs, sorted by name.
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
            let differs = names.iter().filter(|name| before.get(**name) != after.get(**name));
            let items: Vec<Item> =
                differs.map(|name| item(name, before.get(*name), after.get(*name))).collect();
            Changed { stage, question: asked, unchanged: names.len() - items.len(), items }
        })
        .collect()
}

/// What a name is pinned to: the word for people, and all that makes it what it is.
type Pinned = (String, String);

fn item(name: &str, old: Option<&Pinned>, new: Option<&Pinned>) -> Item {
    // Two packages of one version differ by their bytes.
    let same_word = old.zip(new).is_some_and(|(old, new)| old.0 == new.0);
    let shown = |(word, bytes): &Pinned| match same_word {
        true => format!("{word} ({})", &bytes[..bytes.len().min(12)]),
        false => word.clone(),
    };
    Item { name: name.to_string(), old: old.map(shown), new: new.map(shown) }
}

/// What each question of each stage is answered with, by names.
fn by_question(entries: &Entries) -> BTreeMap<(String, String), BTreeMap<String, Pinned>> {
    let mut found = BTreeMap::new();
    for (stage, entries) in entries {
        for entry in entries {
            let words = place(entry).into_iter().flatten();
            let words: Vec<String> =
                words.filter_map(|word| word.as_str().map(str::to_string)).collect();
            found.insert((stage.clone(), words.join(" ")), pinned(entry));
        }
    }
    found
}

fn pinned(entry: &toml::Table) -> BTreeMap<String, Pinned> {
    let text = |table: &toml::Table, key: &str| {
        table.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_string()
    };
    let digest = |name: &str| {
        let digest = text(entry, name);
        (!digest.is_empty()).then(|| (name.to_string(), (digest.clone(), digest)))
    };
    match entry.get("package").and_then(toml::Value::as_array) {
        Some(packages) => packages
            .iter()
            .filter_map(toml::Value::as_table)
            .map(|it| (text(it, "name"), (text(it, "version"), text(it, "sha256"))))
            .collect(),
        None => ["sha256", "sha512"].into_iter().filter_map(digest).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Entries {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn packages_are_compared_by_version_and_bytes() {
        let old = "[[base]]\npart = \"packages\"\nsuite = \"trixie\"\narchitecture = \"amd64\"\n\
            release = \"1\"\npackage = [\
            { name = \"a\", version = \"1\", sha256 = \"11\" },\
            { name = \"b\", version = \"1\", sha256 = \"22\" },\
            { name = \"c\", version = \"1\", sha256 = \"33\" },\
            { name = \"d\", version = \"1\", sha256 = \"44\" }]";
        let new = old
            .replace(
                "\"a\", version = \"1\", sha256 = \"11\"",
                "\"a\", version = \"2\", sha256 = \"12\"",
            )
            .replace("sha256 = \"22\"", "sha256 = \"23\"")
            .replace("name = \"c\"", "name = \"e\"");
        let item = |name: &str, old: Option<&str>, new: Option<&str>| Item {
            name: name.into(),
            old: old.map(String::from),
            new: new.map(String::from),
        };
        let expected = Changed {
            stage: "base".into(),
            question: "packages trixie amd64".into(),
            items: vec![
                item("a", Some("1"), Some("2")),
                item("b", Some("1 (22)"), Some("1 (23)")),
                item("c", Some("1"), None),
                item("e", None, Some("1")),
            ],
            unchanged: 1,
        };
        assert_eq!(changes(&entries(old), &entries(&new)), [expected]);
        let same = changes(&entries(old), &entries(old));
        assert_eq!((same[0].items.len(), same[0].unchanged), (0, 4));
    }

    #[test]
    fn downloads_are_compared_by_their_digests() {
        let old = "[[iso]]\npart = \"http://a/x\"\nsha256 = \"aa\"\nsize = 1\n\
            [[gone]]\npart = \"http://a/y\"\nsha512 = \"cc\"";
        let new = "[[iso]]\npart = \"http://a/x\"\nsha256 = \"bb\"\nsize = 2";
        let found = changes(&entries(old), &entries(new));
        let gone = Item { name: "sha512".into(), old: Some("cc".into()), new: None };
        assert_eq!((found[0].stage.as_str(), &found[0].items[..]), ("gone", &[gone][..]));
        let other = Item { name: "sha256".into(), old: Some("aa".into()), new: Some("bb".into()) };
        assert_eq!((found[1].question.as_str(), &found[1].items[..]), ("http://a/x", &[other][..]));
    }
}
