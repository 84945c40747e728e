//! Mappings of a small YAML file, asked for keys one by one. As the reader of a pipeline's
//! tables it collects a fault with its line for each value that is not as it should be, and in
//! the end for each key that nobody asked for. It knows types, not meanings.

use std::ops::RangeInclusive;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use crate::machine::seed::SeedFault;
use crate::pipeline::suggest;

/// What is wrong with a file, so far.
pub type Faults = Vec<SeedFault>;

/// A value, and the line it stands on.
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
    entries: Vec<(At<String>, &'a MarkedYaml<'a>)>,
    asked: Vec<&'static str>,
}

/// A fault at `line`.
pub fn fault(line: usize, message: impl Into<String>, hint: Option<String>) -> SeedFault {
    SeedFault { line, message: message.into(), hint }
}

/// The documents of `text`.
pub fn parse(text: &str) -> Result<Vec<MarkedYaml<'_>>, Faults> {
    MarkedYaml::load_from_str(text).map_err(|error| {
        let hint =
            text.contains('\t').then(|| "YAML does not take tabs; indent with spaces".into());
        vec![fault(error.marker().line(), format!("this is no YAML: {}", error.info()), hint)]
    })
}

/// The mapping that a file is; what is below `outer` where that is its only key. An empty file is
/// an empty mapping.
pub fn top<'a>(
    documents: &'a [MarkedYaml<'a>],
    outer: &str,
    faults: &mut Faults,
) -> Option<Mapping<'a>> {
    let empty = Mapping { name: outer.into(), line: 1, entries: Vec::new(), asked: Vec::new() };
    let Some(document) = documents.first() else { return Some(empty) };
    if let Some(second) = documents.get(1) {
        faults.push(fault(line(second), "a second document, which nothing reads", None));
    }
    let top = match is_null(document) {
        true => return Some(empty),
        false => mapping(outer, document, faults)?,
    };
    match &top.entries[..] {
        [(key, below)] if key.value == outer && is_null(below) => Some(empty),
        [(key, below)] if key.value == outer => mapping(outer, below, faults),
        _ => Some(top),
    }
}

/// `node` as a mapping.
pub fn mapping<'a>(
    name: &str,
    node: &'a MarkedYaml<'a>,
    faults: &mut Faults,
) -> Option<Mapping<'a>> {
    let line = line(node);
    let YamlData::Mapping(pairs) = &node.data else {
        let message = format!("`{name}` is {}, not keys with values", kind(node));
        faults.push(fault(line, message, None));
        return None;
    };
    let mut entries = Vec::new();
    for (key, value) in pairs {
        match text(key) {
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
    pub fn into_entries(self) -> Vec<(At<String>, &'a MarkedYaml<'a>)> {
        self.entries
    }

    fn get(&mut self, key: &'static str) -> Option<&'a MarkedYaml<'a>> {
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
            faults.push(fault(text.line, format!("`{}` is no `{key}`", text.value), hint));
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

fn line(node: &MarkedYaml<'_>) -> usize {
    node.span.start.line()
}

fn is_null(node: &MarkedYaml<'_>) -> bool {
    matches!(node.data, YamlData::Value(Scalar::Null))
}

/// What a scalar reads as.
fn text(node: &MarkedYaml<'_>) -> Option<String> {
    match &node.data {
        YamlData::Value(Scalar::String(text)) => Some(text.to_string()),
        YamlData::Value(Scalar::Integer(number)) => Some(number.to_string()),
        _ => None,
    }
}

/// What a node is, for messages.
fn kind(node: &MarkedYaml<'_>) -> &'static str {
    match &node.data {
        YamlData::Mapping(_) => "a mapping",
        YamlData::Sequence(_) => "a list",
        YamlData::Value(Scalar::Null) => "empty",
        YamlData::Value(Scalar::Boolean(_)) => "`true` or `false`",
        YamlData::Value(Scalar::FloatingPoint(_)) => "a fraction",
        YamlData::Value(Scalar::Integer(_)) => "a number",
        YamlData::Value(Scalar::String(_)) => "a word",
        _ => "not a plain value",
    }
}
