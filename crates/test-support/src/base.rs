//! What builds of several test programs have in common, made once in `target/tmp` by whoever comes
//! first and kept between runs: package files, and a bootstrapped tree. What tests build on top is
//! made anew each time, and tests of the first download keep clear of it.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::judge::tool;
use crate::project::Project;
use crate::target_tmp;

/// The directories of a cache that hold its results; with `packages`, all that a copy needs.
pub const RESULTS: [&str; 4] = ["records", "objects", "latest", "version"];

/// The pipeline of the smallest trixie, which is the base of most tests: `rootfs`.
pub const MINIMAL: &str = "[pipeline]\nname = \"base\"\n\n\
                           [stage.rootfs]\nkind = \"bootstrap\"\nsuite = \"trixie\"\n";

/// The pipeline's name in [`built`].
pub const PIPELINE: &str = "p.toml";

/// The project in which nothing but the stage `rootfs` of a pipeline is built. It is shared: take
/// from its cache, and change nothing there.
pub fn built(pipeline: &str) -> Project {
    let directory = target_tmp().join(format!("tree-{}", &crate::sha256(pipeline)[..16]));
    std::fs::create_dir_all(&directory).unwrap();
    let project = Project::at(&directory);
    // Several test programs may want to make it.
    let _lock = lock(&directory);
    project.write(PIPELINE, pipeline);
    lend_packages(&project.cache);
    project.build(&[PIPELINE, "rootfs"]).ok();
    collect_packages(&project.cache);
    project
}

/// Gives a project the `rootfs` of [`MINIMAL`]: what the cache needs of it, and a lock of this name.
pub fn minimal(project: &Project, lock: &str) {
    let base = built(MINIMAL);
    project.take(&base.cache, &RESULTS);
    lend_packages(&project.cache);
    project.write(lock, base.read("p.lock"));
}

/// The pipeline of a small system that a person could log in to: `rootfs`.
pub const SYSTEM: &str = r#"
[pipeline]
name = "t"

[stage.rootfs]
kind = "bootstrap"
suite = "trixie"
packages = ["e2fsprogs", "iproute2", "locales", "mount", "passwd", "sudo", "tzdata"]
"#;

/// A project in `directory` that has the `rootfs` of [`SYSTEM`] already, with `stages` behind it.
/// Nothing is shared with other projects, not even by hard links.
pub fn system_in(directory: &Path, stages: &str) -> Project {
    static BASE: OnceLock<Project> = OnceLock::new();
    let from = BASE.get_or_init(|| built(SYSTEM));
    let project = Project::at(directory);
    project.write(PIPELINE, format!("{SYSTEM}{stages}"));
    std::fs::create_dir_all(project.path("data")).unwrap();
    let words = [from.cache.to_str().unwrap(), project.cache.to_str().unwrap()];
    tool("cp", &["--archive", words[0], words[1]]);
    std::fs::copy(from.path("p.lock"), project.path("p.lock")).unwrap();
    project
}

/// The same in a directory of this name, which stays until the next run, to be looked at.
pub fn system(name: &str, stages: &str) -> Project {
    let directory = target_tmp().join(name);
    tool("rm", &["-rf", directory.to_str().unwrap()]);
    system_in(&directory, stages)
}

/// Gives a cache hard links of the package files that earlier builds downloaded. It takes them for
/// its own: their names are their digests.
pub fn lend_packages(cache: &Path) {
    link(&store(), &cache.join("packages"));
}

/// Keeps the package files of a cache for other builds.
pub fn collect_packages(cache: &Path) {
    link(&cache.join("packages"), &store());
}

fn store() -> PathBuf {
    let store = target_tmp().join("packages");
    std::fs::create_dir_all(&store).unwrap();
    store
}

/// Links the files below `from` that are not below `to` yet.
fn link(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).into_iter().flatten() {
        let entry = entry.unwrap();
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            link(&path, &to);
        } else if let Err(error) = std::fs::hard_link(&path, &to) {
            // Whoever was first, it is the same file.
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{}: {error}", path.display());
        }
    }
}

/// Waits until nobody else has the lock of a directory.
fn lock(directory: &Path) -> File {
    let lock = File::create(directory.join("lock")).unwrap();
    lock.lock().unwrap();
    lock
}
