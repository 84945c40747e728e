//! What is wrong with a file that a machine is set up from, and where in it.

use std::fmt;

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

    /// A fault of a node, without a hint.
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
