//! What makes a stage run and what stops there, on the small pipeline; and stages that fail.

use std::time::SystemTime;

use crate::small::{SMALL, small};

#[test]
fn one_byte_in_a_file_runs_its_stage_although_the_time_is_the_same() {
    let project = small("byte");
    let first = project.build(&[SMALL]).ok();
    assert_eq!(first.those("cached"), "rootfs");
    assert_eq!(first.those("done"), "base last");

    let file = project.root.join("data/motd");
    let time: SystemTime = file.metadata().unwrap().modified().unwrap();
    std::fs::write(&file, "Welcome\n").unwrap();
    std::fs::File::options().append(true).open(&file).unwrap().set_modified(time).unwrap();
    let plan = project.plan(&[SMALL]);
    assert_eq!((plan.those("run"), plan.those("unknown")), ("base".into(), "last".into()));
    let run = project.build(&[SMALL]).ok();
    assert_eq!(run.those("done"), "base last");
    let why = run.of("base", "reason");
    assert!(why.starts_with("file /etc/motd "), "{why}");
    assert_eq!(plan.of("base", "reason"), why);
    assert!(run.of("last", "reason").starts_with("input from "), "{run:?}");

    std::fs::write(&file, "welcome\n").unwrap();
    project.build(&[SMALL]).ok().assert_all("cached");
}

#[test]
fn a_stage_that_makes_the_same_bytes_stops_the_cascade() {
    let project = small("cut-off");
    let first = project.build(&[SMALL]).ok();
    project.edit(SMALL, "# Marks the tree.", "# Marks this tree.");
    let run = project.build(&[SMALL]).ok();
    assert_eq!((run.those("done"), run.those("cached")), ("base".into(), "last rootfs".into()));
    assert_eq!(run.of("base", "digest"), first.of("base", "digest"));
    assert_ne!(run.of("base", "key"), first.of("base", "key"));
    let why = run.of("base", "reason");
    assert!(why.contains("run") || why.contains("script"), "{why}");
}

#[test]
fn a_failing_script_shows_all_that_is_needed_and_mending_it_runs_that_stage_alone() {
    let project = small("failing");
    let mend = "content = \"last\\n\"\n";
    project.edit(SMALL, "[stage.last.file.\"/etc/issue\"]\n", "");
    let failing = "run = [\"echo out; echo err >&2; exit 7\"]\n";
    project.edit(SMALL, mend, failing);
    let run = project.build(&[SMALL]).ended(1);
    assert_eq!((run.those("cached"), run.those("done")), ("rootfs".into(), "base".into()));
    assert_eq!(run.those("failed"), "last");
    let log = project.cache.join("logs/small/last.log");
    for line in [
        "last: failed after ",
        "exit status 7",
        "\n  command: ",
        "\n  | out\n",
        "\n  | err\n",
        &format!("\n  full log: {}\n", log.display()),
    ] {
        assert!(run.err.contains(line), "{line:?} is missing in:\n{}", run.err);
    }
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("out\n") && text.contains("err\n"), "{text}");
    eprintln!("{}", run.err);
    project.assert_clean();

    project.edit(SMALL, "exit 7", "exit 0");
    let run = project.build(&[SMALL]).ok();
    assert_eq!((run.those("cached"), run.those("done")), ("base rootfs".into(), "last".into()));
}
