//! Tests of the door for commands.

use super::*;
use crate::error::caused_by;

fn log() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("deep/x.log");
    (folder, log)
}

#[test]
fn output_is_given_and_the_environment_is_clean() {
    let (_folder, log) = log();
    let script = "echo oops >&2; cat; env | sort | cut -d= -f1 | tr '\\n' ' '";
    let command = Command::new("sh").args(["-c", script]).input("in ").env("X", "1");
    let output = command.run(&log, &Cancel::default()).unwrap();
    let output = String::from_utf8(output).unwrap();
    assert_eq!(output.trim_end(), "in LC_ALL PATH PWD TZ X");
    assert!(std::fs::read_to_string(&log).unwrap().ends_with("oops\n"));
}

#[test]
fn a_failure_shows_command_status_tail_and_log() {
    let (_folder, log) = log();
    let command =
        Command::new("sh").args(["-c", "for i in $(seq 30); do echo l$i >&2; done; exit 3"]);
    let error = command.run(&log, &Cancel::default()).unwrap_err();
    let failed = caused_by::<CommandFailed>(&error).unwrap();
    assert_eq!(failed.status, "exit status 3");
    assert_eq!((failed.tail.len(), failed.tail[0].as_str()), (20, "l11"));
    assert!(failed.command.starts_with("sh -c 'for i"));
}

#[test]
fn cancelling_ends_the_whole_group_soon() {
    let (_folder, log) = log();
    let cancel = Cancel::default();
    let start = Instant::now();
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            cancel.cancel();
        });
        let command =
            Command::new("sh").args(["-c", "trap '' TERM; sleep 77 & sleep 77; sleep 77"]);
        command.run(&log, &cancel).unwrap_err()
    });
    assert!(caused_by::<Interrupted>(&error).is_some());
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_time_limit_ends_it() {
    let (_folder, log) = log();
    let command = Command::new("sleep").arg("77").time_limit(Duration::from_millis(50));
    let error = command.run(&log, &Cancel::default()).unwrap_err();
    assert!(error.to_string().contains("still running after 0 s"), "{error}");
}
