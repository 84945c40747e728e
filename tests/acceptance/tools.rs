//! The tools that judge, and what of a test needs root.

pub use crate::judge::{missing, tool, verdict};

/// Whether this is root; says what is skipped where not.
pub fn is_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: {what} needs root");
    }
    root
}
