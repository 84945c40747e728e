//! The one form of a pipeline file, which `kuth fmt` writes. Works on the tokens of TOML 1.1, so every
//! comment, key, string and number keeps its place and its notation; only white space, blank lines and
//! the commas after last elements change. It knows nothing of pipelines.

use std::path::Path;

use toml_parser::Source;
use toml_parser::lexer::{Token, TokenKind};

use super::fault::{Faults, FaultyPipeline};
use super::syntax;

/// The widest line of an array, in characters, where its elements permit that.
const WIDTH: usize = 100;

/// How much deeper the lines of an array are than its brackets, in spaces.
const INDENT: usize = 4;

/// `source`, the text of the file at `path`, in the one form. Its syntax errors, if it is not TOML;
/// whether it is a pipeline is not checked. Formatting the result again gives the same text.
pub fn formatted(path: &Path, source: &str) -> Result<String, FaultyPipeline> {
    let mut faults = Faults::default();
    syntax::parse(source, &mut faults);
    if !faults.is_empty() {
        return Err(FaultyPipeline { path: path.into(), source: source.into(), faults });
    }
    let tokens = Source::new(source).lex().into_vec();
    Ok(joined(&Reader { source, tokens, at: 0 }.lines()))
}

/// A line outside all arrays; a value of several lines is one.
enum Line {
    Blank,
    Comment(String),
    Header(String),
    Entry(String),
}

/// The text of `lines`: one blank line before each header and its comments, none after it, and no more
/// than one anywhere else.
fn joined(lines: &[Line]) -> String {
    let mut text = String::new();
    let (mut blank, mut below_header) = (false, false);
    for (at, line) in lines.iter().enumerate() {
        let (Line::Comment(words) | Line::Header(words) | Line::Entry(words)) = line else {
            blank = true;
            continue;
        };
        let commented = matches!(at.checked_sub(1).map(|at| &lines[at]), Some(Line::Comment(_)));
        let next = lines[at..].iter().find(|line| !matches!(line, Line::Comment(_)));
        let of_header = matches!(next, Some(Line::Header(_)));
        let begins = match line {
            Line::Entry(_) => false,
            _ => of_header && !commented,
        };
        if !text.is_empty() && (begins || blank && !below_header) {
            text.push('\n');
        }
        text.push_str(words);
        text.push('\n');
        blank = false;
        below_header = matches!(line, Line::Header(_));
    }
    text
}

/// A value.
enum Node<'s> {
    Plain(String),
    /// An array or an inline table.
    Group {
        array: bool,
        items: Vec<Item<'s>>,
    },
}

/// What is between the brackets of a group. Commas are implied.
enum Item<'s> {
    /// The text before the value (`key = ` in a table), and the value.
    Element(String, Node<'s>),
    Comment(&'s str),
    NewLine,
}

struct Reader<'s> {
    source: &'s str,
    tokens: Vec<Token>,
    at: usize,
}

impl<'s> Reader<'s> {
    fn peek(&self) -> TokenKind {
        self.tokens.get(self.at).map_or(TokenKind::Eof, Token::kind)
    }

    fn next(&mut self) -> &'s str {
        let span = self.tokens[self.at].span();
        self.at += 1;
        &self.source[span.start()..span.end()]
    }

    fn skip(&mut self) {
        self.at += 1;
    }

    fn comment(&mut self) -> &'s str {
        self.next().trim_end()
    }

    fn lines(mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        loop {
            match self.peek() {
                TokenKind::Eof => return lines,
                TokenKind::Whitespace => self.skip(),
                TokenKind::Newline => {
                    self.skip();
                    lines.push(Line::Blank);
                }
                TokenKind::Comment => {
                    lines.push(Line::Comment(self.comment().to_string()));
                    self.end_of_line();
                }
                TokenKind::LeftSquareBracket => {
                    let header = self.tight(&[TokenKind::Newline, TokenKind::Comment]);
                    lines.push(Line::Header(header + &self.end_of_line()));
                }
                _ => {
                    let key = self.key();
                    let value = self.value().text(0, key.chars().count());
                    lines.push(Line::Entry(key + &value + &self.end_of_line()));
                }
            }
        }
    }

    /// The rest of a line: nothing, or a comment with the space before it.
    fn end_of_line(&mut self) -> String {
        let mut text = String::new();
        loop {
            match self.peek() {
                TokenKind::Whitespace => self.skip(),
                TokenKind::Comment => text = format!(" {}", self.comment()),
                TokenKind::Newline => {
                    self.skip();
                    return text;
                }
                _ => return text,
            }
        }
    }

    /// The tokens before the next of `ends`, without the white space between them.
    fn tight(&mut self, ends: &[TokenKind]) -> String {
        let mut text = String::new();
        while self.peek() != TokenKind::Eof && !ends.contains(&self.peek()) {
            let is_space = self.peek() == TokenKind::Whitespace;
            let token = self.next();
            text.push_str(if is_space { "" } else { token });
        }
        text
    }

    /// `key = `.
    fn key(&mut self) -> String {
        let key = self.tight(&[TokenKind::Equals]);
        self.skip();
        key + " = "
    }

    fn value(&mut self) -> Node<'s> {
        while self.peek() == TokenKind::Whitespace {
            self.skip();
        }
        match self.peek() {
            TokenKind::LeftSquareBracket => self.group(true),
            TokenKind::LeftCurlyBracket => self.group(false),
            _ => Node::Plain(self.plain()),
        }
    }

    /// A string, number, boolean, or date: the tokens of a number with a point, or of a date and a time
    /// with a space, are several.
    fn plain(&mut self) -> String {
        let mut text = String::new();
        loop {
            match self.peek() {
                TokenKind::Whitespace => {
                    self.skip();
                    text.push(' ');
                }
                TokenKind::Comma
                | TokenKind::Comment
                | TokenKind::Newline
                | TokenKind::RightSquareBracket
                | TokenKind::RightCurlyBracket
                | TokenKind::Eof => {
                    text.truncate(text.trim_end_matches(' ').len());
                    return text;
                }
                _ => text.push_str(self.next()),
            }
        }
    }

    fn group(&mut self, array: bool) -> Node<'s> {
        let mut items = Vec::new();
        self.skip();
        loop {
            match self.peek() {
                TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                    self.skip();
                    return Node::Group { array, items };
                }
                TokenKind::Eof => return Node::Group { array, items },
                TokenKind::Whitespace | TokenKind::Comma => self.skip(),
                TokenKind::Newline => {
                    self.skip();
                    items.push(Item::NewLine);
                }
                TokenKind::Comment => items.push(Item::Comment(self.comment())),
                _ => {
                    let key = if array { String::new() } else { self.key() };
                    items.push(Item::Element(key, self.value()));
                }
            }
        }
    }
}

impl Node<'_> {
    /// The text of a value that begins at `column`, in a line that is indented by `indent`.
    fn text(&self, indent: usize, column: usize) -> String {
        let Node::Group { array, items } = self else { return self.flat(indent, column) };
        let is_long = |text: &str| column + first_line(text) > WIDTH;
        match self.is_broken() {
            true => broken(*array, items, indent),
            false if *array && !self.holds_broken() && is_long(&self.flat(indent, column)) => {
                broken(true, items, indent)
            }
            false => self.flat(indent, column),
        }
    }

    /// Whether the file has a line break between its brackets, outside of its elements.
    fn is_broken(&self) -> bool {
        match self {
            Node::Plain(_) => false,
            Node::Group { items, .. } => items.iter().any(|item| matches!(item, Item::NewLine)),
        }
    }

    /// Whether an element, or one of its elements, is broken.
    fn holds_broken(&self) -> bool {
        let Node::Group { items, .. } = self else { return false };
        items.iter().any(|item| match item {
            Item::Element(_, node) => node.is_broken() || node.holds_broken(),
            _ => false,
        })
    }

    /// A value without line breaks between its brackets.
    fn flat(&self, indent: usize, column: usize) -> String {
        let (array, items) = match self {
            Node::Plain(text) => return text.clone(),
            Node::Group { array, items } => (array, items),
        };
        let spread = self.holds_broken();
        let elements = items.iter().filter_map(|item| match item {
            Item::Element(key, node) if spread => {
                Some(format!("{key}{}", node.text(indent, column)))
            }
            Item::Element(key, node) => Some(format!("{key}{}", node.flat(indent, column))),
            _ => None,
        });
        let elements = elements.collect::<Vec<_>>().join(", ");
        match array {
            true => format!("[{elements}]"),
            false if elements.is_empty() => "{}".to_string(),
            false => format!("{{ {elements} }}"),
        }
    }
}

/// A group whose elements have lines of their own: those of the file, and more where one is too wide.
fn broken(array: bool, items: &[Item<'_>], indent: usize) -> String {
    let inner = indent + INDENT;
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let flush = |line: &mut String, lines: &mut Vec<String>| {
        // No blank line at the beginning, and no two after each other.
        if !line.is_empty() || lines.last().is_some_and(|last| !last.is_empty()) {
            lines.push(std::mem::take(line));
        }
    };
    for item in items {
        match item {
            Item::NewLine => flush(&mut line, &mut lines),
            Item::Comment(comment) => {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(comment);
            }
            Item::Element(key, node) => {
                let column = inner + key.chars().count();
                let element = format!("{key}{},", node.text(inner, column));
                if !line.is_empty() {
                    let column = match line.rsplit_once('\n') {
                        Some((_, last)) => last.chars().count(),
                        None => inner + line.chars().count(),
                    };
                    if column + 1 + first_line(&element) > WIDTH {
                        flush(&mut line, &mut lines);
                    } else {
                        line.push(' ');
                    }
                }
                line.push_str(&element);
            }
        }
    }
    flush(&mut line, &mut lines);
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    let (open, close) = if array { ('[', ']') } else { ('{', '}') };
    let mut text = format!("{open}\n");
    for line in lines {
        match line.is_empty() {
            true => text.push('\n'),
            false => text += &format!("{:inner$}{line}\n", ""),
        }
    }
    text + &format!("{:indent$}{close}", "")
}

/// The width of the first line of `text`, in characters.
fn first_line(text: &str) -> usize {
    text.lines().next().unwrap_or_default().chars().count()
}

#[cfg(test)]
mod tests;
