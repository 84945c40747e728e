//! A package of the lock is no longer on the mirror.

use crate::world::{MOVED, PIPELINE, World, remote, world};
use kuth_test_support::mirror::Deb;

/// Puts the package that left where the archive of old packages has it.
fn archived(world: &World, name: &str) {
    let place = world.web(name);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::copy(&world.old.file, place).unwrap();
}

#[test]
fn packages_of_the_cache_give_the_same_bytes() {
    let world = world();
    let project = world.with_packages("store");
    let server = world.serve();
    let mirror = format!("{}/debian", server.address);
    let built = project.build(&["p.toml", "--locked", "--mirror", &mirror]).ok();
    assert_eq!(built.count("run"), 2);
    assert_eq!(["rootfs", "base"].map(|stage| built.digest(stage)), world.digests);
    assert_eq!(server.asked(), [""; 0], "the mirror has nothing to say");
    assert_eq!(project.read("p.lock"), world.lock());
    let again = ["--locked", "--offline", "--rebuild", "base"];
    let again = project.build(&[&["p.toml"], &again[..]].concat()).ok();
    assert_eq!((again.count("run"), again.digest("base")), (1, world.digests[1].as_str()));
}

#[test]
fn a_new_request_on_top_of_a_remote_tree_is_resolved() {
    let world = world();
    let project = world.project("remote");
    project.write("kuth.toml", remote("read"));
    project.write("p.toml", PIPELINE.replace("[\"htop\"]", "[\"libncursesw6\"]"));
    let keyring = format!("keyring={}", world.keyring());
    let built = project.build(&["p.toml", "--mirror", &world.mirror(), "--var", &keyring]).ok();
    assert_eq!((built.count("run"), built.digest("rootfs")), (1, world.digests[0].as_str()));
}

#[test]
fn a_package_that_is_nowhere_is_named() {
    let world = world();
    let project = world.without_the_moved("nowhere");
    let words = ["--locked", "--rebuild", "base", "--mirror", &world.mirror()];
    let run = project.build(&[&["p.toml"], &words[..]].concat());
    assert_eq!(run.status, 1, "{}", run.err);
    assert_eq!(run.err.matches("error:").count(), 1, "{}", run.err);
    let version = world.old.path.rsplit('_').nth(1).unwrap();
    for part in [
        format!("a package of the lock is not on the mirror {}: ", world.mirror()),
        format!(": {MOVED} {version} amd64\n"),
        "404 Not Found".to_string(),
        "`--snapshot URL`".to_string(),
        "`kuth update PIPELINE`".to_string(),
    ] {
        assert!(run.err.contains(&part), "{part}: {}", run.err);
    }
    assert_eq!(project.read("p.lock"), world.lock());
    let offline = project.build(&["p.toml", "--locked", "--offline", "--rebuild", "base"]);
    assert!(offline.err.contains(&format!("{MOVED} {version} amd64")), "{}", offline.err);
}

#[test]
fn the_snapshot_archive_has_packages_by_day_or_by_hash() {
    let world = world();
    let server = world.serve();
    let [mirror, archive] =
        ["debian", "archive/debian"].map(|it| format!("{}/{it}", server.address));
    let words = ["--locked", "--mirror", &mirror, "--snapshot", &archive];
    let Deb { path, .. } = &world.old;

    // Nothing but the lock is here: all other packages come from the mirror. The archive's last
    // day is between that of the lock and the day after.
    let (day, _) = world.date.split_once('T').unwrap();
    archived(world, &format!("archive/debian/{day}T235959Z/{path}"));
    let project = world.project("archive");
    server.asked();
    let built = project.build(&[&["p.toml"], &words[..]].concat()).ok();
    assert_eq!(["rootfs", "base"].map(|stage| built.digest(stage)), world.digests);
    let asked = server.asked();
    let of_archive: Vec<&String> =
        asked.iter().filter(|path| path.starts_with("/archive/")).collect();
    assert_eq!(of_archive.len(), 1, "{of_archive:?}");
    assert!(!asked.iter().any(|path| path.contains("/dists/")), "{asked:?}");

    // A directory of days without more, with the very day of the lock.
    std::fs::remove_dir_all(world.web("archive")).unwrap();
    archived(world, &format!("days/{}/{path}", world.date));
    world.forget(&project);
    let days = format!("{}/days", server.address);
    let words = ["--locked", "--mirror", &mirror, "--rebuild", "base", "--snapshot"];
    let built = project.build(&[&["p.toml"][..], &words[..], &[&days]].concat()).ok();
    assert_eq!(built.digest("base"), world.digests[1]);

    // An archive that does not have the day, but knows hashes: one is of another file.
    let version = path.rsplit('_').nth(1).unwrap();
    let answer = r#"{"result": [{"architecture": "arm64", "hash": "aa"},
        {"architecture": "amd64", "hash": "bb"}, {"architecture": "amd64", "hash": "cc"}]}"#;
    let place = world.web(&format!("mr/binary/{MOVED}/{version}"));
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("binfiles"), answer).unwrap();
    archived(world, "file/cc");
    world.forget(&project);
    server.asked();
    let built = project.build(&[&["p.toml"][..], &words[..], &[&archive]].concat()).ok();
    assert_eq!(built.digest("base"), world.digests[1]);
    let asked = server.asked();
    assert!(asked.iter().any(|path| path == "/file/cc"), "{asked:?}");
    assert!(!asked.iter().any(|path| path == "/file/aa"), "{asked:?}");

    // Another file under the old name on the mirror.
    let other = world.web("other/debian").join(path);
    std::fs::create_dir_all(other.parent().unwrap()).unwrap();
    std::fs::write(&other, "another file").unwrap();
    world.forget(&project);
    let mirror = format!("{}/other/debian", server.address);
    let words = ["--locked", "--rebuild", "base", "--mirror", &mirror];
    let built =
        project.build(&[&["p.toml"][..], &words[..], &["--snapshot", &archive]].concat()).ok();
    assert_eq!(built.digest("base"), world.digests[1]);
    world.forget(&project);
    let run = project.build(&[&["p.toml"][..], &words[..], &["--snapshot", &mirror]].concat());
    assert_eq!(run.status, 1);
    assert!(run.err.contains("neither on the mirror"), "{}", run.err);
    assert!(run.err.contains(MOVED), "{}", run.err);
}
