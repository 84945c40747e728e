//! A pipeline of three small trees, for tests that need not wait for a whole image. Its `rootfs`
//! is that of the image, so a copy of the image's cache has it already.

use crate::world::world;
use kuth_test_support::project::Project;

/// Where [`small`] puts it.
pub const SMALL: &str = "pipelines/small.toml";

const TEXT: &str = r#"
[pipeline]
name = "small"
default = ["last"]

[stage.rootfs]
kind = "bootstrap"
suite = "trixie"

[stage.base]
kind = "customise"
from = "rootfs"
run = """
# Marks the tree.
echo base >/etc/made
"""

[stage.base.file."/etc/motd"]
source = "data/motd"

[stage.last]
kind = "customise"
from = "base"

[stage.last.file."/etc/issue"]
content = "last\n"
"#;

/// The script of `base` in [`SMALL`].
pub const SCRIPT: &str = "# Marks the tree.\necho base >/etc/made\n";

/// Adds the pipeline to a project of the image, with what the image's lock says of `rootfs`.
pub fn add(project: &Project) {
    project.write(SMALL, TEXT);
    project.write("data/motd", "welcome\n");
    let lock = std::fs::read(project.root.join("pipelines/debian.lock")).unwrap();
    std::fs::write(project.root.join("pipelines/small.lock"), lock).unwrap();
}

/// The pipeline in a directory of its own; `rootfs` is cached.
pub fn small(name: &str) -> Project {
    let project = world().fork(name);
    add(&project);
    project
}

/// The pipeline in a directory of its own, with nothing cached but packages.
pub fn fresh(name: &str) -> Project {
    let project = world().with_packages(name);
    add(&project);
    project
}
