//! One small Debian tree for all tests here, and projects that begin with it. It is built from the
//! mirror of this machine and stays below the target directory, so that the next run finds it; what
//! tests build on top of it is made anew each time. Test targets that need such a tree share it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ::kuth::digest::Digest;

use crate::judge::tool;
use crate::kuth::Project;

/// What every pipeline here begins with.
pub const HEAD: &str = r#"
[pipeline]
name = "t"

[stage.rootfs]
kind = "bootstrap"
suite = "trixie"
packages = ["e2fsprogs", "iproute2", "locales", "mount", "passwd", "sudo", "tzdata"]
"#;

/// The name of the pipeline in each project.
pub const PIPELINE: &str = "p.toml";

fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// The project in which nothing but `rootfs` is built.
fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let directory = target().join(format!("tree-{}", &Digest::of(HEAD).to_string()[..16]));
        let project = Project::at(&directory);
        std::fs::create_dir_all(&project.root).unwrap();
        // Two test programs may want to make it.
        let lock = File::create(directory.join("lock")).unwrap();
        lock.lock().unwrap();
        project.write(PIPELINE, HEAD);
        project.build(&[PIPELINE, "rootfs"]).ok();
        directory
    })
}

/// A project in `directory` that has `rootfs` already, with `stages` behind it. Nothing is shared
/// with other projects, not even by hard links.
pub fn project_in(directory: &Path, stages: &str) -> Project {
    let (from, project) = (Project::at(base()), Project::at(directory));
    std::fs::create_dir_all(project.root.join("data")).unwrap();
    let words = [from.cache.to_str().unwrap(), project.cache.to_str().unwrap()];
    tool("cp", &["--archive", words[0], words[1]]);
    std::fs::copy(from.root.join("p.lock"), project.root.join("p.lock")).unwrap();
    project.write(PIPELINE, &format!("{HEAD}{stages}"));
    project
}

/// The same in a directory of this name, which stays until the next run, to be looked at.
pub fn project(name: &str, stages: &str) -> Project {
    let directory = target().join(name);
    tool("rm", &["-rf", directory.to_str().unwrap()]);
    project_in(&directory, stages)
}
