//! The typed getters of [`Fields`]: strings, lists, numbers, sizes, choices. A getter asks for one key and records one fault for each thing wrong with it.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::fault::Fault;
use super::fields::Fields;
use super::suggest;
use super::value::{Data, Spanned, Text, Value};
use crate::units::{Bytes, SizeError};

/// A size that may be what the others leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// So much.
    Exactly(Bytes),
    /// `"rest"`.
    Rest,
}

const UNITS: &str = "a size is a whole number and one of `KiB`, `MiB`, `GiB`, `TiB` and `B`, \
                     as in \"512 MiB\"";

impl<'a> Fields<'a> {
    /// The string under `key`. One that comes from the environment is a fault: it would stand in
    /// recipes, logs and file names.
    pub fn text(&mut self, key: &str) -> Option<Text> {
        let text = self.secret_text(key)?;
        self.as_open(key, text)
    }

    /// The string under `key`, which must be there.
    pub fn required_text(&mut self, key: &str) -> Option<Text> {
        self.require(key).text(key)
    }

    /// The string under `key`, which may come from the environment; whoever takes it keeps it out
    /// of sight.
    pub fn secret_text(&mut self, key: &str) -> Option<Text> {
        let value = self.raw(key)?;
        self.as_text(key, value, "a string")
    }

    /// The strings of the array under `key`; without the faulty ones.
    pub fn texts(&mut self, key: &str) -> Vec<Text> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let Data::Array(values) = &value.data else {
            let hint = match &value.data {
                Data::String(_) => self.written(value).map(|it| format!("write `{key} = [{it}]`")),
                _ => None,
            };
            self.wrong_type(key, value, "an array of strings", hint);
            return Vec::new();
        };
        let texts = values.iter().filter_map(|value| self.as_text(key, value, "a string"));
        texts.filter_map(|text| self.as_open(key, text)).collect()
    }

    /// Like [`Fields::texts`]; the key must be there, and the array may not be empty.
    pub fn required_texts(&mut self, key: &str) -> Vec<Text> {
        if let Some(value) = self.require(key).raw(key)
            && value.data == Data::Array(Vec::new())
        {
            self.fault(Fault::new(value.span.clone(), format!("`{key}` is empty")));
        }
        self.texts(key)
    }

    /// Like [`Fields::texts`]; an element that has come before is a fault and left out.
    pub fn unique_texts(&mut self, key: &str) -> Vec<Text> {
        let mut kept: Vec<Text> = Vec::new();
        for text in self.texts(key) {
            match kept.iter().find(|other| other.text == text.text) {
                None => kept.push(text),
                Some(first) => {
                    let message = format!("{} is in `{key}` twice", text.shown());
                    let fault = Fault::new(text.span, message).label("again");
                    self.fault(fault.also(first.span.clone(), "first here"));
                }
            }
        }
        kept
    }

    /// The string, or the strings, under `key`.
    pub fn text_or_texts(&mut self, key: &str) -> Vec<Text> {
        match self.raw(key) {
            Some(Value { data: Data::String(text), .. }) => {
                self.as_open(key, text.clone()).into_iter().collect()
            }
            Some(value) if !matches!(value.data, Data::Array(_)) => {
                self.wrong_type(key, value, "a string or an array of strings", None);
                Vec::new()
            }
            _ => self.texts(key),
        }
    }

    /// The strings of the table under `key`, by their keys, in file order.
    pub fn texts_by_name(&mut self, key: &str) -> Vec<(Spanned<String>, Text)> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let Data::Table(table) = &value.data else {
            self.wrong_type(key, value, "a table of strings", None);
            return Vec::new();
        };
        let entries = table.entries.iter();
        let read = entries.filter_map(|entry| {
            let text = self.as_text(&entry.key, &entry.value, "a string")?;
            Some((entry.key.clone(), self.as_open(&entry.key, text)?))
        });
        read.collect()
    }

    /// What the string under `key` says as a `T`; `what` names it: `a SHA-256`.
    pub fn parsed<T>(&mut self, key: &str, what: &str) -> Option<Spanned<T>>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let text = self.text(key)?;
        match text.text.parse() {
            Ok(value) => Some(Spanned::new(text.span, value)),
            Err(error) => {
                let message = format!("{} is not {what}", text.shown());
                self.fault(Fault::new(text.span, message).label(error.to_string()));
                None
            }
        }
    }

    /// The boolean under `key`, or `default`.
    pub fn boolean(&mut self, key: &str, default: bool) -> bool {
        match self.raw(key) {
            Some(Value { data: Data::Boolean(value), .. }) => *value,
            Some(value) => {
                let hint = match &value.data {
                    Data::String(text) if matches!(text.as_str(), "true" | "false") => {
                        Some(format!("write `{key} = {}`, without quotes", text.text))
                    }
                    _ => None,
                };
                self.wrong_type(key, value, "a boolean", hint);
                default
            }
            None => default,
        }
    }

    /// The integer under `key`, if it is in `range`.
    pub fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<Spanned<i64>> {
        let value = self.raw(key)?;
        let Data::Integer(number) = value.data else {
            self.wrong_type(key, value, "an integer", None);
            return None;
        };
        if range.contains(&number) {
            return Some(Spanned::new(value.span.clone(), number));
        }
        let (least, most) = range.into_inner();
        let bound = match most {
            i64::MAX => format!("at least {least}"),
            _ => format!("from {least} to {most}"),
        };
        let message = format!("`{key}` is out of range");
        self.fault(Fault::new(value.span.clone(), message).label(format!("must be {bound}")));
        None
    }

    /// The size under `key`: `"512 MiB"`.
    pub fn size(&mut self, key: &str) -> Option<Spanned<Bytes>> {
        let value = self.raw(key)?;
        let text = self.size_text(key, value)?;
        self.as_size(&text, UNITS)
    }

    /// The size under `key`, which must be there.
    pub fn required_size(&mut self, key: &str) -> Option<Spanned<Bytes>> {
        self.require(key).size(key)
    }

    /// The size under `key`, or `"rest"`.
    pub fn size_or_rest(&mut self, key: &str) -> Option<Spanned<Size>> {
        let value = self.raw(key)?;
        let text = self.size_text(key, value)?;
        if text.as_str() == "rest" {
            return Some(Spanned::new(text.span, Size::Rest));
        }
        let hint = format!("{UNITS}, or \"rest\" for what is left");
        self.as_size(&text, &hint).map(|size| size.map(Size::Exactly))
    }

    /// The size under `key`, or `"rest"`; the key must be there.
    pub fn required_size_or_rest(&mut self, key: &str) -> Option<Spanned<Size>> {
        self.require(key).size_or_rest(key)
    }

    /// The one of `words` that stands under `key`.
    pub fn choice(&mut self, key: &str, words: &[&'static str]) -> Option<Spanned<&'static str>> {
        let text = self.text(key)?;
        self.as_choice(key, text, words)
    }

    /// The one of `words` that stands under `key`, which must be there.
    pub fn required_choice(
        &mut self,
        key: &str,
        words: &[&'static str],
    ) -> Option<Spanned<&'static str>> {
        self.require(key).choice(key, words)
    }

    /// The value whose word stands under `key`.
    pub fn choice_of<T: Copy>(
        &mut self,
        key: &str,
        rows: &[(&'static str, T)],
    ) -> Option<Spanned<T>> {
        let words: Vec<&'static str> = rows.iter().map(|(word, _)| *word).collect();
        let word = self.choice(key, &words)?;
        let (_, value) = rows.iter().find(|(other, _)| *other == word.value)?;
        Some(Spanned::new(word.span, *value))
    }

    /// The words of `words` that stand under `key`: one alone, or a list without repetition.
    pub fn choices(&mut self, key: &str, words: &[&'static str]) -> Vec<Spanned<&'static str>> {
        let texts = match self.raw(key) {
            Some(Value { data: Data::String(text), .. }) => {
                self.as_open(key, text.clone()).into_iter().collect()
            }
            _ => self.unique_texts(key),
        };
        texts.into_iter().filter_map(|text| self.as_choice(key, text, words)).collect()
    }

    /// How the source spells a value.
    fn written(&self, value: &Value) -> Option<&'a str> {
        self.scope.source.get(value.span.clone())
    }

    pub(super) fn as_text(&self, key: &str, value: &Value, expected: &str) -> Option<Text> {
        if let Data::String(text) = &value.data {
            return Some(text.clone());
        }
        let hint = match &value.data {
            Data::Integer(_) | Data::Float(_) | Data::Boolean(_) | Data::Datetime(_) => {
                self.written(value).map(|written| format!("write `\"{written}\"`"))
            }
            _ => None,
        };
        self.wrong_type(key, value, expected, hint);
        None
    }

    /// A string that will be shown, and so may not be a secret.
    pub(super) fn as_open(&self, key: &str, text: Text) -> Option<Text> {
        if !text.secret {
            return Some(text);
        }
        let message = format!("`{key}` cannot be a secret");
        let hint = "what comes from the environment is a secret; use a variable and `--var`";
        self.fault(Fault::new(text.span, message).label("from the environment").hint(hint));
        None
    }

    fn size_text(&self, key: &str, value: &Value) -> Option<Text> {
        if let Data::String(text) = &value.data {
            return self.as_open(key, text.clone());
        }
        self.wrong_type(key, value, "a size in a string", Some(UNITS.to_string()));
        None
    }

    fn as_size(&self, text: &Text, hint: &str) -> Option<Spanned<Bytes>> {
        let error = match text.text.parse::<Bytes>() {
            Ok(size) => return Some(Spanned::new(text.span.clone(), size)),
            Err(error) => error,
        };
        let label = error.to_string();
        let decimal = match &error {
            SizeError::Unit(unit) => meant_unit(unit),
            _ => None,
        };
        let hint = match decimal {
            Some(unit) => format!("did you mean `{unit}`? {hint}"),
            None => hint.to_string(),
        };
        let fault = Fault::new(text.span.clone(), format!("{} is not a size", text.shown()));
        self.fault(fault.label(label).hint(hint));
        None
    }

    fn as_choice(
        &self,
        key: &str,
        text: Text,
        words: &[&'static str],
    ) -> Option<Spanned<&'static str>> {
        let found = words.iter().find(|word| **word == text.text);
        if let Some(word) = found {
            return Some(Spanned::new(text.span, word));
        }
        let message = format!("{} is no `{key}`", text.shown());
        let near = if text.secret { "" } else { text.as_str() };
        let hint = suggest::hint(near, words, "choose one of");
        self.fault(Fault::new(text.span, message).maybe_hint(hint));
        None
    }
}

/// The unit a person meant who wrote `GB`, `g` or `gib`.
fn meant_unit(unit: &str) -> Option<&'static str> {
    match unit.to_ascii_lowercase().as_str() {
        "k" | "kb" | "kib" => Some("KiB"),
        "m" | "mb" | "mib" => Some("MiB"),
        "g" | "gb" | "gib" => Some("GiB"),
        "t" | "tb" | "tib" => Some("TiB"),
        "b" | "byte" | "bytes" => Some("B"),
        _ => None,
    }
}
