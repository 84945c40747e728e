//! Kill -9 in the middle of each kind of stage, and Ctrl-C: no process stays, what was finished
//! stays, the next build goes on, and the cache is as it should be. Each waits for a sign that the
//! stage is at work, and a kill that comes too late fails the test.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::caching::MACHINES;
use crate::small::{SCRIPT, SMALL, fresh, small};
use crate::tools::{is_root, is_there};
use crate::user::User;
use crate::world::{DEBIAN, world};
use kuth_test_support::processes;
use kuth_test_support::project::Project;
use kuth_test_support::run::{Live, Run};

/// What Ctrl-C may take at most. Two seconds are promised, which src/cli/interrupt.rs holds to; a
/// busy machine may take longer, and what is not ended at all takes the ten minutes of a script's
/// `sleep`.
const PATIENCE: Duration = Duration::from_secs(60);

/// What shows that a stage is in the middle of its work.
#[derive(Clone, Copy, Debug)]
enum Sign {
    /// Its first event: nothing is made yet.
    Started,
    /// Something has this name in its scratch directory.
    Scratch(&'static str),
    /// This program runs.
    Program(&'static str),
}

/// The tree below the stage's while it is unpacked.
const TREE: Sign = Sign::Scratch("layers/1/changes/usr");
/// The tree while it is packed.
const PACKED: Sign = Sign::Scratch("output/tree.tar");

impl Sign {
    fn shows(self, project: &Project, kuth: i32) -> bool {
        match self {
            Sign::Started => true,
            Sign::Scratch(name) => {
                let runs = std::fs::read_dir(project.cache.join("work")).into_iter().flatten();
                runs.flatten().any(|run| run.path().join(name).symlink_metadata().is_ok())
            }
            Sign::Program(name) => processes::run_below(kuth, name),
        }
    }

    /// Begins a build, and waits until the sign shows in `stage`.
    fn wait(self, project: &Project, targets: &[&str], stage: &str) -> Live {
        let mut live = project.begin(targets);
        live.wait_for(stage, "started");
        let kuth = live.pid();
        live.wait_until(&format!("{self:?} of {stage}"), || self.shows(project, kuth));
        live
    }
}

/// The directory that a project and all it makes lie in.
fn around(project: &Project) -> &Path {
    project.root.parent().unwrap()
}

/// Builds `stage`, and kills kuth once `sign` shows.
fn kill(project: &Project, pipeline: &str, stage: &str, sign: Sign) {
    let live = sign.wait(project, &[pipeline, stage], stage);
    let started = processes::below(live.pid());
    live.kill();
    let run = live.finish();
    let took = processes::assert_gone(&started, around(project));
    assert_eq!((run.states()[stage], run.status), ("started", -1), "missed: {}", run.err);
    eprintln!("{stage} killed at {sign:?} ({} processes): gone after {took:?}", started.len());
}

/// Builds `stage`, which takes next to no time, and has strace kill kuth as it is about to sync
/// something for the first and second time, which is its note in the journal with nothing made, and for
/// the third, which is what it made.
fn kill_at_syncs(project: &Project, stage: &str) {
    for nth in ["1", "2", "3"] {
        let kill = format!("inject=fsync:signal=KILL:when={nth}");
        let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", &kill];
        let run = project.through(&words).build(&[DEBIAN, stage]);
        assert_eq!((run.states()[stage], run.status), ("started", -1), "missed: {}", run.err);
        processes::assert_gone(&Default::default(), around(project));
        eprintln!("{stage} killed at sync {nth}");
    }
    let run = project.build(&[DEBIAN, stage]).ok();
    assert_eq!(run.those("done"), stage);
}

/// Builds to the end after a kill; these stages must have been kept.
fn go_on(project: &Project, pipeline: &str, kept: &[&str]) -> Run {
    let run = project.build(&[pipeline]).ok();
    for stage in kept {
        assert_eq!(run.states()[stage], "cached", "{stage} was not kept: {run:?}");
    }
    project.assert_clean();
    project.build(&[pipeline]).ok().assert_all("cached");
    run
}

#[test]
fn a_killed_bootstrap_is_begun_anew() {
    let project = fresh("kill-bootstrap");
    // While packages are decompressed, while dpkg sets them up, and while the tree is packed.
    for sign in [Sign::Scratch("exchange/dpkg.tar"), Sign::Program("dpkg"), PACKED] {
        kill(&project, SMALL, "rootfs", sign);
    }
    let run = go_on(&project, SMALL, &[]);
    assert_eq!(run.of("rootfs", "digest"), world().first.of("rootfs", "digest"));
}

/// The files that downloads are written to before they are whole.
fn parts(work: &Path) -> Vec<PathBuf> {
    let scratch = std::fs::read_dir(work).into_iter().flatten().flatten();
    let files = scratch.flat_map(|run| std::fs::read_dir(run.path()).into_iter().flatten());
    let is_part = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".tmp"))
    };
    files.flatten().map(|file| file.path()).filter(is_part).collect()
}

#[test]
fn a_killed_download_leaves_a_clean_cache() {
    let project = fresh("kill-download");
    std::fs::remove_dir_all(project.cache.join("packages")).unwrap();
    let mut live = project.begin(&[SMALL, "rootfs"]);
    live.wait_for("rootfs", "started");
    let work = project.cache.join("work");
    live.wait_until("a download", || !parts(&work).is_empty());
    live.kill();
    let run = live.finish();
    assert_eq!((run.states()["rootfs"], run.status), ("started", -1), "missed: {}", run.err);
    eprintln!("{} downloads were cut off", parts(&work).len());
    let verified = project.kuth(&["cache", "verify"]);
    assert_eq!((verified.status, verified.out.as_str()), (0, ""));
    project.build(&[SMALL, "rootfs"]).ok();
    assert_eq!(parts(&project.cache.join("work")), Vec::<PathBuf>::new());
    project.assert_clean();
}

#[test]
fn a_killed_customise_is_begun_anew() {
    let project = small("kill-customise");
    let (script, children) = ("echo base >/etc/made\n", "sleep 600 & sleep 600 | cat\n");
    project.edit(SMALL, script, children);
    for sign in [Sign::Started, TREE, Sign::Program("sleep")] {
        kill(&project, SMALL, "base", sign);
    }
    // Something to pack: zeros would be left out.
    let much = "head -c 500M /dev/urandom >/var/much\n";
    project.edit(SMALL, children, much);
    kill(&project, SMALL, "base", PACKED);
    project.edit(SMALL, much, script);
    go_on(&project, SMALL, &["rootfs"]);
}

#[test]
fn killed_disks_exports_and_clones_are_begun_anew() {
    if !is_there("strace") {
        return;
    }
    let project = world().fork("kill-disk");
    // Other filesystems of the same tree, so that there is something to make.
    project.edit(DEBIAN, "name = \"usr\"\nsize = \"10 GiB\"", "name = \"usr\"\nsize = \"9 GiB\"");
    project.edit(DEBIAN, "size = \"28 GiB\"", "size = \"27 GiB\"");
    project.edit(DEBIAN, "format = \"qcow2\"", "format = \"vdi\"");
    for sign in [Sign::Program("mke2fs"), Sign::Scratch("disk.raw")] {
        kill(&project, DEBIAN, "disk", sign);
    }
    let run = project.build(&[DEBIAN, "disk"]).ok();
    assert_eq!((run.those("cached"), run.those("done")), ("base rootfs".into(), "disk".into()));
    kill(&project, DEBIAN, "image", Sign::Scratch("image.vdi"));
    for stage in ["machine", "golden", "nodes/gate-node01", "nodes/hapx-node02"] {
        kill_at_syncs(&project, stage);
    }
    go_on(&project, DEBIAN, &["rootfs", "base", "disk"]);
    let mut machines: Vec<_> = std::fs::read_dir(&project.machines)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    machines.sort();
    let clones = MACHINES.split_whitespace().filter_map(|stage| stage.strip_prefix("nodes/"));
    let mut wanted: Vec<&str> = clones.collect();
    wanted.extend([".lock", ".secret", "bases", "debian-base-image"]);
    wanted.sort();
    assert_eq!(machines, wanted);
    let names = std::fs::read_dir(project.output().join("debian")).unwrap();
    let exports: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.trim_end_matches(".partial").ends_with("json"))
        .collect();
    // The qcow2 of the first build, and the new one.
    assert!(exports.len() <= 2, "{exports:?}");
}

/// Builds, presses Ctrl-C once `sign` shows in `stage`, and looks at how kuth ends.
fn interrupt(project: &Project, stage: &str, sign: Sign) {
    let live = sign.wait(project, &[SMALL], stage);
    let started = processes::below(live.pid());
    let start = Instant::now();
    live.interrupt();
    let run = live.finish().ended(130);
    let took = start.elapsed();
    eprintln!("{stage}: Ctrl-C at {sign:?} took {took:?}");
    assert!(took < PATIENCE, "{took:?}");
    // On a busy machine its patience ends before all is cleaned up, and it says so.
    assert!(run.err.starts_with("interrupted"), "{}", run.err);
    processes::assert_gone(&started, around(project));
}

#[test]
fn ctrl_c_ends_a_stubborn_script() {
    let project = small("interrupt-script");
    let stubborn = "trap '' TERM INT HUP\nsleep 600 &\nwhile :; do sleep 1; done\n";
    project.edit(SMALL, "echo base >/etc/made\n", stubborn);
    interrupt(&project, "base", Sign::Program("sleep"));
    project.edit(SMALL, stubborn, "echo base >/etc/made\n");
    assert!(std::fs::read_to_string(project.root.join(SMALL)).unwrap().contains(SCRIPT));
    go_on(&project, SMALL, &["rootfs"]);
}

#[test]
fn ctrl_c_ends_a_bootstrap() {
    let project = fresh("interrupt-bootstrap");
    for sign in [Sign::Started, Sign::Scratch("exchange/dpkg.tar"), Sign::Program("dpkg")] {
        interrupt(&project, "rootfs", sign);
    }
    go_on(&project, SMALL, &[]);
}

#[test]
fn an_ordinary_user_leaves_nothing_either() {
    if !is_root("another user") {
        return;
    }
    let world = world();
    let user = User::new();
    let project = user.project(world);
    crate::small::add(&project);
    let long = "sleep 600 & sleep 600 | cat\n";
    project.edit(SMALL, "echo base >/etc/made\n", long);
    user.own(&project.root);
    let building = user.building(&project);
    kill(&building, SMALL, "rootfs", Sign::Program("dpkg"));
    kill(&building, SMALL, "base", Sign::Program("sleep"));
    interrupt(&building, "base", Sign::Program("sleep"));
    project.edit(SMALL, long, "echo base >/etc/made\n");
    let run = go_on(&building, SMALL, &["rootfs"]);
    assert_eq!(run.of("rootfs", "digest"), world.first.of("rootfs", "digest"));
}
