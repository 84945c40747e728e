//! Runs the tools that judge, and is the only place where a test says that it is skipped: a line
//! `SKIPPED: TARGET::TEST: reason` or `MISSING: TARGET::TEST: reason` goes to the file that
//! KUTH_SKIPPED names, since the test runner keeps to itself what a passing test prints.
//! `scripts/test` sets the variable, `scripts/test-summary` counts the lines, tests/guard.rs tests
//! all of it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::target_tmp;

/// Runs a tool: its stdout, after it must have succeeded. `None` where it is not installed.
pub fn tool(name: &str, args: &[&str]) -> Option<String> {
    tool_in(Path::new("."), name, args)
}

/// [`tool`] in a directory.
pub fn tool_in(directory: &Path, name: &str, args: &[&str]) -> Option<String> {
    let (success, out, err) = run(Command::new(name).args(args).current_dir(directory), name)?;
    assert!(success, "{name} {args:?}:\n{out}{err}");
    Some(out)
}

/// Runs a tool: whether it succeeded, its stdout and its stderr.
pub fn verdict(name: &str, args: &[&str]) -> Option<(bool, String, String)> {
    run(Command::new(name).args(args), name)
}

fn run(command: &mut Command, name: &str) -> Option<(bool, String, String)> {
    let path = std::env::join_paths(search_path()).unwrap();
    command.env("PATH", path).env("LC_ALL", "C").env("LVM_SUPPRESS_FD_WARNINGS", "1");
    match command.output() {
        Ok(run) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Some((run.status.success(), text(&run.stdout), text(&run.stderr)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            missing(name);
            None
        }
        Err(error) => panic!("running {name}: {error}"),
    }
}

/// The directories in which a tool is looked for: those of PATH, and for an ordinary user the two
/// of the administrator's tools, which Debian leaves out of such a user's PATH. Root's PATH is
/// taken as it is, so that a tool taken away from it is missing.
pub fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if !rustix::process::geteuid().is_root() {
        directories.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    }
    directories
}

/// A PATH on which python3 has pytest and testinfra, which `scripts/setup` installs; says what is
/// skipped where it does not, as [`missing`] does.
pub fn path_with_testinfra() -> Option<String> {
    let directory = target_tmp().with_file_name("testinfra").join("bin");
    if !directory.join("pytest").is_file() {
        missing("testinfra");
        return None;
    }
    let path = std::env::join_paths([directory].into_iter().chain(search_path())).unwrap();
    Some(path.into_string().unwrap())
}

/// Whether a tool is in [`search_path`]; says what is skipped where it is not, as [`missing`] does.
pub fn is_there(name: &str) -> bool {
    let found = search_path().iter().any(|directory| directory.join(name).is_file());
    if !found {
        missing(name);
    }
    found
}

/// Records that the running test is skipped for want of something that `scripts/setup test`
/// installs. It panics where KUTH_REQUIRE_TOOLS=1, and `.ci/run` fails for the record alone.
pub fn missing(name: &str) {
    let reason = format!("{name} is not installed");
    record("MISSING", &reason);
    let required = std::env::var_os("KUTH_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!required, "{reason}");
}

/// Records that the running test, or a part of it, is skipped for want of something that cannot be
/// installed: root, a loop device, a network. The test passes; `.ci/run` names it and counts it.
pub fn skip(reason: &str) {
    record("SKIPPED", reason);
}

fn record(what: &str, reason: &str) {
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = format!("{what}: {}: {reason}\n", running_test());
    eprint!("{line}");
    let Some(file) = std::env::var_os("KUTH_SKIPPED").filter(|file| !file.is_empty()) else {
        return;
    };
    let opened = File::options().append(true).create(true).open(&file);
    // One write in append mode, so that lines of several processes do not mix.
    let written = opened.and_then(|mut file| file.write_all(line.as_bytes()));
    written.unwrap_or_else(|error| panic!("writing {}: {error}", file.display()));
}

/// `TARGET::TEST`: the program's name without the hash that cargo adds, and the thread's, which the
/// test runner names after the test.
fn running_test() -> String {
    let program = std::env::current_exe().unwrap();
    let stem = program.file_stem().unwrap().to_string_lossy().into_owned();
    let target = stem.rsplit_once('-').map_or(stem.as_str(), |(target, _)| target);
    let thread = std::thread::current();
    format!("{target}::{}", thread.name().unwrap_or("a thread without a name"))
}
