//! `kuth cache remote`: what lies on a remote, and the removal of what no result needs.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::world::{World, files};

/// Lets all files of the remote be of that many days ago.
fn age(directory: &Path, days: u64) {
    let then = SystemTime::now() - Duration::from_secs(days * 86_400);
    for path in files(directory) {
        File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }
}

/// The second column of the row of this name.
fn count(table: &str, name: &str) -> usize {
    let row = table.lines().find(|line| line.starts_with(name)).unwrap();
    row.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn what_no_result_needs_is_counted_and_removed() {
    let world = World::new();
    let one = world.machine("one", "../remote");
    one.runs(2, &[]);
    let stats = || one.kuth(&["cache", "remote", "stats"]).ok().out;
    let counts = |table: &str| ["records", "objects", "unused"].map(|name| count(table, name));
    assert_eq!(counts(&stats()), [2, 2, 0]);
    age(&world.path("remote"), 3);
    let pruned = one.kuth(&["cache", "remote", "prune"]).ok();
    assert_eq!((pruned.out.as_str(), pruned.err.as_str()), ("", "0 files removed, 0 B freed\n"));

    // Without the record of the file, what it alone needs is not needed.
    let key = fs::read_to_string(one.path("cache/latest/p/file.key")).unwrap();
    let key = key.trim();
    fs::remove_file(world.path(&format!("remote/v2/records/{}/{key}.json", &key[..2]))).unwrap();
    let table = stats();
    assert_eq!(counts(&table)[..2], [1, 2]);
    let unused = count(&table, "unused");
    assert!(unused > 0, "{table}");
    let before = files(&world.path("remote"));
    let dry = one.kuth(&["cache", "remote", "prune", "--dry-run"]).ok();
    assert_eq!(files(&world.path("remote")), before);
    let pruned = one.kuth(&["cache", "remote", "prune"]).ok();
    assert_eq!((&pruned.out, pruned.out.lines().count()), (&dry.out, unused));
    assert!(pruned.err.starts_with(&format!("{unused} files removed")), "{}", pruned.err);
    assert_eq!(counts(&stats()), [1, 1, 0]);
    // What is left is whole.
    let two = world.machine("two", "../remote").build(&["directory"]);
    assert_eq!((two.status, two.count("run")), (0, 1), "{}", two.err);
    let warned = two.err.lines().any(|line| line.starts_with("warning:"));
    assert!(!warned, "{}", two.err);

    // What was uploaded just now may be of an upload that goes on.
    fs::remove_dir_all(world.path("remote/v2/records")).unwrap();
    age(&world.path("remote/v2/packs"), 0);
    one.kuth(&["cache", "remote", "prune"]).ok();
    assert!(!files(&world.path("remote/v2/packs")).is_empty());
}

#[test]
fn old_results_are_removed_when_asked_for() {
    let world = World::new();
    let one = world.machine("one", "../remote");
    one.runs(2, &[]);
    age(&world.path("remote"), 40);
    let pruned = one.kuth(&["cache", "remote", "prune", "--older-than", "50d"]).ok();
    assert_eq!(pruned.out, "");
    one.kuth(&["cache", "remote", "prune", "--older-than", "30d"]).ok();
    for kind in ["records", "objects", "packs"] {
        assert!(files(&world.path(&format!("remote/v2/{kind}"))).is_empty(), "{kind}");
    }
    world.machine("two", "../remote").runs(2, &[]);
}

#[test]
fn a_remote_that_cannot_be_listed_says_so() {
    let world = World::new();
    let web = world.machine("one", "http://127.0.0.1:9/cache");
    for command in ["stats", "prune"] {
        let refused = web.kuth(&["cache", "remote", command]);
        assert_eq!(refused.status, 1, "{}", refused.err);
        assert!(refused.err.contains("a web server cannot list its files"), "{}", refused.err);
    }
    let none = world.machine("two", "").kuth(&["cache", "remote", "stats"]);
    assert_eq!(none.status, 2, "{}", none.err);
    assert!(none.err.contains("no remote cache is configured"), "{}", none.err);
}
