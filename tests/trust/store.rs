//! Packages in the cache that somebody, or a disk, changed.

use crate::world::{LIST, World, asks, flipped, kept, package, world};
use kuth_test_support::project::Project;
use kuth_test_support::run::Run;

/// Puts another file of the same length, or of another, in the place of the first package.
fn damage(world: &World, project: &Project, bytes: &[u8]) {
    let place = package(project, &world.debs[0]);
    assert!(place.exists());
    std::fs::remove_file(&place).unwrap();
    std::fs::write(&place, bytes).unwrap();
}

/// `build` comes to packages that are damaged in the cache.
fn mended(world: &World, project: &Project, build: &dyn Fn(&[&str]) -> Run, offline: bool) {
    build(&[]);
    let place = package(project, &world.debs[0]);
    let good = std::fs::read(&world.debs[0].file).unwrap();
    for bytes in [flipped(&world.debs[0].file), good[1..].to_vec(), Vec::new()] {
        damage(world, project, &bytes);
        let run = build(&[]);
        let warning = "the cache's file of dpkg 1.0 amd64 was damaged, and is removed";
        assert!(run.err.contains(warning), "{}", run.err);
        assert_eq!(std::fs::read(&place).unwrap(), good, "it came anew");
        assert!(!build(&[]).err.contains("damaged"));
        if offline {
            damage(world, project, &bytes);
            let parts = ["the cache's file of dpkg 1.0 amd64 was damaged", "without `--offline`"];
            let run = build(&["--offline"]);
            let errors = run.err.lines().filter(|line| line.starts_with("error:")).count();
            assert_eq!((run.status, errors), (1, 1), "{}", run.err);
            assert!(parts.iter().all(|part| run.err.contains(part)), "{}", run.err);
            assert!(!place.exists(), "nothing of it is kept");
            build(&[]);
        }
    }
    assert!(!kept(project).iter().any(|kind| kind == "bootstrap"));
}

#[test]
fn a_damaged_package_of_a_mirror_comes_anew() {
    let Some(world) = world() else { return };
    let archive = world.archive("store");
    let server = archive.served();
    let (project, keyring) = (world.project("store"), world.keyring("ours"));
    let build = |words: &[&str]| {
        asks(&project, "build", &keyring, &[&["--mirror", &server.address], words].concat())
    };
    mended(world, &project, &build, true);
    // On the mirror it is damaged too.
    damage(world, &project, &flipped(&world.debs[0].file));
    std::fs::write(archive.path(&world.debs[0].path), flipped(&world.debs[0].file)).unwrap();
    let run = build(&[]);
    assert!(run.status == 1 && run.err.contains("the SHA-256 is "), "{}", run.err);
    assert!(!package(&project, &world.debs[0]).exists());
    // The index in the cache is what says so, not the one on the mirror.
    archive.edit(LIST, "Version: 1.0", "Version: 1.1");
    assert!(build(&[]).err.contains("the SHA-256 is "));
}

#[test]
fn a_damaged_package_of_a_medium_comes_anew() {
    let Some(world) = world() else { return };
    let medium = world.medium("store-medium");
    let project = world.project("store-medium");
    project.write("p.toml", crate::media::PIPELINE);
    let iso = format!("iso={}", medium.iso().display());
    let build = |words: &[&str]| {
        project.kuth(&[&["build", "p.toml", "--offline", "--var", &iso], words].concat())
    };
    mended(world, &project, &build, false);
}
