//! `run`: in which order, as whom, with which environment and network, and how it fails.

use crate::built::{WELCOME, built, tree};
use kuth_test_support::base::{PIPELINE, system};

#[test]
fn scripts_run_in_their_order_as_root_in_the_root_directory() {
    let tree = tree("settings");
    assert_eq!(tree.text("/srv/seen/order"), "first\nthird\n");
    assert_eq!(tree.text("/srv/seen/directory"), "/\n");
    assert_eq!(tree.text("/srv/seen/user"), "0\n");
    // The second is a file with an interpreter of its own.
    assert_eq!(tree.listed("/srv/perl"), "d 755 0:0");
    let log = built().project.log("t", "settings");
    assert!(log.lines().any(|line| line.starts_with("perl /")), "{log}");
}

#[test]
fn the_environment_of_a_script_is_fixed() {
    let tree = tree("settings");
    let text = tree.text("/srv/seen/environment");
    let mut names: Vec<&str> =
        text.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    // What the shell sets itself.
    names.retain(|name| !["PWD", "OLDPWD", "_", "SHLVL"].contains(name));
    let expected = [
        "DEBCONF_NONINTERACTIVE_SEEN",
        "DEBIAN_FRONTEND",
        "HOME",
        "LC_ALL",
        "PATH",
        "SHELL",
        "SOURCE_DATE_EPOCH",
        "TZ",
    ];
    assert_eq!(names, expected);
    for line in ["HOME=/root", "LC_ALL=C.UTF-8", "TZ=UTC", "DEBIAN_FRONTEND=noninteractive"] {
        assert!(text.lines().any(|found| found == line), "{text}");
    }
}

#[test]
fn the_network_is_there_for_those_scripts_that_ask_for_it_and_only_for_them() {
    let tree = tree("network");
    assert_eq!(tree.text("/srv/seen/with").lines().last(), Some(WELCOME));
    for script in ["without", "again"] {
        assert_eq!(tree.text(&format!("/srv/seen/{script}")), "no route\nnobody\n", "{script}");
    }
}

#[test]
fn a_script_ends_at_the_first_command_that_fails_and_says_which() {
    let stages = r#"
[stage.failing]
kind = "customise"
from = "rootfs"
run = "echo before; false; echo behind"

[stage.unset]
kind = "customise"
from = "rootfs"
run = "echo before; echo $unset; echo behind"
"#;
    let project = system("customise-failing", stages);
    for (stage, said) in [("failing", "exit status 1"), ("unset", "unset: parameter not set")] {
        let run = project.build(&[PIPELINE, stage]).ended(1);
        assert_eq!(run.those("failed"), stage, "{run:?}");
        assert!(run.err.contains(said), "{}", run.err);
        let log = project.log("t", stage);
        let lines: Vec<&str> = log.lines().collect();
        assert!(lines.contains(&"before") && !lines.contains(&"behind"), "{log}");
    }
    project.assert_clean();
}
