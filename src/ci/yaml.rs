//! Writes values as YAML that is the same in YAML 1.1 and 1.2. A string that a reader could parse as
//! something else (`on`, `1.30`, `a: b`) is quoted. Knows no service.

use serde_json::Value;

/// Words that some readers do not parse as strings.
const RESERVED: [&str; 10] =
    ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "undefined"];

/// The text of `value`. `notes` are pairs of a string and the comment to put after it.
pub fn text(value: &Value, notes: &[(&str, &str)]) -> String {
    let mut text = String::new();
    Writer { notes, text: &mut text }.block(value, 0);
    text
}

/// Lines of comment.
pub fn comment(text: &str) -> String {
    text.lines().map(|line| format!("# {line}\n").replace("#  \n", "#\n")).collect()
}

struct Writer<'w> {
    notes: &'w [(&'w str, &'w str)],
    text: &'w mut String,
}

impl Writer<'_> {
    /// A map or list on lines of its own, indented by `depth` spaces.
    fn block(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Object(entries) => {
                for (key, value) in entries {
                    *self.text += &format!("{:depth$}{}:", "", scalar(key));
                    self.after_key(value, depth);
                }
            }
            Value::Array(items) => {
                for item in items {
                    *self.text += &format!("{:depth$}-", "");
                    self.item(item, depth);
                }
            }
            other => {
                *self.text += &format!("{:depth$}{}\n", "", plain(other));
            }
        }
    }

    fn after_key(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Object(entries) if !entries.is_empty() => {
                self.text.push('\n');
                self.block(value, depth + 2);
            }
            Value::Array(items) if !items.is_empty() => {
                self.text.push('\n');
                self.block(value, depth + 2);
            }
            Value::String(string) if is_lines(string) => self.lines(string, depth + 2),
            other => self.rest(other),
        }
    }

    fn item(&mut self, item: &Value, depth: usize) {
        match item {
            // The first key of a map is on the line of the dash.
            Value::Object(entries) if !entries.is_empty() => {
                let mut inner = String::new();
                Writer { notes: self.notes, text: &mut inner }.block(item, depth + 2);
                *self.text += &format!(" {}", &inner[depth + 2..]);
            }
            Value::Array(items) if !items.is_empty() => {
                self.text.push('\n');
                self.block(item, depth + 2);
            }
            Value::String(string) if is_lines(string) => self.lines(string, depth + 2),
            other => self.rest(other),
        }
    }

    fn rest(&mut self, value: &Value) {
        *self.text += &format!(" {}", plain(value));
        let note = self.notes.iter().find(|(text, _)| value == text);
        if let Some((_, note)) = note {
            *self.text += &format!(" # {note}");
        }
        self.text.push('\n');
    }

    /// A literal block of lines.
    fn lines(&mut self, string: &str, depth: usize) {
        *self.text += if string.ends_with('\n') { " |\n" } else { " |-\n" };
        for line in string.lines() {
            let indent = if line.is_empty() { 0 } else { depth };
            *self.text += &format!("{:indent$}{line}\n", "");
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(string) => scalar(string),
        // Empty ones: `{}` and `[]`; numbers; `true`.
        other => other.to_string(),
    }
}

/// Whether a string can be a literal block: several lines, none of which YAML would parse
/// differently.
fn is_lines(string: &str) -> bool {
    let lines: Vec<&str> = string.split('\n').collect();
    let readable = |line: &&str| {
        line.chars().all(|c| c == ' ' || c.is_ascii_graphic()) && line.trim_end() == *line
    };
    // An empty or indented first line would set another depth; so would an empty end.
    lines.len() > 1
        && lines.iter().all(readable)
        && !lines[0].starts_with(' ')
        && !lines[0].is_empty()
        && !string.ends_with("\n\n")
}

/// One string, on one line.
fn scalar(string: &str) -> String {
    match is_plain(string) {
        true => string.to_string(),
        false => quoted(string),
    }
}

fn is_plain(string: &str) -> bool {
    let starts = |c: char| c.is_ascii_alphabetic() || "_/$.".contains(c);
    // A dot may begin a number.
    string.starts_with(starts)
        && !string[1..].starts_with(|c: char| string.starts_with('.') && c.is_ascii_digit())
        && string.chars().all(|c| c == ' ' || c.is_ascii_graphic())
        && !string.ends_with([' ', ':'])
        && !string.contains(": ")
        && !string.contains(" #")
        && !RESERVED.contains(&string.to_ascii_lowercase().as_str())
        && ![".inf", ".nan"].contains(&string.to_ascii_lowercase().as_str())
}

/// In double quotes and ASCII: some line breaks of Unicode are line breaks of YAML.
fn quoted(string: &str) -> String {
    let mut text = String::from("\"");
    for c in string.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text += "\\n",
            '\t' => text += "\\t",
            c if c == ' ' || c.is_ascii_graphic() => text.push(c),
            c if u32::from(c) > 0xffff => text += &format!("\\U{:08x}", u32::from(c)),
            c => text += &format!("\\u{:04x}", u32::from(c)),
        }
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn maps_lists_and_lines() {
        let value = json!({
            "on": {"push": {"branches": ["main"]}, "pull_request": {}},
            "jobs": {"a": {"minutes": 5, "steps": [
                {"uses": "x@1", "with": {"keep": false}},
                {"run": "one\n\n  two\n"},
                "three: four",
                [],
            ]}},
        });
        let expected = "\
\"on\":
  push:
    branches:
      - main
  pull_request: {}
jobs:
  a:
    minutes: 5
    steps:
      - uses: x@1 # v1
        with:
          keep: false
      - run: |
          one

            two
      - \"three: four\"
      - []
";
        assert_eq!(text(&value, &[("x@1", "v1")]), expected);
    }

    #[test]
    fn strings_stay_strings() {
        for (string, expected) in [
            ("plain words, of $A", "plain words, of $A"),
            ("${{ vars.A || '' }}", "${{ vars.A || '' }}"),
            ("", "\"\""),
            ("on", "\"on\""),
            ("No", "\"No\""),
            ("1.30", "\"1.30\""),
            (".5", "\".5\""),
            (".NaN", "\".NaN\""),
            ("a: b", "\"a: b\""),
            ("a #b", "\"a #b\""),
            ("a:", "\"a:\""),
            ("- a", "\"- a\""),
            ("*a", "\"*a\""),
            ("{{a}}", "\"{{a}}\""),
            ("say \"hi\"\\", "say \"hi\"\\"),
            ("'say \"hi\"\\'", "\"'say \\\"hi\\\"\\\\'\""),
            ("a\u{85}b\u{2028}\u{1f600}", "\"a\\u0085b\\u2028\\U0001f600\""),
            ("trailing ", "\"trailing \""),
        ] {
            assert_eq!(scalar(string), expected);
        }
        for lines in ["a\n b\n", "a\nb"] {
            assert!(is_lines(lines), "{lines:?}");
        }
        for quoted in ["a", " a\nb", "a \nb", "\na", "a\n\n", "a\tb\nc", "ä\nb"] {
            assert!(!is_lines(quoted), "{quoted:?}");
        }
    }
}
