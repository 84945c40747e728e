//! Several kuth processes on one cache: each stage runs once, whoever comes first.

use crate::small::{SMALL, small};
use kuth_test_support::run::Run;

#[test]
fn three_builds_at_once_run_each_stage_once() {
    let project = small("sharing");
    let running: Vec<_> = (0..3).map(|_| project.begin(&[SMALL])).collect();
    let runs: Vec<Run> = running.into_iter().map(|live| live.finish().ok()).collect();
    let count =
        |stage: &str, state: &str| runs.iter().filter(|run| run.states()[stage] == state).count();
    assert_eq!(count("rootfs", "cached"), 3);
    for stage in ["base", "last"] {
        assert_eq!((count(stage, "done"), count(stage, "cached")), (1, 2), "{stage}");
        let digests = runs.iter().map(|run| run.of(stage, "digest"));
        assert_eq!(digests.collect::<std::collections::BTreeSet<_>>().len(), 1);
    }
    project.assert_clean();
}
