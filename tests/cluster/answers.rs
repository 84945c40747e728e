//! What a machine answered to a script: text in parts, each under a line `== NAME`.

use std::collections::BTreeMap;

/// The parts by name.
#[derive(Debug)]
pub struct Answers {
    machine: String,
    parts: BTreeMap<String, String>,
}

impl Answers {
    /// Takes them apart.
    pub fn parse(machine: &str, text: &str) -> Answers {
        let mut parts = BTreeMap::<String, String>::new();
        let mut name = String::new();
        for line in text.lines() {
            match line.strip_prefix("== ") {
                Some(next) => name = next.to_string(),
                None => {
                    let part = parts.entry(name.clone()).or_default();
                    part.push_str(line);
                    part.push('\n');
                }
            }
        }
        Answers { machine: machine.to_string(), parts }
    }

    /// A part, without the space around it.
    pub fn of(&self, part: &str) -> &str {
        self.parts.get(part).map_or("", |text| text.trim())
    }

    /// Holds when a part has a text.
    #[track_caller]
    pub fn has(&self, part: &str, text: &str) {
        let found = self.of(part);
        assert!(found.contains(text), "{}, {part}: no {text:?} in\n{found}", self.machine);
    }

    /// The first line of a part that has a text.
    #[track_caller]
    pub fn line(&self, part: &str, text: &str) -> &str {
        let found = self.of(part);
        let line = found.lines().find(|line| line.contains(text));
        line.unwrap_or_else(|| panic!("{}, {part}: no {text:?} in\n{found}", self.machine)).trim()
    }
}
