//! The tools that judge, and what of a test needs root.

pub use kuth_test_support::judge::{is_there, skip, tool, verdict};

/// Whether this is root; says what is skipped where not.
pub fn is_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(&format!("{what} needs root"));
    }
    root
}
