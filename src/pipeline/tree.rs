//! From the tables of the `toml` crate to trees of values with spans.

use toml::Spanned as TomlSpanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Faults};
use super::value::{Data, Entry, Spanned, Table, Text, Value};

/// The tree of `table`, with a fault for each value that cannot be read.
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
