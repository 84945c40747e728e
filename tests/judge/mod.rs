//! Runs the tools that judge, and says what is skipped for want of one. Each test target uses some
//! of it.

#![allow(dead_code)]

use std::path::Path;
use std::process::Command;

/// Runs a tool: its stdout, after it must have succeeded. `None` where it is not installed.
pub fn tool(name: &str, args: &[&str]) -> Option<String> {
    tool_in(Path::new("."), name, args)
}

/// [`tool`] in a folder.
pub fn tool_in(folder: &Path, name: &str, args: &[&str]) -> Option<String> {
    let (success, out, err) = run(Command::new(name).args(args).current_dir(folder), name)?;
    assert!(success, "{name} {args:?}:\n{out}{err}");
    Some(out)
}

/// Runs a tool: whether it succeeded, its stdout and its stderr.
pub fn verdict(name: &str, args: &[&str]) -> Option<(bool, String, String)> {
    run(Command::new(name).args(args), name)
}

fn run(command: &mut Command, name: &str) -> Option<(bool, String, String)> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
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

/// Says that a test is skipped for want of a tool; a panic where KUTH_REQUIRE_TOOLS=1.
pub fn missing(name: &str) {
    let required = std::env::var_os("KUTH_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!required, "{name} is not installed");
    eprintln!("SKIPPED: {name} is not installed");
}
