//! Kill -9 in the middle of each kind of stage, and Ctrl-C: no process stays, what was finished
//! stays, the next build goes on, and the cache is as it should be.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::caching::MACHINES;
use crate::kuth::{Project, Run};
use crate::small::{SCRIPT, SMALL, fresh, small};
use crate::tools::is_root;
use crate::user::User;
use crate::world::{DEBIAN, world};
use crate::{heavy, processes};

/// What Ctrl-C may take: the promise is two seconds, and a busy machine gets twice that.
const PATIENCE: Duration = Duration::from_secs(4);

/// Numbers that look random and are the same every time (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, most: Duration) -> Duration {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        most.mul_f64((self.0 >> 32) as f64 / f64::from(u32::MAX))
    }
}

/// The folder that a project and all it makes lie in.
fn around(project: &Project) -> &Path {
    project.root.parent().unwrap()
}

/// Builds `stage`, and kills kuth `after` it began.
fn kill(project: &Project, pipeline: &str, stage: &str, after: Duration) {
    let mut live = project.begin(&[pipeline, stage]);
    live.wait_for(stage, "started");
    std::thread::sleep(after);
    let started = processes::below(live.pid());
    live.kill();
    let run = live.finish();
    let took = processes::assert_gone(&started, around(project));
    let state = run.states()[stage].to_string();
    assert_ne!(state, "failed", "{}", run.err);
    eprintln!(
        "{stage} killed after {after:?} ({state}, {} processes): all gone after {took:?}",
        started.len()
    );
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
    let _heavy = heavy();
    let mut dice = Dice(1);
    for most in [500, 4000] {
        kill(&project, SMALL, "rootfs", dice.throw(Duration::from_millis(most)));
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
    let _heavy = heavy();
    std::fs::remove_dir_all(project.cache.join("packages")).unwrap();
    let mut live = project.begin(&[SMALL, "rootfs"]);
    live.wait_for("rootfs", "started");
    let start = Instant::now();
    while parts(&project.cache.join("work")).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing is downloaded");
        std::thread::sleep(Duration::from_millis(2));
    }
    live.kill();
    drop(live.finish());
    let verified = project.run(&["cache", "verify"]);
    assert_eq!((verified.status, verified.out.as_str()), (0, ""));
    project.build(&[SMALL, "rootfs"]).ok();
    assert_eq!(parts(&project.cache.join("work")), Vec::<PathBuf>::new());
    project.assert_clean();
}

#[test]
fn a_killed_customise_is_begun_anew() {
    let project = small("kill-customise");
    let _heavy = heavy();
    let mut dice = Dice(2);
    // While it unpacks, while its script runs with children of its own, and while it packs.
    project.edit(SMALL, "echo base >/etc/made\n", "sleep 600 & sleep 600 | cat\n");
    for after in [Duration::ZERO, dice.throw(Duration::from_secs(1)), Duration::from_secs(6)] {
        kill(&project, SMALL, "base", after);
    }
    project.edit(SMALL, "sleep 600 & sleep 600 | cat\n", "echo base >/etc/made\n");
    kill(&project, SMALL, "base", Duration::from_secs(3) + dice.throw(Duration::from_secs(2)));
    go_on(&project, SMALL, &["rootfs"]);
}

#[test]
fn killed_disks_exports_and_clones_are_begun_anew() {
    let project = world().fork("kill-disk");
    let _heavy = heavy();
    let mut dice = Dice(3);
    // Other filesystems of the same tree, so that there is something to make.
    project.edit(DEBIAN, "name = \"usr\"\nsize = \"10 GiB\"", "name = \"usr\"\nsize = \"9 GiB\"");
    project.edit(DEBIAN, "size = \"28 GiB\"", "size = \"27 GiB\"");
    project.edit(DEBIAN, "format = \"qcow2\"", "format = \"vdi\"");
    for most in [2, 8] {
        kill(&project, DEBIAN, "disk", dice.throw(Duration::from_secs(most)));
    }
    let run = project.build(&[DEBIAN, "disk"]).ok();
    assert_eq!((run.those("cached"), run.those("done")), ("base rootfs".into(), "disk".into()));
    kill(&project, DEBIAN, "image", dice.throw(Duration::from_millis(900)));
    for stage in ["machine", "golden", "nodes/gate-node01", "nodes/hapx-node02"] {
        kill(&project, DEBIAN, stage, dice.throw(Duration::from_millis(15)));
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

/// Builds, presses Ctrl-C `after` `stage` began, and looks at how kuth ends.
fn interrupt(project: &Project, stage: &str, after: Duration) {
    let mut live = project.begin(&[SMALL]);
    live.wait_for(stage, "started");
    std::thread::sleep(after);
    let started = processes::below(live.pid());
    let start = Instant::now();
    live.interrupt();
    let run = live.finish().ended(130);
    let took = start.elapsed();
    eprintln!("{stage}: Ctrl-C after {after:?} took {took:?}");
    assert!(took < PATIENCE, "{took:?}");
    // On a busy machine its patience ends before all is cleaned up, and it says so.
    assert!(run.err.starts_with("interrupted"), "{}", run.err);
    processes::assert_gone(&started, around(project));
}

#[test]
fn ctrl_c_ends_a_stubborn_script() {
    let project = small("interrupt-script");
    let _heavy = heavy();
    let stubborn = "trap '' TERM INT HUP\nsleep 600 &\nwhile :; do sleep 1; done\n";
    project.edit(SMALL, "echo base >/etc/made\n", stubborn);
    interrupt(&project, "base", Duration::from_secs(6));
    project.edit(SMALL, stubborn, "echo base >/etc/made\n");
    assert!(std::fs::read_to_string(project.root.join(SMALL)).unwrap().contains(SCRIPT));
    go_on(&project, SMALL, &["rootfs"]);
}

#[test]
fn ctrl_c_ends_a_bootstrap() {
    let project = fresh("interrupt-bootstrap");
    let _heavy = heavy();
    for after in [200, 3000] {
        interrupt(&project, "rootfs", Duration::from_millis(after));
    }
    go_on(&project, SMALL, &[]);
}

#[test]
fn an_ordinary_user_leaves_nothing_either() {
    if !is_root("another user") {
        return;
    }
    let world = world();
    let _heavy = heavy();
    let user = User::new();
    let project = user.project(world);
    crate::small::add(&project);
    let long = "sleep 600 & sleep 600 | cat\n";
    project.edit(SMALL, "echo base >/etc/made\n", long);
    user.own(&project.root);
    let building = user.building(&project);
    kill(&building, SMALL, "rootfs", Duration::from_secs(4));
    kill(&building, SMALL, "base", Duration::from_secs(8));
    interrupt(&building, "base", Duration::from_secs(8));
    project.edit(SMALL, long, "echo base >/etc/made\n");
    let run = go_on(&building, SMALL, &["rootfs"]);
    assert_eq!(run.of("rootfs", "digest"), world.first.of("rootfs", "digest"));
}
