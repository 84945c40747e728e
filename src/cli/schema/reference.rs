//! The tables of keys in docs/pipeline.md, as values. tests/docs.rs checks that the tables have every
//! key of every kind and no other, so what is generated from them is as complete as the code.

use std::collections::BTreeMap;

const REFERENCE: &str = include_str!("../../../docs/pipeline.md");
/// The heading of a table of keys.
const HEADING: &str = "| key | type | default | meaning |";

/// A key of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `size`, or `partition.size` of a table in it.
    pub key: String,
    /// Its type as the reference writes it: `string`, `` `gpt`, `mbr` ``.
    pub kind: String,
    /// Whether a table without it is invalid.
    pub required: bool,
    /// Its description.
    pub meaning: String,
}

/// The keys of `pipeline` and of each kind. A key that refers to another section or table (`as in`)
/// has the rows of that one.
pub fn sections() -> BTreeMap<&'static str, Vec<Row>> {
    let mut sections: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    for section in REFERENCE.split("\n## ").skip(1) {
        let name = section.strip_prefix('`').and_then(|section| section.split('`').next());
        let Some(name) = name else { continue };
        let rows: Vec<Row> = tables(section).flat_map(rows).collect();
        if !rows.is_empty() {
            sections.insert(name.trim_matches(['[', ']']), rows);
        }
    }
    // A row that is referred to may itself refer to another.
    for _ in 0..2 {
        let before = sections.clone();
        for (name, rows) in &mut sections {
            let followed = rows.drain(..).flat_map(|row| follow(row, name, &before));
            *rows = followed.collect();
        }
    }
    sections
}

/// The lines of each table of keys.
fn tables(section: &'static str) -> impl Iterator<Item = impl Iterator<Item = &'static str>> {
    section.split(HEADING).skip(1).map(|rest| {
        rest.lines()
            .skip(1)
            .take_while(|line| line.starts_with('|'))
            .filter(|it| !it.contains("|---"))
    })
}

fn rows(lines: impl Iterator<Item = &'static str>) -> impl Iterator<Item = Row> {
    lines.flat_map(|line| {
        let mut cells = line.trim_matches('|').splitn(4, '|').map(str::trim);
        let mut cell = || cells.next().unwrap_or_default().to_string();
        let (keys, kind, default, meaning) = (cell(), cell(), cell(), cell());
        let required = default == "required";
        let keys: Vec<String> = keys.split('`').skip(1).step_by(2).map(str::to_string).collect();
        let row = move |key| Row { key, kind: kind.clone(), required, meaning: meaning.clone() };
        keys.into_iter().map(row)
    })
}

/// A row; for a reference (`as in`), the row that it refers to with the keys below it, but for those
/// that are said to be `not for` this section.
fn follow(row: Row, section: &str, sections: &BTreeMap<&str, Vec<Row>>) -> Vec<Row> {
    let of = row.meaning.split("as in `").nth(1).and_then(|rest| rest.split('`').next());
    let Some(of) = of.filter(|_| row.kind.is_empty()) else { return vec![row] };
    let last = row.key.rsplit('.').next().unwrap_or_default();
    // A section, or a table of this one.
    let wanted = if sections.contains_key(of) { last.to_string() } else { format!("{of}.{last}") };
    let rows = sections.get(of).or(sections.get(section)).into_iter().flatten();
    let is_below = |key: &str| key.strip_prefix(&wanted).is_some_and(|rest| rest.starts_with('.'));
    let found: Vec<Row> = rows
        .filter(|other| other.key == wanted || is_below(&other.key))
        .filter(|other| !other.meaning.contains(&format!("not for `{section}`")))
        .map(|other| Row { key: other.key.replacen(&wanted, &row.key, 1), ..other.clone() })
        .collect();
    // A reference to nothing is kept, so that the test sees a row without a type.
    if found.is_empty() { vec![row] } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_to_other_tables_are_resolved() {
        let sections = sections();
        let row = |section: &str, key: &str| {
            let row = sections[section].iter().find(|row| row.key == key);
            row.unwrap_or_else(|| panic!("{section} {key}")).clone()
        };
        assert!(row("disk", "size").required && !row("disk", "table").required);
        assert_eq!(row("disk", "table").kind, "`gpt`, `mbr`");
        assert_eq!(row("clone", "role.memory").kind, "size");
        assert_eq!(row("customise", "mirror").kind, "string");
        assert_eq!(row("disk", "volume.mount").kind, "string");
        assert!(row("pipeline", "name").required);
        assert!(row("install", "size").required);
        assert_eq!(row("install", "user.sudo").kind, "boolean");
        assert_eq!(row("install", "volume.size").kind, "size or `\"rest\"`");
        for (section, rows) in &sections {
            assert!(rows.iter().all(|row| !row.kind.is_empty()), "{section}: {rows:?}");
        }
    }
}
