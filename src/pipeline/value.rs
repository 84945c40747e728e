//! TOML with spans: a tree of values, each with its place in the source. It knows nothing of
//! pipelines, nor how a source is read.

use std::fmt;
use std::ops::{Deref, Range};

/// A place in the source: a range of bytes.
pub type Span = Range<usize>;

/// A value and its span in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// Where.
    pub span: Span,
    /// What.
    pub value: T,
}

impl<T> Spanned<T> {
    /// `value` at `span`.
    pub fn new(span: Span, value: T) -> Self {
        Spanned { span, value }
    }

    /// Another value at the same place.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { span: self.span, value: change(self.value) }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// A string of the pipeline, after substitution.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    /// The string itself.
    pub text: String,
    /// Whether something in it came from the environment and must not be shown.
    pub secret: bool,
    /// The span of the whole string, quotes included.
    pub span: Span,
}

impl Text {
    /// A string that is not a secret.
    pub fn open(span: Span, text: impl Into<String>) -> Text {
        Text { text: text.into(), secret: false, span }
    }

    /// The bare string.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The string as a message may show it: quoted, or without its content if secret.
    pub fn shown(&self) -> String {
        match self.secret {
            true => "the secret value".to_string(),
            false => format!("`{}`", self.text),
        }
    }
}

/// Never prints a secret.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.secret {
            true => write!(f, "<secret>"),
            false => write!(f, "{:?}", self.text),
        }
    }
}

/// A TOML value and its span.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Where: of a table with a header, the header.
    pub span: Span,
    /// What.
    pub data: Data,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// A string of any of the four notations.
    String(Text),
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A date, a time or both, as written.
    Datetime(String),
    /// An array, also an array of tables.
    Array(Vec<Value>),
    /// A table of any notation.
    Table(Table),
    /// A value whose fault has been reported already; readers report nothing more.
    Faulty,
}

impl Value {
    /// What it is, with its article, as messages name it.
    pub fn describe(&self) -> &'static str {
        match self.data {
            Data::String(_) => "a string",
            Data::Integer(_) => "an integer",
            Data::Float(_) => "a float",
            Data::Boolean(_) => "a boolean",
            Data::Datetime(_) => "a date",
            Data::Array(_) => "an array",
            Data::Table(_) => "a table",
            Data::Faulty => "a faulty value",
        }
    }
}

/// One `key = value` of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key, and the span of its first occurrence.
    pub key: Spanned<String>,
    /// Its value.
    pub value: Value,
}

/// A table in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The entries, each key once.
    pub entries: Vec<Entry>,
}

impl Table {
    /// The entry of `key`.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key.value == key)
    }

    /// Takes the entry of `key` out.
    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.key.value == key)?;
        Some(self.entries.remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_shows() {
        let text = Text { text: "hunter2".into(), secret: true, span: 0..1 };
        assert!(!format!("{text:?}{}", text.shown()).contains("hunter2"));
    }
}
