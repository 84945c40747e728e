//! Output: data to standard output, messages to standard error, with colours if allowed. Knows
//! nothing of what it prints.

use std::io::{ErrorKind, IsTerminal, Write};

use crate::error::{Context, Result};
use crate::pipeline::Color;

/// Colours words, or leaves them plain. A colour only repeats what the word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(pub Color);

impl Paint {
    /// For errors.
    pub fn red(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    /// For success.
    pub fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// For activity and warnings.
    pub fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// For hints.
    pub fn cyan(self, text: &str) -> String {
        self.wrap("36", text)
    }

    /// For minor text.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self.0 {
            Color::Never => text.to_string(),
            Color::Always => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}

/// The colours of standard error: none unless it is a terminal with colours and `NO_COLOR` is not
/// set.
pub fn paint() -> Paint {
    Paint(colour(is_terminal(), |name| std::env::var(name).ok()))
}

fn colour(terminal: bool, environment: impl Fn(&str) -> Option<String>) -> Color {
    let refused = environment("NO_COLOR").is_some_and(|value| !value.is_empty());
    match terminal && !refused && !is_dumb(environment) {
        true => Color::Always,
        false => Color::Never,
    }
}

fn is_dumb(environment: impl Fn(&str) -> Option<String>) -> bool {
    environment("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// Whether standard error is a terminal.
fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether standard error is a terminal that can redraw lines.
pub fn can_draw() -> bool {
    is_terminal() && !is_dumb(|name| std::env::var(name).ok())
}

/// Text that others have written, such as labels and names in images, with escapes for what would
/// control a terminal or turn the direction of the text. Line ends and tabs stay.
pub fn escaped(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => plain.push(c),
            c if c.is_control() || turns(c) => plain.extend(c.escape_unicode()),
            c => plain.push(c),
        }
    }
    plain
}

/// Writes a message and a line end to standard error. There is nowhere to report a failure.
pub fn talk(text: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// Writes `text` to standard output. A reader that has closed the pipe (`| head`) is not a failure.
pub fn data(text: &str) -> Result<()> {
    bytes(text.as_bytes())
}

/// Like [`data`], for bytes that may not be text.
pub fn bytes(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to standard output"),
    }
}

/// Rows as lines with aligned columns, two spaces apart.
pub fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line += &format!("{cell:<width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_needs_a_terminal_and_no_no_color() {
        let with = |pairs: &'static [(&str, &str)]| {
            move |name: &str| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
            }
        };
        assert_eq!(colour(true, with(&[("TERM", "xterm")])), Color::Always);
        assert_eq!(colour(true, with(&[("TERM", "xterm"), ("NO_COLOR", "")])), Color::Always);
        assert_eq!(colour(true, with(&[("TERM", "xterm"), ("NO_COLOR", "1")])), Color::Never);
        assert_eq!(colour(true, with(&[("TERM", "dumb")])), Color::Never);
        assert_eq!(colour(false, with(&[("TERM", "xterm")])), Color::Never);
    }

    #[test]
    fn what_controls_a_terminal_is_escaped() {
        assert_eq!(escaped("a\tb\n\u{fc} \u{2019}"), "a\tb\n\u{fc} \u{2019}");
        let hostile = "\u{1b}[2J\u{7}\r\u{9b}1m\u{202e}x\u{7f}";
        let expected = "\\u{1b}[2J\\u{7}\\u{d}\\u{9b}1m\\u{202e}x\\u{7f}";
        assert_eq!(escaped(hostile), expected);
    }

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let row = |cells: [&str; 3]| cells.map(str::to_string);
        let rows = [row(["a", "bbb", ""]), row(["aaa", "b", "c"])];
        assert_eq!(table(&rows), "a    bbb\naaa  b    c\n");
    }
}
