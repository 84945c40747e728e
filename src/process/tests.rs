//! Tests of running commands.

use super::*;
use crate::error::caused_by;

fn log() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("deep/x.log");
    (directory, log)
}

#[test]
fn output_is_returned_and_the_environment_is_clean() {
    let (_directory, log) = log();
    let script = "echo oops >&2; cat; env | sort | cut -d= -f1 | tr '\\n' ' '";
    let command = Command::new("sh").args(["-c", script]).input("in ").env("X", "1");
    let output = command.run(&log, &Cancel::default()).unwrap();
    let output = String::from_utf8(output).unwrap();
    assert_eq!(output.trim_end(), "in LC_ALL PATH PWD TZ X");
    assert!(std::fs::read_to_string(&log).unwrap().ends_with("oops\n"));
}

#[test]
fn a_failure_shows_command_status_tail_and_log() {
    let (_directory, log) = log();
    let command =
        Command::new("sh").args(["-c", "for i in $(seq 30); do echo l$i >&2; done; exit 3"]);
    let error = command.run(&log, &Cancel::default()).unwrap_err();
    let failed = caused_by::<CommandFailed>(&error).unwrap();
    assert_eq!(failed.status, "exit status 3");
    assert_eq!((failed.tail.len(), failed.tail[0].as_str()), (20, "l11"));
    assert!(failed.command.starts_with("sh -c 'for i"));
}

#[test]
fn cancelling_ends_the_process_group() {
    let (directory, log) = log();
    let cancel = Cancel::default();
    let started = directory.path().join("started");
    // Ends by itself long after the test gives up waiting for its end.
    let script = "trap '' TERM; exec >$0.log 2>&1; sleep 777 & echo $$ $! >$0.new; mv $0.new $0; \
                  sleep 777; sleep 777";
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_until("it has started", || started.exists());
            cancel.cancel();
        });
        let command = Command::new("sh").args(["-c", script]).arg(&started);
        command.run(&log, &cancel).unwrap_err()
    });
    assert!(caused_by::<Interrupted>(&error).is_some());
    let processes = std::fs::read_to_string(&started).unwrap();
    assert_eq!(processes.split_whitespace().count(), 2);
    for process in processes.split_whitespace() {
        wait_until("it is gone", || !runs(process));
    }
}

/// Waits for a condition that must come true.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(120), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process exists and has not ended.
fn runs(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn a_time_limit_kills_the_command() {
    let (_directory, log) = log();
    let command = Command::new("sleep").arg("77").time_limit(Duration::from_millis(50));
    let error = command.run(&log, &Cancel::default()).unwrap_err();
    assert!(error.to_string().contains("killed after 0 s"), "{error}");
}
