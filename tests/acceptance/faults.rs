//! A faulty pipeline from end to end: every fault with its place, exit status 2.

use crate::world::directory;

const FAULTY: &str = include_str!("faulty.toml");
const TOLD: &str = include_str!("faulty.txt");

#[test]
fn every_fault_is_told_at_once_with_its_place() {
    let project = kuth_test_support::project::Project::within(directory("faults"));
    std::fs::create_dir_all(project.root.join("pipelines")).unwrap();
    project.write("pipelines/faulty.toml", FAULTY);
    for command in [&["build"][..], &["check"], &["plan"], &["build", "--message-format", "json"]] {
        let run = project.kuth(&[command, &["pipelines/faulty.toml"]].concat()).ended(2);
        assert_eq!(run.out, "", "{command:?}");
        assert!(run.err == TOLD, "{command:?} told:\n{}", run.err);
    }
    assert!(!project.cache.exists(), "a faulty pipeline makes no cache");
}

#[test]
fn misuse_ends_with_status_two_and_a_way_out() {
    let project = kuth_test_support::project::Project::within(directory("misuse"));
    std::fs::create_dir_all(project.root.join("pipelines")).unwrap();
    project.write("pipelines/debian.toml", FAULTY);
    let run = project.kuth(&["build", "pipelines/debain.toml"]).ended(2);
    assert!(run.err.contains("hint: did you mean `pipelines/debian.toml`?"), "{}", run.err);
    project.kuth(&["build", "--no-such-option"]).ended(2);
}
