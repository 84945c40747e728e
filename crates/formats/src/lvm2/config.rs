//! The syntax of LVM2's texts: sections, assignments, numbers, strings, lists and comments. It
//! does not know what any of the names mean.
//!
//! Source: lvm2's `man lvm.conf`, "SYNTAX".

use super::FORMAT;
use crate::Fault;

/// A section's names in the order they stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section(Vec<(String, Node)>);

/// What a name stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// `name { ... }`
    Section(Section),
    /// `name = value`
    Value(Value),
}

/// The right side of an assignment.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Number(i64),
    /// A number with a point.
    Float(f64),
    /// A quoted string.
    Text(String),
    /// `[a, b]`
    List(Vec<Value>),
}

impl Section {
    /// All names, in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(name, node)| (name.as_str(), node))
    }

    /// The sections below this one, in order.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &Section)> {
        self.entries().filter_map(|(name, node)| match node {
            Node::Section(section) => Some((name, section)),
            Node::Value(_) => None,
        })
    }

    /// The section called `name`.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections().find(|(found, _)| *found == name).map(|(_, section)| section)
    }

    /// The value called `name`.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.entries().find_map(|(found, node)| match node {
            Node::Value(value) if found == name => Some(value),
            _ => None,
        })
    }

    /// The number called `name`; a fault where it is missing, negative or something else.
    pub fn number(&self, name: &str) -> Result<u64, Fault> {
        match self.value(name) {
            Some(Value::Number(number)) => u64::try_from(*number).ok(),
            _ => None,
        }
        .ok_or_else(|| Fault::new(FORMAT, format!("`{name}` is not a number")))
    }

    /// The string called `name`; a fault where it is missing or something else.
    pub fn text(&self, name: &str) -> Result<&str, Fault> {
        match self.value(name) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(Fault::new(FORMAT, format!("`{name}` is not a string"))),
        }
    }

    /// The strings of the list called `name`; a single string is a list of one.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, Fault> {
        let list = match self.value(name) {
            Some(Value::List(list)) => list.iter().collect(),
            Some(value) => vec![value],
            None => Vec::new(),
        };
        let text = |value: &Value| match value {
            Value::Text(text) => Ok(text.clone()),
            _ => Err(Fault::new(FORMAT, format!("`{name}` is not a list of strings"))),
        };
        list.into_iter().map(text).collect()
    }
}

/// Reads a whole text; a fault names the line.
pub fn parse(text: &str) -> Result<Section, Fault> {
    let mut parser = Parser { text, at: 0 };
    let section = parser.section(Depth(0))?;
    match parser.peek() {
        None => Ok(section),
        Some(_) => Err(parser.fault("a closing brace too many")),
    }
}

/// How many sections or lists are open; no real text passes a handful.
#[derive(Clone, Copy)]
struct Depth(u8);

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn fault(&self, why: &str) -> Fault {
        let line = self.text[..self.at].matches('\n').count() + 1;
        Fault::new(FORMAT, format!("metadata line {line}: {why}"))
    }

    fn deeper(&self, depth: Depth) -> Result<Depth, Fault> {
        if depth.0 < 16 { Ok(Depth(depth.0 + 1)) } else { Err(self.fault("nested too deep")) }
    }

    /// Skips space and comments; the next character.
    fn peek(&mut self) -> Option<char> {
        loop {
            let rest = &self.text[self.at..];
            self.at = self.text.len() - rest.trim_start().len();
            let rest = &self.text[self.at..];
            if !rest.starts_with('#') {
                return rest.chars().next();
            }
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    /// As many characters as `fits`.
    fn word(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let length = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// Up to a closing brace or the end, neither of which it takes.
    fn section(&mut self, depth: Depth) -> Result<Section, Fault> {
        let mut section = Section::default();
        loop {
            match self.peek() {
                None | Some('}') => return Ok(section),
                Some(_) => {}
            }
            let name = match self.peek() {
                Some('"') => self.string()?,
                _ => self.word(|c| c.is_alphanumeric() || "_-+./".contains(c)).to_string(),
            };
            if name.is_empty() {
                return Err(self.fault("a name is missing"));
            }
            if section.0.iter().any(|(other, _)| *other == name) {
                return Err(self.fault(&format!("`{name}` is defined twice")));
            }
            let node = if self.eat('{') {
                let inner = self.section(self.deeper(depth)?)?;
                if !self.eat('}') {
                    return Err(self.fault(&format!("`{name}` is not closed")));
                }
                Node::Section(inner)
            } else if self.eat('=') {
                Node::Value(self.value(depth)?)
            } else {
                return Err(self.fault(&format!("neither `{{` nor `=` behind `{name}`")));
            };
            section.0.push((name, node));
        }
    }

    fn value(&mut self, depth: Depth) -> Result<Value, Fault> {
        match self.peek() {
            Some('"') => self.string().map(Value::Text),
            Some('[') => {
                let depth = self.deeper(depth)?;
                self.at += 1;
                let mut list = Vec::new();
                while !self.eat(']') {
                    list.push(self.value(depth)?);
                    if !self.eat(',') && self.peek() != Some(']') {
                        return Err(self.fault("a list is not closed"));
                    }
                }
                Ok(Value::List(list))
            }
            _ => {
                let word = self.word(|c| c.is_ascii_digit() || "+-.".contains(c));
                let float = || word.contains('.').then(|| word.parse().ok()).flatten();
                let number = word.parse().ok().map(Value::Number);
                number
                    .or_else(|| float().map(Value::Float))
                    .ok_or_else(|| self.fault("a value is missing or not a number"))
            }
        }
    }

    /// A quoted string, in which a backslash takes the next character as it is.
    fn string(&mut self) -> Result<String, Fault> {
        let mut text = String::new();
        let mut chars = self.text[self.at + 1..].char_indices();
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += i + 2;
                    return Ok(text);
                }
                '\\' => text.extend(chars.next().map(|(_, c)| c)),
                c => text.push(c),
            }
        }
        Err(self.fault("a string is not closed"))
    }
}

/// `text` as a quoted string.
pub fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_whole_syntax() {
        let root = parse(
            "# a comment\nvg0 { id=\"a\\\"b\" n = -5 f = 1.5 # more\n l = [ \"x\", 2, ]\n e = []\n\
             in { } }\nversion = 1\n",
        )
        .unwrap();
        let vg = root.section("vg0").unwrap();
        assert_eq!(vg.text("id"), Ok("a\"b"));
        assert_eq!(vg.value("n"), Some(&Value::Number(-5)));
        assert_eq!(vg.value("f"), Some(&Value::Float(1.5)));
        let list = vec![Value::Text("x".into()), Value::Number(2)];
        assert_eq!(vg.value("l"), Some(&Value::List(list)));
        assert_eq!(vg.texts("e"), Ok(vec![]));
        assert_eq!(vg.section("in"), Some(&Section::default()));
        assert_eq!(root.number("version"), Ok(1));
        assert!(vg.number("n").is_err());
    }

    #[test]
    fn faults_name_the_line() {
        for (text, why) in [
            ("a {\n b = 1\n", "line 3: `a` is not closed"),
            ("a = 1\n}", "line 2: a closing brace too many"),
            ("a = \"x", "a string is not closed"),
            ("a = [1 2]", "a list is not closed"),
            ("a = ", "a value is missing"),
            ("= 1", "a name is missing"),
            ("a b", "neither `{` nor `=` behind `a`"),
            ("a = 1 a = 2", "twice"),
            (&"a {".repeat(20), "too deep"),
            (&format!("a = {}", "[".repeat(20)), "too deep"),
        ] {
            let fault = parse(text).unwrap_err().to_string();
            assert!(fault.contains(why), "{text}: {fault}");
        }
    }

    proptest! {
        #[test]
        fn strings_round_trip(text in "\\PC*") {
            let root = parse(&format!("a = {}", quote(&text))).unwrap();
            prop_assert_eq!(root.text("a"), Ok(text.as_str()));
        }

        #[test]
        fn any_bytes_are_read_or_refused(text in "[a{}=\\[\\],\"\\\\# 1.\n-]*") {
            let _ = parse(&text);
        }
    }
}
