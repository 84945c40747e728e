//! What must not move a key: times, comments, the order of keys, the place of the checkout. And
//! what a change to the image's pipeline does: only what depends on it runs, the reason is named,
//! and undoing it costs nothing.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::tools::tool;
use crate::world::{DEBIAN, world};
use kuth_test_support::project::Project;
use kuth_test_support::run::Run;

/// The stages below `disk`.
pub const MACHINES: &str = "golden image machine nodes/gate-node01 nodes/glus-node01 \
    nodes/glus-node02 nodes/glus-node03 nodes/hapx-node01 nodes/hapx-node02 nodes/kube-mast01 \
    nodes/kube-mast02 nodes/kube-mast03 nodes/kube-node01 nodes/kube-node02 nodes/kube-node03";

fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let out = tool("find", &[directory.to_str().unwrap(), "-type", "f"]).unwrap();
    out.lines().map(Into::into).collect()
}

#[test]
fn times_of_files_do_not_count() {
    let project = world().fork("times");
    for file in files_below(&project.root) {
        let file = std::fs::File::options().append(true).open(file).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(86_400)).unwrap();
    }
    project.build(&[DEBIAN]).ok().assert_all("cached");
}

#[test]
fn comments_and_the_order_of_keys_do_not_count() {
    let project = world().fork("comments");
    project.edit(DEBIAN, "[stage.base]\n", "# The system.\n\n[stage.base] # customise\n");
    project.edit(
        DEBIAN,
        "hostname = \"debian\"\nlocale = \"C.UTF-8\"\ntimezone = \"UTC\"\n",
        "timezone = \"UTC\"\nhostname =   'debian'\nlocale = \"C.UTF-8\"\n",
    );
    project.edit(DEBIAN, "\"less\", \"procps\",", "\"procps\", \"less\",");
    project.edit(
        DEBIAN,
        "name = \"boot\"\nsize = \"512 MiB\"",
        "size = \"512 MiB\" # enough\nname = \"boot\"",
    );
    // Tables in another order too: the clones first.
    let text = std::fs::read_to_string(project.root.join(DEBIAN)).unwrap();
    let (head, stages) = text.split_at(text.find("[stage.rootfs]").unwrap());
    let (front, clones) = stages.split_at(stages.find("[stage.nodes]").unwrap());
    project.write(DEBIAN, format!("{head}{clones}\n{front}"));
    project.build(&[DEBIAN]).ok().assert_all("cached");
}

#[test]
fn the_place_of_the_checkout_does_not_count() {
    let mut project = world().fork("place");
    let moved = project.root.with_file_name("somewhere else");
    std::fs::rename(&project.root, &moved).unwrap();
    // The cache goes with the checkout this time.
    std::fs::rename(&project.cache, moved.join("cache")).unwrap();
    (project.cache, project.root) = (moved.join("cache"), moved);
    let mut command = project.command(&kuth_test_support::project::build(&[DEBIAN]));
    command.env_remove("KUTH_CACHE");
    let run = kuth_test_support::run::Live::start(command).finish().ok();
    run.assert_all("cached");
    assert!(project.output().join("debian/debian.qcow2").is_file(), "the export is put back");
}

/// What `plan` says of a stage, and that `explain` gives the same reason.
fn reason<'r>(project: &Project, plan: &'r Run, stage: &str) -> &'r str {
    let reason = plan.of(stage, "reason");
    let explained = project.kuth(&["explain", DEBIAN, stage]).ok().out;
    let line = format!("\n{stage}: {} ({reason})\n", plan.of(stage, "state"));
    assert!(explained.ends_with(&line), "{line}{explained}");
    reason
}

#[test]
fn one_more_package_runs_what_depends_on_it() {
    let project = world().fork("package");
    let lock = std::fs::read(project.root.join("pipelines/debian.lock")).unwrap();
    project.edit(DEBIAN, "\"less\", \"procps\",", "\"less\", \"htop\", \"procps\",");
    let plan = project.plan(&[DEBIAN]);
    assert_eq!((plan.those("cached"), plan.those("run")), ("rootfs".into(), "base".into()));
    assert_eq!(plan.those("unknown"), format!("disk {MACHINES}"));
    let why = reason(&project, &plan, "base");
    assert!(why.contains("package") && why.contains("htop"), "{why}");

    let run = project.build(&[DEBIAN]).ok();
    eprintln!("with htop: {:?}", run.wall);
    assert_eq!(
        (run.those("cached"), run.those("done")),
        ("rootfs".into(), format!("base disk {MACHINES}"))
    );
    assert_eq!(run.of("base", "reason"), why);
    let log = project.log("debian", "disk");
    let kept = ["partition boot", "volume root", "volume home", "volume opt", "volume tmp"];
    for place in kept {
        let line = format!("{place}: from the cache\n");
        assert!(log.contains(&line), "{line}{log}");
    }
    for name in ["usr", "var"] {
        assert!(log.contains(&format!("volume {name}: made in ")), "{log}");
    }
    eprintln!("{}", log.lines().filter(|line| line.contains(": ")).collect::<Vec<_>>().join("\n"));

    project.edit(DEBIAN, "\"htop\", ", "");
    let plan = project.plan(&[DEBIAN]);
    plan.assert_all("cached");
    project.build(&[DEBIAN]).ok().assert_all("cached");
    project.build(&[DEBIAN]).ok().assert_all("cached");
    assert_eq!(std::fs::read(project.root.join("pipelines/debian.lock")).unwrap(), lock);
}

#[test]
fn one_role_s_user_data_runs_its_clones_alone() {
    let project = world().fork("role");
    let path = "data/debian/hapx/user-data";
    let text = std::fs::read_to_string(project.root.join(path)).unwrap();
    project.write(path, format!("{text}\n# changed\n"));
    let clones = "nodes/hapx-node01 nodes/hapx-node02";
    let plan = project.plan(&[DEBIAN]);
    assert_eq!((plan.those("run"), plan.those("unknown")), (clones.into(), "".into()));
    let why = reason(&project, &plan, "nodes/hapx-node01");
    assert!(why.contains("seed"), "{why}");
    let run = project.build(&[DEBIAN]).ok();
    assert_eq!(run.those("done"), clones);
    assert_eq!(run.of("nodes/hapx-node02", "reason"), plan.of("nodes/hapx-node02", "reason"));

    // The machines of before were replaced by those of the change and take their places again.
    project.write(path, &text);
    project.plan(&[DEBIAN]).assert_all("cached");
    project.build(&[DEBIAN]).ok().assert_all("cached");
    project.build(&[DEBIAN]).ok().assert_all("cached");
}
