//! YAML as a tree of nodes with their source positions, for checking what a person wrote. The grammar
//! is that of `saphyr-parser`, without what PyYAML, cloud-init's reader, does not accept: tabs between
//! tokens, and a second document; and with what it does accept: continuation lines of quoted scalars
//! that are not indented.
//!
//! Source: YAML 1.2; PyYAML 6.

use std::borrow::Cow;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// The deepest nesting that is read.
const DEEPEST: usize = 64;

/// A source position: a line, from 1, and a range of its characters, from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The characters; to the end of the line if there are fewer.
    pub columns: Range<usize>,
}

impl Place {
    /// The range of bytes of `text` without the space around it; `None` if there is no such line.
    pub fn within(&self, text: &str) -> Option<Range<usize>> {
        let mut lines = text.split_inclusive('\n').scan(0, |end, line| {
            let start = *end;
            *end += line.len();
            Some((start, line))
        });
        let (start, line) = lines.nth(self.line.checked_sub(1)?)?;
        // An empty line ends where it begins.
        let line = line.trim_end_matches(['\n', '\r']);
        let byte = |column| line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
        let (from, to) = (byte(self.columns.start), byte(self.columns.end));
        let part = &line[from..to.max(from)];
        let from = from + part.len() - part.trim_start().len();
        Some(start + from..start + from + part.trim().len())
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub data: Data,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A string, a number, a boolean or null; only a plain scalar is other than a string.
    Scalar {
        /// Its text without quotes.
        text: String,
        /// Whether it is plain: neither quoted nor a block scalar.
        plain: bool,
    },
    /// `[...]`
    List(Vec<Node>),
    /// `{...}`, duplicate keys included.
    Mapping(Vec<(Node, Node)>),
    /// `*name`, an alias of an anchor.
    Alias,
}

/// Why a text is not accepted, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where.
    pub place: Place,
    /// Why.
    pub why: String,
}

/// The document of `text`; `None` if it is empty. A node behind a quoted scalar whose last line is not
/// indented has the column that it would have if that line was.
pub fn read(text: &str) -> Result<Option<Node>, Broken> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..MOST_UNINDENTED {
        match parse(&text) {
            Err(Broken { place, why }) if why == UNINDENTED => match indented(&text, &place) {
                Some(repaired) => text = repaired.into(),
                None => return Err(Broken { place, why }),
            },
            other => return other,
        }
    }
    parse(&text)
}

/// What the parser says at the beginning of a quoted scalar with a continuation line that is not
/// indented.
const UNINDENTED: &str = "invalid indentation in quoted scalar";

/// The most such scalars of a text that are read.
const MOST_UNINDENTED: usize = 256;

/// `text` with the continuation lines of the quoted scalar at `place` indented, which leaves its value
/// as it is; `None` if that changes nothing.
fn indented(text: &str, place: &Place) -> Option<String> {
    let start = place.within(text)?.start;
    let quote = text[start..].chars().next().filter(|c| ['"', '\''].contains(c))?;
    let indentation = " ".repeat(place.columns.start + 1);
    let mut repaired = text[..start + 1].to_string();
    let mut rest = text[start + 1..].chars();
    while let Some(c) = rest.next() {
        repaired.push(c);
        match c {
            '\'' if quote == '\'' && rest.as_str().starts_with('\'') => {
                repaired.extend(rest.next())
            }
            c if c == quote => break,
            '\\' if quote == '"' && !rest.as_str().starts_with('\n') => {
                repaired.extend(rest.next())
            }
            '\n' if !rest.as_str().starts_with(['\n', '\r']) => repaired.push_str(&indentation),
            _ => {}
        }
    }
    repaired.push_str(rest.as_str());
    (repaired != text).then_some(repaired)
}

fn parse(text: &str) -> Result<Option<Node>, Broken> {
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let at = error.marker();
            let place = Place { line: at.line(), columns: at.col()..at.col() + 1 };
            Broken { place, why: error.info().to_string() }
        })?;
        builder.take(event, span)?;
    }
    match stray_tab(text, &builder.scalars) {
        Some(place) => Err(Broken { place, why: TAB.to_string() }),
        None => Ok(builder.root),
    }
}

const TAB: &str = "a tab between words, where cloud-init takes spaces alone";

/// A list or mapping that is not closed yet.
struct Open {
    place: Place,
    nodes: Vec<Node>,
    is_mapping: bool,
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    /// Where scalars stand, in characters of the whole text.
    scalars: Vec<Range<usize>>,
    documents: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Broken> {
        let place = place(&span);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let why = "a second document, where cloud-init takes one";
                    return Err(Broken { place, why: why.to_string() });
                }
            }
            Event::Alias(_) => self.add(Node { place, data: Data::Alias }),
            Event::Scalar(text, style, _, _) => {
                self.scalars.push(span.start.index()..span.end.index());
                let plain = style == ScalarStyle::Plain;
                self.add(Node { place, data: Data::Scalar { text: text.into_owned(), plain } });
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if self.open.len() == DEEPEST {
                    return Err(Broken { place, why: "nested too deeply".to_string() });
                }
                let is_mapping = matches!(event, Event::MappingStart(..));
                self.open.push(Open { place, nodes: Vec::new(), is_mapping });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { place, nodes, is_mapping }) = self.open.pop() else {
                    return Ok(());
                };
                let data = if is_mapping { Data::Mapping(pairs(nodes)) } else { Data::List(nodes) };
                self.add(Node { place, data });
            }
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, node: Node) {
        match self.open.last_mut() {
            Some(open) => open.nodes.push(node),
            None => self.root = Some(node),
        }
    }
}

/// Keys and values come by turns.
fn pairs(nodes: Vec<Node>) -> Vec<(Node, Node)> {
    let mut nodes = nodes.into_iter();
    let mut pairs = Vec::new();
    while let (Some(key), Some(value)) = (nodes.next(), nodes.next()) {
        pairs.push((key, value));
    }
    pairs
}

/// The first line of a span.
fn place(span: &Span) -> Place {
    let end = match span.end.line() == span.start.line() {
        true => span.end.col().max(span.start.col() + 1),
        false => usize::MAX,
    };
    Place { line: span.start.line(), columns: span.start.col()..end }
}

/// A tab outside of scalars and comments. `scalars` are in the order of the text.
fn stray_tab(text: &str, scalars: &[Range<usize>]) -> Option<Place> {
    let mut scalars = scalars.iter().peekable();
    let (mut line, mut column, mut comment) = (1, 0, false);
    for (at, c) in text.chars().enumerate() {
        while scalars.next_if(|scalar| scalar.end <= at).is_some() {}
        let inside = scalars.peek().is_some_and(|scalar| scalar.contains(&at));
        match c {
            '\n' => {
                (line, column, comment) = (line + 1, 0, false);
                continue;
            }
            '#' if !inside => comment = true,
            '\t' if !inside && !comment => {
                return Some(Place { line, columns: column..column + 1 });
            }
            _ => {}
        }
        column += 1;
    }
    None
}

impl Node {
    /// What it is, with its article: `a list`.
    pub fn describe(&self) -> &'static str {
        match &self.data {
            Data::List(_) => "a list",
            Data::Mapping(_) => "a mapping",
            Data::Alias => "an alias",
            Data::Scalar { plain: false, .. } => "text",
            Data::Scalar { text, .. } => match text.as_str() {
                "" | "~" | "null" | "Null" | "NULL" => "nothing",
                _ if is_boolean(text) => "a truth value",
                _ if text.parse::<f64>().is_ok() || is_sexagesimal(text) => "a number",
                _ => "text",
            },
        }
    }

    /// The pairs of a mapping.
    pub fn pairs(&self) -> &[(Node, Node)] {
        match &self.data {
            Data::Mapping(pairs) => pairs,
            _ => &[],
        }
    }

    /// The elements of a list.
    pub fn elements(&self) -> &[Node] {
        match &self.data {
            Data::List(nodes) => nodes,
            _ => &[],
        }
    }

    /// The value of `key` in a mapping; the last one of duplicates, as PyYAML takes it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let found = self.pairs().iter().rev().find(|(name, _)| name.text() == Some(key));
        found.map(|(_, value)| value)
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// As YAML 1.1 has them, which is what PyYAML reads.
fn is_boolean(text: &str) -> bool {
    let lower = text.to_lowercase();
    ["true", "false", "yes", "no", "on", "off"].contains(&lower.as_str())
}

/// Whether YAML 1.1 takes a plain scalar for a number to the base of 60: `12:30:45`, and so
/// `52:54:00:12:34:56`, the address of a network card. YAML 1.2 has no such numbers, PyYAML does.
pub fn is_sexagesimal(text: &str) -> bool {
    let mut parts = text.trim_start_matches(['-', '+']).split(':');
    let digits = |part: &str| part.chars().all(|c| c.is_ascii_digit() || c == '_');
    let first = parts.next().unwrap_or_default();
    let mut rest = parts.peekable();
    first.starts_with(|c: char| ('1'..='9').contains(&c))
        && digits(first)
        && rest.peek().is_some()
        && rest.all(|part| match part.as_bytes() {
            [one] => one.is_ascii_digit(),
            [ten, one] => (b'0'..=b'5').contains(ten) && one.is_ascii_digit(),
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_to_the_base_of_60_are_those_of_pyyaml() {
        for (text, expected) in [
            ("52:54:00:12:34:56", true),
            ("-1:0", true),
            ("190:20:30", true),
            ("08:00:27:12:34:56", false),
            ("52:54:00:12:34:60", false),
            ("52:54:00:12:34:5a", false),
            ("52:54:00:12:34:", false),
            ("52-54-00-12-34-56", false),
            ("1", false),
            ("", false),
        ] {
            assert_eq!(is_sexagesimal(text), expected, "{text}");
        }
    }

    #[test]
    fn a_position_is_found_in_the_text() {
        let text = "a\n  é: b  \n";
        let found = |line, columns| Place { line, columns }.within(text).map(|range| &text[range]);
        assert_eq!(found(2, 0..usize::MAX), Some("é: b"));
        assert_eq!(found(2, 2..3), Some("é"));
        assert_eq!(Place { line: 1, columns: 0..9 }.within("\na"), Some(0..0));
        assert_eq!(found(2, 5..6), Some("b"));
        assert_eq!(found(2, 90..91), Some(""));
        assert_eq!(found(0, 0..1), None);
        assert_eq!(found(3, 0..1), None);
    }

    #[test]
    fn continuation_lines_of_quoted_scalars_need_no_indentation() {
        for (text, expected) in [
            ("a:\n  b: \"x\ny\"\n", "x y"),
            ("a:\n  b: 'x\n\ny'\n", "x\ny"),
            ("a:\n  b: \"x\\\ny \\\" z\n w\"\n", "xy \" z w"),
            ("a:\n  b: 'it''s\nhere'\n", "it's here"),
        ] {
            let root = read(text).unwrap().unwrap();
            assert_eq!(root.get("a").unwrap().get("b").unwrap().text(), Some(expected), "{text}");
        }
        let two = read("a:\n  - \"x\ny\"\n  - 'z\nw'\n").unwrap().unwrap();
        let words = two.get("a").unwrap().elements().iter().map(|word| word.text().unwrap());
        assert_eq!(words.collect::<Vec<_>>(), ["x y", "z w"]);
        assert!(read("a:\n  b: \"x\ny\n").is_err());
    }

    #[test]
    fn nodes_have_their_positions() {
        let root = read("é: 1\nb:\n- {x: 'y', x: z}\n").unwrap().unwrap();
        assert_eq!(root.get("é").unwrap().describe(), "a number");
        let list = root.get("b").unwrap();
        let pairs = list.elements()[0].pairs();
        assert_eq!((pairs.len(), pairs[1].0.text()), (2, Some("x")));
        assert_eq!(pairs[1].0.place, Place { line: 3, columns: 11..12 });
        assert_eq!(list.elements()[0].get("x").unwrap().text(), Some("z"));
        assert_eq!(read("# nothing\n"), Ok(None));
    }

    #[test]
    fn what_pyyaml_refuses_is_refused() {
        for (text, line, column) in [
            ("a: b\t\n", 1, 4),
            ("\ta: 1\n", 1, 0),
            ("a: 1\n---\nb: 2\n", 2, 0),
            ("a: [x\nb: 1\n", 2, 1),
            ("a: \"x\n", 1, 3),
        ] {
            let broken = read(text).unwrap_err();
            assert_eq!((broken.place.line, broken.place.columns.start), (line, column), "{text:?}");
        }
        assert!(read("a: |\n  x\ty\nb: 'x\ty' # c\td\n\n").is_ok());
        assert!(read(&"[".repeat(100_000)).is_err());
    }
}
