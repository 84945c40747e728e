//! `kuth inspect` on disks of the other tests: what it says, line by line.

use std::path::Path;
use std::process::Command;

use kuth_test_support::program;
use kuth_test_support::run::Run;

/// What it prints of an image that it can read all of.
pub fn inspect(image: &Path) -> Vec<String> {
    let text = Run::to_end(Command::new(program()).arg("inspect").arg(image)).ok().out;
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).collect()
}
