//! Runs the judges, and lays bytes into files for them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kuth::format::{Guid, Pieces};
use kuth::units::Bytes;

/// Runs a tool: its stdout, after it must have succeeded. `None` where it is not installed.
pub fn tool(name: &str, args: &[&str]) -> Option<String> {
    let (success, out, err) = verdict(name, args)?;
    assert!(success, "{name} {args:?}:\n{out}{err}");
    Some(out)
}

/// Runs a tool: whether it succeeded, its stdout and its stderr.
pub fn verdict(name: &str, args: &[&str]) -> Option<(bool, String, String)> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let run = Command::new(name)
        .args(args)
        .env("PATH", path)
        .env("LC_ALL", "C")
        .env("LVM_SUPPRESS_FD_WARNINGS", "1")
        .output();
    match run {
        Ok(run) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Some((run.status.success(), text(&run.stdout), text(&run.stderr)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => skip(name),
        Err(error) => panic!("running {name}: {error}"),
    }
}

/// Says that a test is skipped; a panic where KUTH_REQUIRE_TOOLS=1.
pub fn skip<T>(name: &str) -> Option<T> {
    let required = std::env::var_os("KUTH_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!required, "{name} is not installed");
    println!("SKIPPED: {name} is not installed");
    None
}

/// A sparse file of `size` that holds `pieces`.
pub fn lay(dir: &Path, name: &str, size: Bytes, pieces: &Pieces) -> PathBuf {
    let path = dir.join(name);
    let file = File::create(&path).unwrap();
    file.set_len(size.0).unwrap();
    for (at, bytes) in pieces {
        file.write_all_at(bytes, at.0).unwrap();
    }
    path
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn id(label: &str) -> Guid {
    Guid::derived("judged", label)
}
