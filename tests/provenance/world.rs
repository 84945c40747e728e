//! A Debian of the essential packages on a small disk, built once; and kuth, run on it.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use kuth_test_support::base::{self, RESULTS};
use kuth_test_support::project::Project;
use kuth_test_support::target_tmp;
use serde_json::Value;

const PIPELINE: &str = r#"
[pipeline]
name = "small"
default = ["image"]

[vars]
motd = "welcome"
root = "512 MiB"

[stage.rootfs]
kind = "bootstrap"
suite = "trixie"

[stage.base]
kind = "customise"
from = "rootfs"

# A disk needs something to start; nothing here is started.
[stage.base.file."/boot/vmlinuz-6.12.1"]
content = "kernel"
[stage.base.file."/boot/initrd.img-6.12.1"]
content = "initrd"
[stage.base.file."/etc/motd"]
content = "${motd}"

[stage.disk]
kind = "disk"
from = "base"
size = "1 GiB"
table = "gpt"
firmware = ["bios"]

[[stage.disk.partition]]
name = "root"
size = "${root}"
filesystem = "ext4"
mount = "/"

[stage.image]
kind = "export"
from = "disk"
format = ["qcow2", "raw"]
"#;

/// The pipeline's place in a project.
pub const SMALL: &str = "pipelines/small.toml";
const LOCK: &str = "pipelines/small.lock";

/// The directory of everything, in the file system of the target directory.
fn home() -> PathBuf {
    target_tmp().join("provenance")
}

/// A project with a cache of its own.
pub struct Small(Project);

impl Deref for Small {
    type Target = Project;

    fn deref(&self) -> &Project {
        &self.0
    }
}

impl Small {
    fn at(root: &Path) -> Small {
        let project = Project::rooted(root);
        project.write(SMALL, PIPELINE);
        Small(project)
    }

    /// A project in a directory of its own, with what the world's lock says.
    pub fn new() -> Small {
        // The world's directory is in the same one, which is made with it.
        let lock = world().0.read(LOCK);
        let directory = tempfile::tempdir_in(home()).unwrap();
        let Small(project) = Small::at(directory.path());
        project.write(LOCK, lock);
        Small(project.owning(directory))
    }

    /// A project like the world's, with its results.
    pub fn fork() -> Small {
        let project = Small::new();
        project.take(&world().cache, &[&RESULTS[..], &["packages"]].concat());
        project
    }

    /// The same with another variable of the environment.
    pub fn with(self, name: &str, value: &str) -> Small {
        Small(self.0.with(name, value))
    }

    /// Builds; all must be well. The summary.
    pub fn build(&self, arguments: &[&str]) -> Value {
        self.0.build(&[&[SMALL], arguments].concat()).ok().summary().clone()
    }

    /// A file beside the exports.
    pub fn out(&self, name: &str) -> PathBuf {
        self.path("out/small").join(name)
    }

    pub fn read(&self, name: &str) -> String {
        self.0.read(&format!("out/small/{name}"))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// The names of what lies in the output directory, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = self.out("").read_dir().unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Makes a key and signs with it from now on; its public line.
    pub fn sign(&mut self) -> String {
        let line = self.kuth(&["cache", "keygen", "key"]).ok().out.trim().to_string();
        let path = self.path("key").to_str().unwrap().to_string();
        self.0.set("KUTH_CACHE_KEY", &path);
        line
    }

    /// The object of a stage.
    pub fn object(&self, stage: &str) -> PathBuf {
        self.artifact(SMALL, stage)
    }
}

/// The project that is built once, unsigned.
pub fn world() -> &'static Small {
    static WORLD: OnceLock<Small> = OnceLock::new();
    WORLD.get_or_init(|| {
        let _ = std::fs::remove_dir_all(home());
        let project = Small::at(&home().join("world"));
        base::minimal(&project, LOCK);
        project.build(&[]);
        base::collect_packages(&project.cache);
        project
    })
}

/// The output of a tool, if it is here.
pub fn tool(program: &str, arguments: &[&str]) -> Option<Output> {
    let Some(found) = kuth::process::find_program(program) else {
        kuth_test_support::judge::missing(program);
        return None;
    };
    Some(Command::new(found).args(arguments).env("LC_ALL", "C").output().unwrap())
}
