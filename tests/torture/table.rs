//! The points that were tried, and the rows of the table that scripts/torture prints.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;

/// Whether everything is tried, as `make torture` wants.
pub fn is_whole() -> bool {
    std::env::var_os("KUTH_TORTURE").is_some_and(|value| value == "whole")
}

/// The distance of the points that are tried: `short` in the usual tests, `whole` in `make torture`.
pub fn part(short: usize, whole: usize) -> usize {
    if is_whole() { whole } else { short }
}

/// Points of one kind.
pub struct Points {
    name: String,
    rows: BTreeMap<String, Row>,
    lost: Vec<String>,
}

#[derive(Default)]
struct Row {
    tried: usize,
    lost: usize,
}

impl Points {
    pub fn new(name: &str) -> Points {
        Points { name: name.to_string(), rows: BTreeMap::new(), lost: Vec::new() }
    }

    /// One point of this row, and what is wrong after it.
    pub fn add(&mut self, row: &str, verdict: Result<(), String>) {
        let row = self.rows.entry(row.to_string()).or_default();
        row.tried += 1;
        if let Err(why) = verdict {
            eprintln!("LOST: {}: {why}", self.name);
            row.lost += 1;
            self.lost.push(why);
        }
    }

    /// How many were tried.
    pub fn tried(&self) -> usize {
        self.rows.values().map(|row| row.tried).sum()
    }

    /// Writes the rows down. Panics if anything was lost, or nothing was tried.
    pub fn end(self) {
        let mut table = String::new();
        for (name, Row { tried, lost }) in &self.rows {
            table += &format!("{}\t{name}\t{tried}\t{lost}\n", self.name);
        }
        eprint!("{table}");
        if let Some(path) = std::env::var_os("KUTH_TORTURE_TABLE") {
            let mut file = File::options().append(true).create(true).open(path).unwrap();
            file.write_all(table.as_bytes()).unwrap();
        }
        assert!(self.tried() > 0, "{}: nothing was tried", self.name);
        assert!(self.lost.is_empty(), "{}:\n{}", self.name, self.lost.join("\n"));
    }
}
