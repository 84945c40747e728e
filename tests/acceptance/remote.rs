//! The cache between machines with the whole pipeline: a second machine that has nothing but a
//! checkout builds it to the end and runs no stage.

use std::path::Path;

use crate::world::{DEBIAN, checkout, directory, world};
use kuth_test_support::project::Project;
use kuth_test_support::servers::Server;

/// Pushes what the world built to `remote`, and builds on a machine with an empty cache.
fn carried_over(name: &str, remote: &str, variables: &[(&'static str, &str)]) {
    let first = world().fork(name);
    let second = Project::within(directory(&format!("{name}-second")));
    checkout(&second);
    // The lock is committed with the pipeline.
    let lock = "pipelines/debian.lock";
    std::fs::copy(first.root.join(lock), second.root.join(lock)).unwrap();
    let key = first.cache.join("../key");
    let made = first.kuth(&["cache", "keygen", key.to_str().unwrap()]).ok();
    let with_remote = |mut project: Project| {
        project.set("KUTH_CACHE_REMOTE", remote);
        project.set("KUTH_CACHE_KEY", key.to_str().unwrap());
        // What cannot be had from the remote cannot be had at all.
        project.set("KUTH_DEBIAN_MIRROR", "http://127.0.0.1:9/none");
        for (name, value) in variables {
            project.set(name, value);
        }
        project
    };
    let first = with_remote(first);
    let pushed = first.kuth(&["cache", "push", DEBIAN]).ok();
    assert!(!pushed.err.contains("warning:"), "{}", pushed.err);
    assert!(made.out.starts_with("ed25519:"));

    let second = with_remote(second);
    let run = second.build(&[DEBIAN]).ok();
    assert!(!run.err.contains("warning:"), "{}", run.err);
    run.assert_all("cached");
    let told = &world().first;
    for stage in told.states().into_keys() {
        assert_eq!(run.of(stage, "digest"), told.of(stage, "digest"), "{stage}");
    }
    // The machines and the export are there for use, with what is told of it.
    let image = run.of("image", "path");
    for suffix in ["", ".cdx.json", ".spdx.json", ".intoto.jsonl"] {
        assert!(Path::new(&format!("{image}{suffix}")).is_file(), "{image}{suffix}");
    }
    for node in told.states().into_keys().filter(|stage| stage.starts_with("nodes/")) {
        assert!(Path::new(run.of(node, "path")).join("seed.iso").is_file(), "{node}");
    }
    eprintln!("{name}: pushed in {:?}, built in {:?}", pushed.wall, run.wall);
    second.build(&[DEBIAN, "--offline"]).ok().assert_all("cached");
}

#[test]
#[cfg(feature = "object-stores")]
fn a_second_machine_runs_nothing_with_s3_between_them() {
    let Some(s3) = Server::s3() else { return };
    carried_over("s3", "s3://bucket/kuth", &s3.s3_variables());
}

#[test]
fn a_second_machine_runs_nothing_with_nginx_between_them() {
    let place = directory("nginx");
    let Some(nginx) = Server::nginx(place.path()) else { return };
    carried_over("nginx", &format!("{}/cache", nginx.address), &[]);
}
