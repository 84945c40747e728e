//! Errors: an `anyhow` chain whose context is a gerund and a value (`opening cache/…`), with the root
//! cause last, and hints that name the next command to try.

use std::fmt;

pub use anyhow::{Context, Error, Result, anyhow, bail, ensure};

/// An error with a hint; the chain below it is printed like any other.
#[derive(Debug)]
struct Hinted {
    hint: String,
    source: Error,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)
    }
}

impl std::error::Error for Hinted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}

/// The command line or a file it names is invalid: exit status 2.
#[derive(Debug)]
pub struct Misuse(pub String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// SIGINT (Ctrl-C) or SIGTERM: exit status 130.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Adds a hint to the error of a `Result`.
pub trait Hint<T> {
    /// Adds `hint`, one sentence that names the next thing to try.
    fn hint(self, hint: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<Error>> Hint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> Result<T> {
        self.map_err(|error| with_hint(error.into(), hint))
    }
}

/// Adds a hint to `error`.
pub fn with_hint(error: Error, hint: impl Into<String>) -> Error {
    Error::new(Hinted { hint: hint.into(), source: error })
}

/// All hints in the chain, outermost first.
pub fn hints(error: &Error) -> Vec<&str> {
    let mut found = Vec::new();
    let mut at = Some(error);
    // A hint wraps an `Error`, whose chain is searched in turn.
    while let Some(error) = at {
        at = None;
        for link in error.chain() {
            if let Some(hinted) = link.downcast_ref::<Hinted>() {
                found.push(hinted.hint.as_str());
                at = Some(&hinted.source);
                break;
            }
        }
    }
    found
}

/// The error of type `T` in the chain, also below hints.
pub fn caused_by<T: std::error::Error + Send + Sync + 'static>(error: &Error) -> Option<&T> {
    let mut at = Some(error);
    while let Some(error) = at {
        at = None;
        for link in error.chain() {
            if let Some(found) = link.downcast_ref::<T>() {
                return Some(found);
            }
            if let Some(hinted) = link.downcast_ref::<Hinted>() {
                at = Some(&hinted.source);
                break;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_kept_below_context_and_the_cause_is_shown_once() {
        let inner: Result<()> = Err(anyhow!("no such file")).hint("try `ls`");
        let error = inner.context("opening x").unwrap_err();
        assert_eq!(hints(&error), ["try `ls`"]);
        assert_eq!(format!("{error:#}"), "opening x: no such file");
    }

    #[test]
    fn causes_are_found_below_hints() {
        let error = Err::<(), _>(Error::new(Misuse("no".into()))).hint("h").unwrap_err();
        assert!(caused_by::<Misuse>(&error).is_some());
        assert!(caused_by::<Interrupted>(&error).is_none());
    }
}
