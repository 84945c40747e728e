//! Mappings of a small YAML file, asked for keys one by one. As the reader of a pipeline's
//! tables it collects a fault with its line for each value that is not as it should be, and in
//! the end for each key that nobody asked for. It knows types, not meanings.

use std::ops::RangeInclusive;

use crate::format::yaml::{self, Data, Node};
use crate::pipeline::suggest;
use crate::seed::SeedFault;

/// What is wrong with a file, so far.
pub type Faults = Vec<SeedFault>;

/// A value, and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// From 1.
    pub line: usize,
    /// The value.
    pub value: T,
}

/// One mapping.
pub struct Mapping<'a> {
    /// What messages call it.
    pub name: String,
    /// Where it begins.
    pub line: usize,
    entries: Vec<(At<String>, &'a Node)>,
    asked: Vec<&'static str>,
}

/// A fault at `line`.
pub fn fault(line: usize, message: impl Into<String>, hint: Option<String>) -> SeedFault {
    SeedFault::new(line, message, hint)
}

/// What `text` says; `None` for nothing.
pub fn parse(text: &str) -> Result<Option<Node>, Faults> {
    yaml::read(text).map_err(|broken| {
        let hint =
            text.contains('\t').then(|| "YAML does not take tabs; indent with spaces".into());
        vec![fault(broken.place.line, format!("this is not YAML: {}", broken.why), hint)]
    })
}

/// The mapping that a file is; what is below `outer` where that is its only key. An empty file is
/// an empty mapping.
pub fn top<'a>(
    document: Option<&'a Node>,
    outer: &str,
    faults: &mut Faults,
) -> Option<Mapping<'a>> {
    let empty = Mapping { name: outer.into(), line: 1, entries: Vec::new(), asked: Vec::new() };
    let top = match document {
        Some(document) if !is_null(document) => mapping(outer, document, faults)?,
        _ => return Some(empty),
    };
    match &top.entries[..] {
        [(key, below)] if key.value == outer && is_null(below) => Some(empty),
        [(key, below)] if key.value == outer => mapping(outer, below, faults),
        _ => Some(top),
    }
}

/// `node` as a mapping.
pub fn mapping<'a>(name: &str, node: &'a Node, faults: &mut Faults) -> Option<Mapping<'a>> {
    let line = line(node);
    let Data::Mapping(pairs) = &node.data else {
        let message = format!("`{name}` is {}, not keys with values", kind(node));
        faults.push(fault(line, message, None));
        return None;
    };
    let mut entries: Vec<(At<String>, &Node)> = Vec::new();
    for (key, value) in pairs {
        match text(key) {
            Some(word) if entries.iter().any(|(known, _)| known.value == word) => {
                let message = format!("`{word}` is there twice");
                faults.push(fault(self::line(key), message, None));
            }
            Some(word) => entries.push((At { line: self::line(key), value: word }, value)),
            None => {
                let message = format!("a key of `{name}` is {}", kind(key));
                faults.push(fault(self::line(key), message, None));
            }
        }
    }
    Some(Mapping { name: name.to_string(), line, entries, asked: Vec::new() })
}

impl<'a> Mapping<'a> {
    /// Everything in it, in the order of the file; counts as asking for it all.
    pub fn into_entries(self) -> Vec<(At<String>, &'a Node)> {
        self.entries
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        self.entries.iter().find(|(known, _)| known.value == key).map(|(_, value)| *value)
    }

    /// The text under `key`.
    pub fn text(&mut self, key: &'static str, faults: &mut Faults) -> Option<At<String>> {
        let node = self.get(key)?;
        let found = text(node);
        if found.is_none() {
            let message = format!("`{key}` of `{}` is {}, not a word", self.name, kind(node));
            faults.push(fault(line(node), message, None));
        }
        Some(At { line: line(node), value: found? })
    }

    /// The number under `key`, which lies in `range`.
    pub fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        faults: &mut Faults,
    ) -> Option<At<u64>> {
        let node = self.get(key)?;
        let found = text(node).and_then(|text| text.parse().ok());
        let found = found.filter(|number| range.contains(number));
        if found.is_none() {
            let is = text(node).map_or_else(|| kind(node).to_string(), |text| format!("`{text}`"));
            let message = format!("`{key}` of `{}` is {is}", self.name);
            let hint = format!("a whole number from {} to {}", range.start(), range.end());
            faults.push(fault(line(node), message, Some(hint)));
        }
        Some(At { line: line(node), value: found? })
    }

    /// The one of `words` under `key`, in small or capital letters.
    pub fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
        faults: &mut Faults,
    ) -> Option<At<T>> {
        let text = self.text(key, faults)?;
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text.value));
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let hint = suggest::hint(&text.value, &known, "choose one of");
            faults.push(fault(text.line, format!("`{}` is not a valid `{key}`", text.value), hint));
        }
        Some(At { line: text.line, value: found?.1 })
    }

    /// Records a fault if `key`, which was asked for, is not there.
    pub fn require(&self, key: &str, faults: &mut Faults) {
        if !self.entries.iter().any(|(known, _)| known.value == key) {
            faults.push(fault(self.line, format!("`{}` has no `{key}`", self.name), None));
        }
    }

    /// Records a fault for each key that was not asked for.
    pub fn finish(self, faults: &mut Faults) {
        for (key, _) in &self.entries {
            if !self.asked.contains(&key.value.as_str()) {
                let hint = suggest::hint(&key.value, &self.asked, "the keys here are");
                let message = format!("`{}` has no key `{}`", self.name, key.value);
                faults.push(fault(key.line, message, hint));
            }
        }
    }
}

fn line(node: &Node) -> usize {
    node.place.line
}

fn is_null(node: &Node) -> bool {
    node.describe() == "nothing"
}

/// What a word or number reads as.
fn text(node: &Node) -> Option<String> {
    let is_word = ["text", "a number"].contains(&node.describe());
    node.text().filter(|_| is_word).map(str::to_string)
}

/// What a node is, for messages.
fn kind(node: &Node) -> &'static str {
    match node.describe() {
        "text" => "a word",
        "nothing" => "empty",
        other => other,
    }
}
