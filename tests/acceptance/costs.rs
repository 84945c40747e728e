//! What a second build costs: no command, no network, next to no time.

use std::process::Command;
use std::time::Duration;

use crate::kuth::{Live, build};
use crate::tools::{is_root, missing};
use crate::world::{DEBIAN, world};

/// What a build in which nothing is to do may take. Ten times what it should, since a busy
/// machine counts strangely; the figure is printed.
const MOST: Duration = Duration::from_millis(500);

#[test]
fn a_second_build_takes_everything_from_the_cache() {
    let world = world();
    let again = world.project.build(&[DEBIAN]).ok();
    again.assert_all("cached");
    assert_eq!(again.events.last().unwrap()["cached"], 18);
    eprintln!("second build: {} ms of processor, {:?} of wall", again.cpu.as_millis(), again.wall);
    assert!(again.cpu < MOST, "{:?}", again.cpu);
    for stage in again.states().keys() {
        for field in ["key", "digest", "path"] {
            assert_eq!(again.of(stage, field), world.first.of(stage, field), "{stage}");
        }
    }
}

#[test]
fn a_second_build_starts_no_command_and_opens_no_socket() {
    let world = world();
    let trace = tempfile::NamedTempFile::new().unwrap();
    if Command::new("strace").arg("-V").output().is_err() {
        return missing("strace");
    }
    let (calls, to) = ("trace=execve,socket,connect", trace.path().to_str().unwrap());
    let words = ["strace", "-f", "-qq", "-e", "signal=none", "-e", calls, "-o", to];
    world.project.through(&words).build(&[DEBIAN]).ok().assert_all("cached");
    let told = std::fs::read_to_string(trace.path()).unwrap();
    let lines: Vec<&str> = told.lines().filter(|line| !line.contains("exited with")).collect();
    assert!(lines.len() == 1 && lines[0].contains("execve"), "{told}");
}

#[test]
fn a_second_build_needs_neither_tools_nor_network() {
    if !is_root("a network namespace") {
        return;
    }
    let apart = world().project.through(&["/usr/bin/unshare", "--net", "--"]);
    let mut command = apart.command(&build(&[DEBIAN]));
    command.env("PATH", "/nonexistent");
    Live::start(command).finish().ok().assert_all("cached");
}
