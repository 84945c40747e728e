//! Hosts that are short of something, and file systems that fail: a build is refused with an error, or
//! it is right; and the next one is right in any case.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kuth_test_support::judge::{is_there, skip};
use kuth_test_support::project::Project;
use kuth_test_support::run::Run;
use kuth_test_support::trace::{self, CAN_FAIL, Call, Effect, Verdict, libc};

use crate::table::{self, Points, part};
use crate::world::{Machines, PIPELINE, Start, World, archive_of_system, directory};

/// An error, and the calls that it hits.
type Failure = (&'static str, i32, &'static [Effect]);

const WRITES: &[Effect] = &[Effect::Write, Effect::Create, Effect::Name];
const CHANGES: &[Effect] =
    &[Effect::Write, Effect::Create, Effect::Name, Effect::Rename, Effect::Sync];

const FAILURES: [Failure; 6] = [
    ("ENOSPC", libc::ENOSPC, WRITES),
    ("EDQUOT", libc::EDQUOT, WRITES),
    ("EIO", libc::EIO, CHANGES),
    ("EMFILE", libc::EMFILE, &[Effect::Create]),
    ("EAGAIN", libc::EAGAIN, &[Effect::Spawn]),
    ("EROFS", libc::EROFS, CHANGES),
];

/// It did all of it, or said why not.
fn is_right_or_refused(world: &World, run: &Run) -> Result<(), String> {
    if run.err.contains("panicked") {
        return Err(format!("a panic: {}", run.err));
    }
    match run.status {
        0 => world.is_right(run),
        1 if run.err.contains("error") => Ok(()),
        status => Err(format!("it ended with {status}: {}", run.err)),
    }
}

/// Lets calls with `effects` meet `verdict`: the one of this number, and with `on` all after it.
fn fail_at(world: &World, at: usize, on: bool, effects: &[Effect], verdict: Verdict) -> Run {
    world.restore();
    let mut left = at;
    let mut fail = |call: &Call| {
        if !call.effect().is_some_and(|effect| effects.contains(&effect)) {
            return Verdict::Go;
        }
        if left > 0 {
            left -= 1;
            return Verdict::Go;
        }
        if !on {
            left = usize::MAX;
        }
        verdict
    };
    trace::run(&world.project, &World::arguments(), &mut fail)
}

/// How many calls of a build have one of these effects.
fn count(world: &World, effects: &[Effect]) -> usize {
    world.restore();
    let mut calls = 0;
    let mut count = |call: &Call| {
        calls += usize::from(call.effect().is_some_and(|effect| effects.contains(&effect)));
        Verdict::Go
    };
    trace::run(&world.project, &World::arguments(), &mut count).ok();
    calls
}

fn can_fail() -> bool {
    if !CAN_FAIL {
        skip("system calls that fail on this processor");
    }
    CAN_FAIL
}

#[test]
fn calls_fail_once_or_from_now_on() {
    let Some(world) = World::new(Start::Disk, Machines::Qemu) else { return };
    if !can_fail() {
        return;
    }
    let mut points = Points::new("failing calls");
    for (name, error, effects) in FAILURES {
        let calls = count(&world, effects);
        for on in [true, false] {
            for at in (0..calls).step_by(part(calls / 3, calls / 24).max(1)) {
                let run = fail_at(&world, at, on, effects, Verdict::Fail(error));
                let verdict = is_right_or_refused(&world, &run).and_then(|()| world.judge());
                points.add(name, verdict.map_err(|why| format!("{name} at {at} ({on}): {why}")));
            }
        }
    }
    points.end();
}

#[test]
fn a_file_system_without_locks_or_with_renames_whose_answers_are_lost() {
    let Some(world) = World::new(Start::Disk, Machines::Qemu) else { return };
    if !can_fail() {
        return;
    }
    let mut points = Points::new("like NFS");
    let run = fail_at(&world, 0, true, &[Effect::Lock], Verdict::Fail(libc::ENOLCK));
    let verdict = is_right_or_refused(&world, &run).and_then(|()| world.judge());
    points.add("no locks", verdict);
    let renames = count(&world, &[Effect::Rename]);
    for at in (0..renames).step_by(part(renames / 4, 1).max(1)) {
        let run = fail_at(&world, at, false, &[Effect::Rename], Verdict::Lose(libc::ENOENT));
        let verdict = is_right_or_refused(&world, &run).and_then(|()| world.judge());
        points.add("lost answers", verdict.map_err(|why| format!("rename {at}: {why}")));
    }
    points.end();
}

#[test]
fn two_hosts_build_in_one_cache_at_once() {
    let Some(world) = World::new(Start::Disk, Machines::Qemu) else { return };
    let mut points = Points::new("two hosts, one cache");
    for _ in 0..part(1, 10) {
        world.restore();
        // The other one has a checkout, exports and machines of its own.
        let mut other = Project::at(&world.path("state/other"));
        other.cache = world.project.cache.clone();
        for name in [PIPELINE, "web"] {
            other.write(name, world.project.read(name));
        }
        let live = [&world.project, &other].map(|project| project.begin(&[PIPELINE]));
        let runs = live.map(|live| live.finish());
        let verdict = runs.iter().try_for_each(|run| match run.status {
            0 => world.is_right(run),
            _ => Err(run.err.clone()),
        });
        world.project.assert_clean();
        points.add("at once", verdict);
    }
    points.end();
}

/// A pipeline that puts the directory `data` of the project into a tree.
fn copying(directory: &Path, name: &OsStr) -> Project {
    let system = directory.join("system.tar");
    fs::write(&system, archive_of_system("system")).unwrap();
    let project = Project::at(&directory.join(name));
    let pipeline = format!(
        "[pipeline]\nname = \"copy\"\n\n[stage.system]\nkind = \"download\"\nurl = \"file://{}\"\n\n\
         [stage.rootfs]\nkind = \"import\"\nfrom = \"system\"\n\n[stage.base]\nkind = \"customise\"\n\
         from = \"rootfs\"\nseal = false\n\n[stage.base.file.\"/opt/data\"]\nsource = \"data\"\n",
        system.display()
    );
    project.write("p.toml", pipeline);
    fs::create_dir_all(project.path("data")).unwrap();
    project
}

/// The names below `/opt/data` in the tree that a project built.
fn copied(run: &Run) -> Vec<Vec<u8>> {
    let tree = fs::File::open(run.of("base", "path")).unwrap();
    let mut tree = tar::Archive::new(tree);
    let entries = tree.entries().unwrap().map(|entry| entry.unwrap());
    let names = entries.map(|entry| entry.path_bytes().into_owned());
    let name = |name: Vec<u8>| {
        let name = name.strip_prefix(b"./").unwrap_or(&name);
        Some(name.strip_prefix(b"opt/data/")?.to_vec())
    };
    names.filter_map(name).collect()
}

/// A right tree, or an error.
fn judge_copy(run: &Run, expected: &[Vec<u8>]) -> Result<(), String> {
    match run.status {
        0 => {
            let found = copied(run);
            let missing: Vec<_> = expected.iter().filter(|name| !found.contains(name)).collect();
            match missing.is_empty() {
                true => Ok(()),
                false => Err(format!("missing: {missing:?} of {found:?}")),
            }
        }
        1 | 2 if run.err.contains("error") && !run.err.contains("panicked") => {
            eprintln!("refused: {}", run.err);
            Ok(())
        }
        status => Err(format!("it ended with {status}: {}", run.err)),
    }
}

#[test]
fn names_of_any_bytes_are_taken_or_refused() {
    let names: [(&str, &[u8]); 5] = [
        ("spaces", b"a b  c"),
        ("a newline", b"a\nb"),
        ("UTF-8", "\u{e4}\u{1f41f}".as_bytes()),
        ("not UTF-8", b"a\xff\xfeb"),
        ("255 bytes", &[b'n'; 255]),
    ];
    let mut points = Points::new("names");
    for (what, name) in names {
        let name = OsStr::from_bytes(name);
        let owner = directory();
        let project = copying(owner.path(), OsStr::new("project"));
        fs::write(project.path("data").join(name), "content").unwrap();
        let verdict = judge_copy(&project.build(&["p.toml"]), &[name.as_bytes().to_vec()]);
        points.add("a copied file", verdict.map_err(|why| format!("{what}: {why}")));
        // The directory of everything; the longest leaves no room for names below it.
        let owner = directory();
        let project = copying(owner.path(), name);
        fs::write(project.path("data/file"), "content").unwrap();
        let verdict = judge_copy(&project.build(&["p.toml"]), &[b"file".to_vec()]);
        points.add("a project", verdict.map_err(|why| format!("{what}: {why}")));
        if name.len() < 250 && name.to_str().is_some() {
            let owner = directory();
            let project = copying(owner.path(), OsStr::new("project"));
            let mut pipeline = OsString::from(name);
            pipeline.push(".toml");
            fs::rename(project.path("p.toml"), project.path("").join(&pipeline)).unwrap();
            fs::write(project.path("data/file"), "content").unwrap();
            let run = project.build(&[pipeline.to_str().unwrap()]);
            let verdict = judge_copy(&run, &[b"file".to_vec()]);
            points.add("a pipeline", verdict.map_err(|why| format!("{what}: {why}")));
        }
    }
    points.end();
}

#[test]
fn many_files_in_one_directory() {
    let files = if table::is_whole() { 100_000 } else { 2_000 };
    let owner = directory();
    let project = copying(owner.path(), OsStr::new("project"));
    for at in 0..files {
        fs::write(project.path("data").join(format!("f{at}")), at.to_string()).unwrap();
    }
    let run = project.build(&["p.toml"]).ok();
    let mut points = Points::new("sizes");
    let found = copied(&run).len();
    let verdict = if found >= files { Ok(()) } else { Err(format!("{found} of {files}")) };
    points.add(&format!("{files} files in one directory"), verdict);
    points.end();
}

#[test]
fn many_stages() {
    let stages = if table::is_whole() { 10_000 } else { 300 };
    let owner = directory();
    let project = Project::at(owner.path());
    project.write("file", "content");
    let mut text = String::from("[pipeline]\nname = \"many\"\n");
    for at in 0..stages {
        let url = project.path("file");
        text += &format!(
            "\n[stage.s{at}]\nkind = \"download\"\nurl = \"file://{}\"\nsha256 = \"{}\"\n",
            url.display(),
            kuth_test_support::sha256("content")
        );
    }
    project.write("p.toml", text);
    let first = project.build(&["p.toml"]).ok();
    let second = project.build(&["p.toml"]).ok();
    second.assert_all("cached");
    let mut points = Points::new("sizes");
    let counts = (first.states().len(), second.count("cached") as usize);
    let verdict = if counts == (stages, stages) { Ok(()) } else { Err(format!("{counts:?}")) };
    points.add(&format!("{stages} stages"), verdict);
    points.end();
}

/// All that kuth and its commands allocate is limited, each by itself.
#[test]
fn a_disk_of_30_gib_needs_no_512_mib() {
    let Some(world) = World::new(Start::Empty, Machines::Qemu) else { return };
    if !is_there("prlimit") {
        return;
    }
    let limit = format!("--data={}", 512 << 20);
    let project = world.project.through(&["prlimit", &limit]);
    project.edit(PIPELINE, "size = \"12 MiB\"", "size = \"30 GiB\"");
    let run = project.build(&[PIPELINE, "image", "nodes"]);
    let mut points = Points::new("sizes");
    let verdict = if run.status == 0 { Ok(()) } else { Err(run.err) };
    points.add("512 MiB for a disk of 30 GiB", verdict);
    points.end();
}

/// The clock stands years ahead, or back, for a build in between.
#[test]
fn a_clock_that_jumps() {
    let Some(world) = World::new(Start::Disk, Machines::Qemu) else { return };
    if !is_there("faketime") {
        return;
    }
    let mut points = Points::new("clock");
    for time in ["+20y", "-20y"] {
        world.restore();
        let jumped = world.project.through(&["faketime", "-f", time]);
        let run = jumped.kuth(&World::arguments());
        let verdict = is_right_or_refused(&world, &run).and_then(|()| world.next_is_right());
        points.add(time, verdict.map_err(|why| format!("{time}: {why}")));
        // What is "not used for long" is nothing to remove where the clock was wrong.
        let cleaned = world.project.kuth(&["cache", "clean", "--max-size", "100 GiB"]).ok();
        let verdict = world.next_is_right().map_err(|why| format!("{}: {why}", cleaned.err));
        points.add(time, verdict);
    }
    points.end();
}
