//! Where text goes and whether it may be coloured: data to standard output, talk to standard
//! error. Knows nothing of what it prints.

use std::io::{ErrorKind, IsTerminal, Write};

use crate::error::{Context, Result};
use crate::pipeline::Color;

/// Puts words in colour, or leaves them as they are. Colour repeats what a word says already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(pub Color);

impl Paint {
    /// Something is wrong.
    pub fn red(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    /// Something is well.
    pub fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// Something happens, or is worth a look.
    pub fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// Something to try.
    pub fn cyan(self, text: &str) -> String {
        self.wrap("36", text)
    }

    /// Of little weight.
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

/// The paint for standard error: none unless it is a terminal that takes colours, and `NO_COLOR`
/// is not set.
pub fn paint() -> Paint {
    Paint(colour(talks_to_a_person(), |name| std::env::var(name).ok()))
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
fn talks_to_a_person() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether standard error is a terminal on which lines can be drawn again.
pub fn can_draw() -> bool {
    talks_to_a_person() && !is_dumb(|name| std::env::var(name).ok())
}

/// Writes `text` and a line end to standard error; nobody could be told that it did not work.
pub fn talk(text: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// Writes `text` as it is to standard output. A reader that went away (`| head`) is no failure.
pub fn data(text: &str) -> Result<()> {
    bytes(text.as_bytes())
}

/// Like [`data`], for what may be no text.
pub fn bytes(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to standard output"),
    }
}

/// Rows with their columns below each other, two spaces apart; a line each.
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
    fn colour_needs_a_terminal_and_no_objection() {
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
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let row = |cells: [&str; 3]| cells.map(str::to_string);
        let rows = [row(["a", "bbb", ""]), row(["aaa", "b", "c"])];
        assert_eq!(table(&rows), "a    bbb\naaa  b    c\n");
    }
}
