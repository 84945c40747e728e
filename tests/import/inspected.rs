//! `kuth inspect` on disks of the other tests: what it says, line by line.

use std::path::Path;
use std::process::Command;

/// What it prints of an image that it can read all of.
pub fn inspect(image: &Path) -> Vec<String> {
    let output =
        Command::new(env!("CARGO_BIN_EXE_kuth")).arg("inspect").arg(image).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}{}", String::from_utf8_lossy(&output.stdout));
    let text = String::from_utf8(output.stdout).unwrap();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).collect()
}
