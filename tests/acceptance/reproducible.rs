//! The same bytes whoever builds, where, when and how: a second build from nothing by an ordinary
//! user, against the first one.

use std::fs::File;
use std::path::{Path, PathBuf};

use kuth::files::sparse::tree_hash;

use crate::tools::{is_root, tool};
use crate::user::User;
use crate::world::{DEBIAN, checkout, directory, world};
use kuth_test_support::project::{Project, build};
use kuth_test_support::run::{Live, Run};

const FORMATS: [&str; 4] = ["raw", "qcow2", "vdi", "vmdk"];

/// Has the image exported in all formats.
fn in_all_formats(project: &Project) {
    project.edit(DEBIAN, "format = \"qcow2\"", &format!("format = {FORMATS:?}"));
}

fn exports(project: &Project) -> Vec<PathBuf> {
    FORMATS.map(|format| project.output().join(format!("debian/debian.{format}"))).into()
}

fn sha256(path: &Path) -> String {
    let out = tool("sha256sum", &[path.to_str().unwrap()]).unwrap();
    out.split_whitespace().next().unwrap().to_string()
}

/// Compares all that two builds made.
fn assert_same(one: (&Project, &Run), other: (&Project, &Run)) {
    let stages = "rootfs base disk image/raw image/qcow2 image/vdi image/vmdk";
    let differ: Vec<&str> = stages
        .split(' ')
        .filter(|stage| one.1.of(stage, "digest") != other.1.of(stage, "digest"))
        .collect();
    assert_eq!(differ, Vec::<&str>::new(), "one: {}\nother: {}", one.1.out, other.1.out);
    // What is told is one thing, the files another.
    let disk = |run: &Run| tree_hash(&File::open(run.of("disk", "path")).unwrap()).unwrap();
    assert_eq!(disk(one.1), disk(other.1));
    for (a, b) in exports(one.0).iter().zip(&exports(other.0)) {
        match a.extension().is_some_and(|extension| extension == "raw") {
            true => {
                let hash = |path: &Path| tree_hash(&File::open(path).unwrap()).unwrap();
                assert_eq!(hash(a), hash(b), "{}", a.display());
            }
            false => assert_eq!(sha256(a), sha256(b), "{}", a.display()),
        }
    }
}

#[test]
fn an_ordinary_user_elsewhere_makes_the_same_bytes() {
    let world = world();
    let ours = world.fork("formats");
    in_all_formats(&ours);
    let first = ours.build(&[DEBIAN, "image"]).ok();
    let cached: Vec<&str> = ["rootfs", "base", "disk"].into();
    cached.iter().for_each(|stage| assert_eq!(first.states()[stage], "cached"));
    for path in exports(&ours) {
        let format = path.extension().unwrap().to_str().unwrap();
        if !["raw", "vmdk"].contains(&format) {
            tool("qemu-img", &["check", "-f", format, path.to_str().unwrap()]);
        }
        tool("qemu-img", &["info", path.to_str().unwrap()]);
    }

    let is_root = is_root("another user");
    let user = is_root.then(User::new);
    let theirs = match &user {
        Some(user) => user.project(world),
        None => {
            let project = Project::within(directory("elsewhere"));
            checkout(&project);
            let lock = "pipelines/debian.lock";
            std::fs::copy(world.project.root.join(lock), project.root.join(lock)).unwrap();
            project
        }
    };
    in_all_formats(&theirs);
    let building = match &user {
        Some(user) => user.building(&theirs),
        None => theirs.through(&["sh", "-c", "umask 077; exec \"$@\"", "sh"]),
    };
    let mut command = building.command(&build(&[DEBIAN, "image", "nodes", "--jobs", "1"]));
    command.env("TZ", "Asia/Tokyo").env("LANG", "de_DE.UTF-8").env("LC_ALL", "de_DE.UTF-8");
    command.env("HOME", theirs.root.parent().unwrap());
    let second = Live::start(command).finish().ok();
    eprintln!("as an ordinary user, --jobs 1: {:?}", second.wall);
    second.assert_all("done");
    assert_same((&ours, &first), (&theirs, &second));
    assert_eq!(theirs.scratch(), Vec::<std::ffi::OsString>::new());
}
