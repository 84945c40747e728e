//! From a source to its tree of values, with every syntax error. It knows the grammar only through the
//! `toml` crate and nothing of pipelines.

use toml::de::DeTable;

use super::duplicates;
use super::fault::Faults;
use super::recovery::recover;
use super::tree::table_of;
use super::value::Table;

/// The tree of `source`, with every syntax error among the faults. Statements that are not TOML
/// are not in the tree; they are the second thing returned.
pub fn parse(source: &str, faults: &mut Faults) -> (Table, String) {
    let (text, lost) = recover(source, faults);
    let (table, errors) = DeTable::parse_recoverable(&text);
    let table = table_of(table.get_ref(), faults);
    duplicates::report(&text, &table, &errors, faults);
    (table, lost)
}

#[cfg(test)]
mod tests {
    use super::super::value::Data;
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
}
