//! What is wrong with a file that a machine is set up from, and where in it.

use std::fmt;
use std::ops::Range;

use crate::format::yaml::{Node, Place};

/// A fault in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedFault {
    /// Where: line 0 is the file as a whole.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What to try.
    pub hint: Option<String>,
}

impl SeedFault {
    /// A fault of a whole line, from 1.
    pub fn new(line: usize, message: impl Into<String>, hint: Option<String>) -> SeedFault {
        let place = Place { line, columns: 0..usize::MAX };
        SeedFault { place, message: message.into(), hint }
    }

    /// A fault of a node, told without a hint.
    pub fn of(node: &Node, message: impl Into<String>) -> SeedFault {
        SeedFault { place: node.place.clone(), message: message.into(), hint: None }
    }

    /// What to try.
    pub fn hint(mut self, hint: impl Into<String>) -> SeedFault {
        self.hint = Some(hint.into());
        self
    }
}

/// `LINE: what is wrong (what to try)`
impl fmt::Display for SeedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.line > 0 {
            write!(f, "{}: ", self.place.line)?;
        }
        write!(f, "{}", self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl Place {
    /// Where it is in `text`, in bytes: what stands there without the space around it; `None` for
    /// a line that is not there.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_in_the_text() {
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
}
