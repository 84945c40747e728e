//! Through real servers: nginx with its WebDAV module, and S3 as moto plays it.

use super::world::{Machine, World, warnings};
use kuth_test_support::servers::Server;

fn with<'w>(machine: Machine<'w>, variables: &[(&str, &str)]) -> Machine<'w> {
    variables.iter().fold(machine, |machine, (name, value)| machine.with(name, value))
}

/// Two machines, one remote: the second runs nothing, and gets the same.
fn two_machines(world: &World, remote: &str, variables: &[(&str, &str)]) {
    let with = |machine| with(machine, variables);
    let first = with(world.machine("one", remote)).build(&[]);
    assert_eq!((first.status, first.count("run")), (0, 2), "{}", first.err);
    assert!(
        first.err.contains("2 results pushed to") && warnings(&first.err) == 0,
        "{}",
        first.err
    );
    let two = with(world.empty_handed("two", remote));
    let second = two.build(&[]);
    assert_eq!((second.status, second.count("run")), (0, 0), "{}", second.err);
    assert_eq!(warnings(&second.err), 0, "{}", second.err);
    for stage in ["file", "directory"] {
        assert_eq!(first.digest(stage), second.digest(stage));
    }
    two.is_right();
}

#[test]
fn through_nginx() {
    let world = World::new();
    let directory = world.path("nginx");
    let Some(nginx) = Server::nginx(&directory) else { return };
    two_machines(&world, &format!("{}/cache", nginx.address), &[]);
    assert!(directory.join("files/v2/records").is_dir());
}

#[test]
#[cfg(feature = "object-stores")]
fn through_webdav() {
    // As much of it as kuth needs; with PROPFIND and MKCOL.
    let server = super::server::Server::start();
    let world = World::new();
    two_machines(&world, &server.address.replace("http", "webdav"), &[]);
    let sent = server.requests();
    assert!(sent.iter().any(|(path, body)| path.contains("/v2/records/") && !body.is_empty()));
}

#[test]
#[cfg(feature = "object-stores")]
fn through_a_web_server_that_is_no_webdav() {
    let world = World::new();
    let directory = world.path("nginx");
    let Some(nginx) = Server::nginx(&directory) else { return };
    // nginx alone has no PROPFIND and MKCOL: a miss and a warning, and nothing is half there.
    let remote = format!("{}/cache", nginx.address.replace("http", "webdav"));
    let err = world.machine("one", &remote).runs(2, &[]);
    assert!(warnings(&err) == 1 && err.contains(&format!("the remote cache {remote}")), "{err}");
    assert!(super::world::files(&directory.join("files")).is_empty());
}

#[test]
#[cfg(feature = "object-stores")]
fn through_s3() {
    let world = World::new();
    let Some(s3) = Server::s3() else { return };
    let variables = s3.s3_variables();
    two_machines(&world, "s3://bucket/some/prefix", &variables);
    // As a job for a pull request: everything that it has no value for is empty. It asks unsigned,
    // which this bucket, not being public, refuses.
    let empty = variables.map(|(name, value)| match name {
        "AWS_ENDPOINT_URL" => (name, value),
        _ => (name, ""),
    });
    let other = with(world.machine("four", "s3://bucket/some/prefix"), &empty);
    let err = other.with("KUTH_CACHE_MODE", "read").runs(2, &[]);
    assert!(warnings(&err) == 1 && err.contains("PermissionDenied"), "{err}");
    // A bucket that is not there. Servers other than Amazon's are asked without a region too.
    let other = with(world.machine("three", "s3://nobody"), &variables[..3]);
    assert!(warnings(&other.runs(2, &[])) >= 1);
    let one = with(world.machine("one", "s3://bucket/some/prefix"), &variables);
    let stats = one.kuth(&["cache", "remote", "stats"]).ok().out;
    let rows: Vec<Vec<&str>> =
        stats.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    assert_eq!(rows[0], ["records", "2"], "{stats}");
    assert_eq!(rows[3], ["unused", "0"], "{stats}");
    let pruned = one.kuth(&["cache", "remote", "prune", "--older-than", "0s"]).ok();
    assert!(pruned.err.starts_with("2 files removed"), "{}", pruned.err);
}
