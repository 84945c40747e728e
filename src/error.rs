//! How kuth says that something went wrong: an `anyhow` chain whose context is a gerund and
//! the value (`opening cache/…`), with the root cause last, and hints that name the next
//! command to try.

use std::fmt;

pub use anyhow::{Context, Error, Result, anyhow, bail, ensure};

/// An error that carries hints; the chain below it is printed as any other.
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

/// The command line asks for something that cannot be: exit status 2.
#[derive(Debug)]
pub struct Misuse(pub String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// Somebody pressed Ctrl-C or sent a SIGTERM: exit status 130.
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
    /// `hint` is one sentence that names the next thing to try.
    fn hint(self, hint: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<Error>> Hint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> Result<T> {
        self.map_err(|error| with_hint(error.into(), hint))
    }
}

/// `error` with one more hint.
pub fn with_hint(error: Error, hint: impl Into<String>) -> Error {
    Error::new(Hinted { hint: hint.into(), source: error })
}

/// The hints anywhere in the chain, outermost first.
pub fn hints(error: &Error) -> Vec<&str> {
    let mut found = Vec::new();
    let mut at = Some(error);
    // A hint wraps an `Error`, so the walk goes down through both kinds of link.
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

/// Whether `T` stands anywhere in the chain, below hints too.
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
    fn hints_survive_context_and_show_the_cause_once() {
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
