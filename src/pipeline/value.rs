//! TOML with spans: a tree of values, each with its place in the source.
//! It knows the grammar only through the `toml` crate and nothing of pipelines.

use std::fmt;
use std::ops::{Deref, Range};

use toml::Spanned as TomlSpanned;
use toml::de::{DeTable, DeValue};

use super::duplicates;
use super::fault::{Fault, Faults};
use super::recovery::recover;

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

/// The tree of `source`, with every syntax error among the faults. Statements that are not TOML
/// are not in the tree; they are the second thing returned.
pub fn parse(source: &str, faults: &mut Faults) -> (Table, String) {
    let (text, lost) = recover(source, faults);
    let (table, errors) = DeTable::parse_recoverable(&text);
    let table = table_of(table.get_ref(), faults);
    duplicates::report(&text, &table, &errors, faults);
    (table, lost)
}

pub(super) fn table_of(table: &DeTable<'_>, faults: &mut Faults) -> Table {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: Spanned::new(key.span(), key.get_ref().to_string()),
            value: value_of(value, faults),
        })
        .collect();
    // The crate sorts by name; people and graphs want the order of the file.
    entries.sort_by_key(|entry| entry.key.span.start);
    Table { entries }
}

fn value_of(value: &TomlSpanned<DeValue<'_>>, faults: &mut Faults) -> Value {
    let span = value.span();
    let data = match value.get_ref() {
        DeValue::String(text) => Data::String(Text::open(span.clone(), text.as_ref())),
        DeValue::Boolean(value) => Data::Boolean(*value),
        DeValue::Datetime(value) => Data::Datetime(value.to_string()),
        DeValue::Array(values) => {
            Data::Array(values.iter().map(|value| value_of(value, faults)).collect())
        }
        DeValue::Table(table) => Data::Table(table_of(table, faults)),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Data::Integer(number),
            Err(_) => {
                faults.add(
                    Fault::new(span.clone(), "the integer does not fit in 64 bits")
                        .label("too large"),
                );
                Data::Faulty
            }
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => Data::Float(number),
            Err(_) => {
                faults.add(Fault::new(span.clone(), "the number cannot be read"));
                Data::Faulty
            }
        },
    };
    Value { span, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(source: &str) -> (Table, Faults) {
        let mut faults = Faults::default();
        let (table, _) = parse(source, &mut faults);
        (table, faults)
    }

    #[test]
    fn tables_keep_the_order_of_the_file_and_their_places() {
        let source = "b = 1\na = \"é\"\n[z]\n[c]\nx = true\n";
        let (table, faults) = parsed(source);
        assert!(faults.is_empty());
        let keys: Vec<_> = table.entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["b", "a", "z", "c"]);
        let c = table.get("c").unwrap();
        assert_eq!(&source[c.value.span.clone()], "[c]");
        assert_eq!(&source[c.key.span.clone()], "c");
        assert_eq!(&source[table.get("a").unwrap().value.span.clone()], "\"é\"");
    }

    #[test]
    fn numbers_of_every_notation_read() {
        let (table, faults) = parsed("a = 0xff\nb = 1_000\nc = -3\nd = 1.5e3\n");
        assert!(faults.is_empty());
        let data: Vec<_> = table.entries.into_iter().map(|entry| entry.value.data).collect();
        let expected =
            [Data::Integer(255), Data::Integer(1000), Data::Integer(-3), Data::Float(1500.0)];
        assert_eq!(data, expected);
    }

    #[test]
    fn an_integer_past_64_bits_is_a_fault() {
        let (table, faults) = parsed("a = 99999999999999999999\n");
        assert_eq!(faults.len(), 1);
        assert_eq!(table.get("a").unwrap().value.data, Data::Faulty);
    }

    #[test]
    fn a_secret_never_shows() {
        let text = Text { text: "hunter2".into(), secret: true, span: 0..1 };
        assert!(!format!("{text:?}{}", text.shown()).contains("hunter2"));
    }
}
