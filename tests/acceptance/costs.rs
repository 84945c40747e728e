//! What a second build costs: no command, no network, and nothing of what was built is read again.

use crate::tools::{is_root, is_there};
use crate::world::{DEBIAN, world};
use kuth_test_support::project::build;
use kuth_test_support::run::Live;

/// What a build in which nothing is to do may read, in bytes: pipeline, lock, records and what the
/// pipeline names in the checkout, but no package, tree or disk. Counted, as times say nothing on a
/// busy machine.
const READS: u64 = 8 << 20;

#[test]
fn a_second_build_takes_everything_from_the_cache() {
    let world = world();
    let again = world.project.build(&[DEBIAN]).ok();
    again.assert_all("cached");
    assert_eq!(again.events.last().unwrap()["cached"], 18);
    eprintln!("second build: {} ms of processor, {:?} of wall", again.cpu.as_millis(), again.wall);
    for stage in again.states().keys() {
        for field in ["key", "digest", "path"] {
            assert_eq!(again.of(stage, field), world.first.of(stage, field), "{stage}");
        }
    }
}

#[test]
fn a_second_build_starts_no_command_opens_no_socket_and_reads_little() {
    if !is_there("strace") {
        return;
    }
    let world = world();
    let trace = tempfile::NamedTempFile::new().unwrap();
    let reads = "read,readv,pread64,preadv,preadv2,copy_file_range,sendfile";
    let calls = format!("trace=execve,socket,connect,{reads}");
    let to = trace.path().to_str().unwrap();
    let words = ["strace", "-f", "-qq", "-s", "0", "-e", "signal=none", "-e", &calls, "-o", to];
    world.project.through(&words).build(&[DEBIAN]).ok().assert_all("cached");
    let told = std::fs::read_to_string(trace.path()).unwrap();
    let is_other = |line: &&str| ["execve", "socket", "connect"].iter().any(|it| line.contains(it));
    let others: Vec<&str> = told.lines().filter(is_other).collect();
    assert!(others.len() == 1 && others[0].contains("execve"), "{others:#?}");
    // "123 pread64(5, ""..., 4096, 0) = 4096", whole or resumed.
    let is_read = |line: &&str| reads.split(',').any(|call| line.contains(call));
    let result = |line: &str| line.rsplit_once(" = ")?.1.split_whitespace().next()?.parse().ok();
    let read: u64 =
        told.lines().filter(is_read).filter_map(result).filter(|it: &i64| *it > 0).sum::<i64>()
            as u64;
    eprintln!("second build: {read} bytes read");
    assert!(read > 0 && read < READS, "{read} bytes read");
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
