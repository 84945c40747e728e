//! The tables of keys in docs/pipeline.md, as values. A test of the reference sees to it that they
//! have every key of every kind and no other, so what is made of them is as complete as the code.

use std::collections::BTreeMap;

const REFERENCE: &str = include_str!("../../../docs/pipeline.md");
/// What a table of keys begins with.
const HEADING: &str = "| key | type | default | meaning |";

/// A key of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `size`, or `partition.size` of a table in it.
    pub key: String,
    /// In the words of the reference: `string`, `` `gpt`, `mbr` ``.
    pub kind: String,
    /// Whether a table without it is faulty.
    pub required: bool,
    /// What it is for, without marks.
    pub meaning: String,
}

/// The keys of `pipeline` and of each kind. One that is told as that of another section, or of
/// another table of its own, has what is told there.
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
    // What a table is told to be like may itself be told to be like another.
    for _ in 0..2 {
        let told = sections.clone();
        for (name, rows) in &mut sections {
            let followed = rows.drain(..).flat_map(|row| follow(row, name, &told));
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

/// A row; in the place of one that says it is `as of` another, that one with the keys below it.
fn follow(row: Row, section: &str, told: &BTreeMap<&str, Vec<Row>>) -> Vec<Row> {
    let of = row.meaning.split("as of `").nth(1).and_then(|rest| rest.split('`').next());
    let Some(of) = of.filter(|_| row.kind.is_empty()) else { return vec![row] };
    let last = row.key.rsplit('.').next().unwrap_or_default();
    // A section, or a table of this one.
    let wanted = if told.contains_key(of) { last.to_string() } else { format!("{of}.{last}") };
    let there = told.get(of).or(told.get(section)).into_iter().flatten();
    let is_below = |key: &str| key.strip_prefix(&wanted).is_some_and(|rest| rest.starts_with('.'));
    let found: Vec<Row> = there
        .filter(|other| other.key == wanted || is_below(&other.key))
        .map(|other| Row { key: other.key.replacen(&wanted, &row.key, 1), ..other.clone() })
        .collect();
    // One that is told of nowhere stays as it is, for a test to see.
    if found.is_empty() { vec![row] } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_with_what_is_told_elsewhere() {
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
