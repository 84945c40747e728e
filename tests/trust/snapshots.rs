//! Packages that left the mirror, from an archive of old packages.

use crate::world::{Archive, World, asks, flipped, kept, package, world};
use kuth_test_support::http::{Answer, Server};
use kuth_test_support::project::Project;
use kuth_test_support::run::Run;

/// A server of `archive` whose mirror has no packages any more. Below `archive/debian` it has
/// `by_day` on every day, and `by_hash` under a hash.
fn server(
    archive: &Archive,
    by_day: Option<Vec<u8>>,
    by_hash: Option<Vec<u8>>,
    flood: bool,
) -> Server {
    let answer = move |file: &Option<Vec<u8>>| match (file, flood) {
        (Some(file), true) => Answer::flood(file),
        (Some(file), false) => Answer::ok(file),
        (None, _) => Answer::refusal("404 Not Found"),
    };
    archive.serve(move |request, _| {
        let path = &request.path;
        if path.starts_with("/archive/debian/") && path.contains("dpkg_1.0") {
            Some(answer(&by_day))
        } else if path.ends_with("/binfiles") {
            let answer = br#"{"result": [{"architecture": "amd64", "hash": "cc"}]}"#;
            Some(Answer::ok(answer))
        } else if path == "/file/cc" {
            Some(answer(&by_hash))
        } else {
            path.contains("dpkg_1.0").then(|| Answer::refusal("404 Not Found"))
        }
    })
}

fn build(world: &World, project: &Project, server: &Server) -> Run {
    let archive = format!("{}/archive/debian", server.address);
    let words = ["--mirror", &server.address, "--snapshot", &archive];
    asks(project, "build", &world.keyring("ours"), &words)
}

#[test]
fn an_old_package_is_the_one_of_the_lock() {
    let Some(world) = world() else { return };
    let archive = world.archive("snapshot");
    let file = &world.debs[0].file;
    let (good, bad) = (std::fs::read(file).unwrap(), flipped(file));
    let place = |project: &Project| package(project, &world.debs[0]);
    let long = [&good[..], b"x"].concat();

    // Neither of the day nor by its hash is it the one.
    for (name, other, said) in [
        ("flipped", &bad, "the SHA-256 is "),
        ("long", &long, "the server announces "),
        ("short", &good[1..].to_vec(), " bytes, got "),
    ] {
        let project = world.project(&format!("snapshot-{name}"));
        let server = server(&archive, Some(other.clone()), Some(other.clone()), false);
        let parts = ["neither on the mirror", "nor in the archive", "dpkg 1.0 amd64", said];
        build(world, &project, &server).refused(&parts);
        assert!(!place(&project).exists());
        assert!(!kept(&project).iter().any(|kind| kind == "bootstrap"));
    }
    // Of the day it is not, by its hash it is; and the other way round.
    for (day, hash) in [(bad.clone(), good.clone()), (good.clone(), bad.clone())] {
        let project = world.project("snapshot-one");
        let server = server(&archive, Some(day), Some(hash), false);
        let run = build(world, &project, &server);
        assert!(!run.err.contains("archive"), "{}", run.err);
        assert_eq!(std::fs::read(place(&project)).unwrap(), good);
    }
}

#[test]
fn an_archive_without_an_end_is_cut() {
    let Some(world) = world() else { return };
    let archive = world.archive("snapshot-flood");
    let good = std::fs::read(&world.debs[0].file).unwrap();
    let project = world.project("snapshot-flood");
    let server = server(&archive, Some(good.clone()), Some(good.clone()), true);
    let said = format!("expected at most {} bytes, got ", good.len());
    build(world, &project, &server).refused(&["nor in the archive", &said]);
    assert!(!package(&project, &world.debs[0]).exists());
    // Of two days and by its hash.
    assert!(server.sent() < 3 * (good.len() as u64 + (16 << 20)), "{}", server.sent());
}
