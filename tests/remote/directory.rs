//! Through a directory: what moves, what does not, and who may be believed.

use super::world::{World, files, warnings};
use kuth_test_support::run::Run;

#[test]
fn a_second_machine_runs_nothing_and_fetches_only_targets() {
    let world = World::new();
    let first = world.machine("one", "../remote").build(&[]);
    assert_eq!((first.status, first.count("run")), (0, 2), "{}", first.err);
    assert!(first.err.contains("2 results pushed to ../remote"), "{}", first.err);
    let two = world.empty_handed("two", "../remote");
    let second = two.build(&[]);
    assert_eq!((second.status, second.count("run")), (0, 0), "{}", second.err);
    assert_eq!(second.count("cached"), 2);
    for stage in ["file", "directory"] {
        assert_eq!(first.digest(stage), second.digest(stage));
    }
    two.is_right();
    assert!(two.has_object(second.digest("directory")));
    assert!(!two.has_object(second.digest("file")), "nothing needs it");
    let file = second.out.lines().find(|line| line.contains("\"stage\":\"file\"")).unwrap();
    assert!(!file.contains("\"path\""), "{file}");
    // What needs it has it brought.
    let rebuilt = two.build(&["--rebuild", "directory"]);
    assert_eq!((rebuilt.status, rebuilt.count("run")), (0, 1), "{}", rebuilt.err);
    assert!(two.has_object(second.digest("file")));
}

#[test]
fn no_fetch_leaves_results_on_the_remote() {
    let world = World::new();
    world.machine("one", "../remote").runs(2, &[]);
    let two = world.empty_handed("two", "../remote");
    let run = two.build(&["--no-fetch"]);
    assert_eq!((run.status, run.count("run"), run.count("cached")), (0, 0, 2), "{}", run.err);
    assert!(!two.has_object(run.digest("directory")));
    // What has to run gets what it eats all the same.
    let run = two.build(&["--no-fetch", "--rebuild", "directory"]);
    assert_eq!((run.status, run.count("run")), (0, 1), "{}", run.err);
    two.is_right();
}

#[test]
fn plan_and_build_know_results_on_the_remote() {
    let world = World::new();
    world.machine("one", "../remote").runs(2, &[]);
    let two = world.empty_handed("two", "../remote");
    two.runs(0, &[]);
    let plan = two.kuth(&["plan", "p.toml"]);
    assert_eq!(plan.err, "2 stages, 2 cached\n");
    let path = two.kuth(&["path", "p.toml", "file"]);
    assert_eq!(path.status, 1, "it is not here: {}", path.out);
    // Asked for, it comes.
    two.runs(0, &["file"]);
    assert_eq!(two.kuth(&["path", "p.toml", "file"]).status, 0);
}

#[test]
fn a_result_that_is_gone_from_the_remote_is_rebuilt() {
    let world = World::new();
    world.machine("one", "../remote").runs(2, &[]);
    let two = world.machine("two", "../remote");
    two.runs(0, &[]);
    std::fs::remove_dir_all(world.path("remote/v2/objects")).unwrap();
    // Told as cached, and run after all, as what eats it has to run.
    let run = two.build(&["--rebuild", "directory"]);
    assert_eq!((run.status, run.count("run")), (0, 2), "{}", run.err);
    assert_eq!(warnings(&run.err), 1, "{}", run.err);
    two.is_right();
    // And it was brought back.
    let three = world.empty_handed("three", "../remote");
    three.runs(0, &[]);
    three.runs(0, &["file"]);
}

#[test]
fn a_read_only_remote_gets_nothing() {
    let world = World::new();
    let one = world.machine("one", "../remote").with("KUTH_CACHE_MODE", "read");
    one.runs(2, &[]);
    assert!(!world.path("remote").exists());
}

#[test]
fn an_interrupted_push_is_continued_by_the_next_build() {
    let world = World::new();
    std::fs::write(world.path("blocked"), "a file is not a directory").unwrap();
    let one = world.machine("one", "../blocked/remote");
    let err = one.runs(2, &[]);
    assert!(warnings(&err) >= 1, "{err}");
    let one = one.with("KUTH_CACHE_REMOTE", "../remote");
    let err = one.runs(0, &[]);
    assert!(err.contains("2 results pushed to ../remote"), "{err}");
    world.empty_handed("two", "../remote").runs(0, &[]);
    assert!(!one.runs(0, &[]).contains("pushed"));
}

#[test]
fn unsigned_records_and_unknown_keys_are_not_trusted() {
    let world = World::new();
    let stranger = world.keygen("other");
    let other = world.path("other").display().to_string();
    world.machine("one", "../remote").with("KUTH_CACHE_KEY", &other).runs(2, &[]);
    let err = world.machine("two", "../remote").with("KUTH_CACHE_MODE", "read").runs(2, &[]);
    assert!(err.contains(&format!("is signed by {stranger}")), "{err}");
    assert_eq!(warnings(&err), 1, "{err}");
    // Listed, it is.
    let three = world.empty_handed("three", "../remote").with("KUTH_CACHE_KEY", "");
    let text = format!("[cache]\nkeys = [\"{stranger}\"]\n");
    std::fs::write(three.path("kuth.toml"), text).unwrap();
    assert_eq!(warnings(&three.runs(0, &[])), 0);
    // Without a signature.
    let four = world.machine("four", "../bare").with("KUTH_CACHE_KEY", "");
    let anyone = "[cache]\ntrust = \"anyone\"\nmode = \"read-write\"\n";
    std::fs::write(four.path("kuth.toml"), anyone).unwrap();
    four.runs(2, &[]);
    let err = world.machine("five", "../bare").with("KUTH_CACHE_MODE", "read").runs(2, &[]);
    assert!(err.contains("is not signed") && warnings(&err) == 1, "{err}");
    let six = world.empty_handed("six", "../bare").with("KUTH_CACHE_KEY", "");
    std::fs::write(six.path("kuth.toml"), anyone).unwrap();
    six.runs(0, &[]);
}

#[test]
fn a_build_without_trusted_keys_is_refused() {
    let world = World::new();
    let run = world.machine("one", "../remote").with("KUTH_CACHE_KEY", "").build(&[]);
    assert_eq!(run.status, 2);
    assert!(run.err.contains("no trusted keys"), "{}", run.err);
}

#[test]
fn a_faulty_kuth_toml_is_shown_with_its_place() {
    let world = World::new();
    let one = world.machine("one", "../remote");
    std::fs::write(one.path("kuth.toml"), "[cache]\nkeys = [\"ed25519:12\"]\n").unwrap();
    let run = one.build(&[]);
    assert_eq!(run.status, 2);
    assert!(run.err.contains("kuth.toml:2:9"), "{}", run.err);
}

#[test]
fn ten_at_once_run_each_stage_once() {
    let world = World::new();
    let one = world.machine("one", "../remote");
    let arguments = ["build", "p.toml", "--message-format", "json"];
    let children: Vec<_> = (0..10).map(|_| one.start(&arguments)).collect();
    let runs: Vec<_> = children.into_iter().map(Run::of_child).collect();
    assert!(runs.iter().all(|run| run.status == 0), "{runs:?}");
    assert_eq!(runs.iter().map(|run| run.count("run")).sum::<u64>(), 2);
    one.is_right();
    // Ten of another machine find it all.
    let two = world.empty_handed("two", "../remote");
    let children: Vec<_> = (0..10).map(|_| two.start(&arguments)).collect();
    let runs: Vec<_> = children.into_iter().map(Run::of_child).collect();
    assert!(runs.iter().all(|run| run.status == 0 && run.count("run") == 0), "{runs:?}");
    two.is_right();
}

#[test]
fn every_changed_byte_is_detected_or_harmless() {
    let world = World::new();
    world.machine("one", "../remote").runs(2, &[]);
    let stored = files(&world.path("remote"));
    for (at, path) in stored.iter().enumerate() {
        let bytes = std::fs::read(path).unwrap();
        let is_chunk = path.extension().is_some_and(|extension| extension == "pack");
        // The first and last bytes, and a sample between them.
        let places = [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1];
        let mut changes: Vec<Vec<u8>> = places
            .iter()
            .map(|place| {
                let mut changed = bytes.clone();
                changed[*place] ^= 1 << (place % 8);
                changed
            })
            .collect();
        changes.push(bytes[..bytes.len() / 2].to_vec());
        // Bytes of another file of its kind.
        let other =
            stored.iter().find(|other| *other != path && other.extension() == path.extension());
        changes.extend(other.map(|other| std::fs::read(other).unwrap()));
        let few = if is_chunk && at % 4 != 0 { 1 } else { changes.len() };
        for (number, changed) in changes.iter().take(few).enumerate() {
            std::fs::write(path, changed).unwrap();
            let machine = world.machine("again", "../remote").with("KUTH_CACHE_MODE", "read");
            let run = machine.build(&["directory", "--jobs", "1"]);
            assert_eq!(run.status, 0, "{}: {}", path.display(), run.err);
            machine.is_right();
            let (ran, told) = (run.count("run"), warnings(&run.err));
            assert!(told <= 1, "{}: {}", path.display(), run.err);
            assert_eq!(ran > 0, told == 1, "{}, change {number}: {}", path.display(), run.err);
            std::fs::remove_dir_all(machine.path("cache")).unwrap();
        }
        std::fs::write(path, &bytes).unwrap();
    }
}

#[test]
fn damaged_files_are_uploaded_again_by_a_writer() {
    let world = World::new();
    world.machine("one", "../remote").runs(2, &[]);
    for path in files(&world.path("remote/v2/packs")) {
        std::fs::write(path, "damaged").unwrap();
    }
    let err = world.machine("two", "../remote").runs(2, &[]);
    assert_eq!(warnings(&err), 1, "{err}");
    world.empty_handed("three", "../remote").runs(0, &["file", "directory"]);
}

#[test]
fn cache_push_and_cache_pull_copy_results() {
    let world = World::new();
    let remote = world.path("remote").display().to_string();
    let one = world.machine("one", "");
    one.runs(2, &[]);
    let one = one.with("KUTH_CACHE_REMOTE", &remote);
    // Everything is cached, so a build has nothing to bring.
    one.runs(0, &[]);
    assert!(!world.path("remote").exists());
    let pushed = one.kuth(&["cache", "push", "p.toml"]);
    assert_eq!(pushed.status, 0, "{}", pushed.err);
    assert_eq!(pushed.out, "file       pushed\ndirectory  pushed\n");
    assert!(pushed.err.contains("2 results pushed to"), "{}", pushed.err);

    let two = world.empty_handed("two", &remote);
    let pulled = two.kuth(&["cache", "--cache", "cache", "pull", "p.toml"]);
    assert_eq!(pulled.status, 0, "{}", pulled.err);
    assert!(pulled.out.contains("file       pulled, 3.0 MiB"), "{}", pulled.out);
    let again = two.kuth(&["cache", "pull", "p.toml"]);
    assert_eq!(again.out, "file       already here\ndirectory  already here\n");
    two.with("KUTH_CACHE_REMOTE", "").runs(0, &["--offline"]);
}

#[test]
fn push_and_pull_report_what_is_missing() {
    let world = World::new();
    let remote = world.path("remote").display().to_string();
    let one = world.machine("one", &remote);
    let pulled = one.kuth(&["cache", "pull", "p.toml"]);
    let missing = "file       missing: not in the remote cache\n\
                   directory  missing: depends on the result of file\n";
    assert_eq!((pulled.status, pulled.out.as_str()), (1, missing), "{}", pulled.err);
    let pushed = one.kuth(&["cache", "push", "p.toml", "file"]);
    assert_eq!((pushed.status, pushed.out.as_str()), (1, "file  missing: not built here\n"));
    let reading = one.with("KUTH_CACHE_MODE", "read").kuth(&["cache", "push", "p.toml"]);
    assert_eq!(reading.status, 2);
    assert!(reading.err.contains("is read-only here"), "{}", reading.err);
    let nowhere = world.machine("two", "").kuth(&["cache", "push", "p.toml"]);
    assert!(nowhere.err.contains("no remote cache is configured"), "{}", nowhere.err);
}
