//! A Debian of the essential packages on a small disk, built once; and kuth, run on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

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

/// A project with a cache of its own.
pub struct Project {
    pub root: PathBuf,
    variables: Vec<(String, String)>,
    _directory: Option<tempfile::TempDir>,
}

pub struct Run {
    pub status: i32,
    pub out: String,
    pub err: String,
}

/// The directory of everything, in the file system of the target directory.
fn home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("provenance")
}

impl Project {
    pub fn at(root: &Path) -> Project {
        std::fs::create_dir_all(root.join("pipelines")).unwrap();
        std::fs::write(root.join(SMALL), PIPELINE).unwrap();
        Project { root: root.to_path_buf(), variables: Vec::new(), _directory: None }
    }

    /// A project in a directory of its own, with what the world's lock says.
    pub fn new() -> Project {
        // The world's directory is in the same one, which is made with it.
        let lock = world().root.join("pipelines/small.lock");
        let directory = tempfile::tempdir_in(home()).unwrap();
        let project = Project::at(directory.path());
        std::fs::copy(lock, project.root.join("pipelines/small.lock")).unwrap();
        Project { _directory: Some(directory), ..project }
    }

    /// A project like the world's, with its results.
    pub fn fork() -> Project {
        let project = Project::new();
        for part in ["records", "objects", "packages", "latest", "version"] {
            let from = world().root.join("cache").join(part);
            let to = project.root.join("cache").join(part);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            let copied = Command::new("cp").arg("-al").arg(from).arg(to).status().unwrap();
            assert!(copied.success());
        }
        project
    }

    /// The same with another variable.
    pub fn with(mut self, name: &str, value: &str) -> Project {
        self.variables.retain(|(other, _)| other != name);
        self.variables.push((name.to_string(), value.to_string()));
        self
    }

    pub fn kuth(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kuth"));
        command.args(arguments).current_dir(&self.root).env("NO_COLOR", "1");
        for name in ["KUTH_CACHE", "KUTH_CACHE_KEY", "KUTH_CACHE_REMOTE", "SOURCE_DATE_EPOCH"] {
            command.env_remove(name);
        }
        command.env("KUTH_MACHINES", self.root.join("machines"));
        let output = command.envs(self.variables.iter().cloned()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let status = output.status.code().unwrap();
        Run { status, out: text(output.stdout), err: text(output.stderr) }
    }

    /// Builds; all must be well. The summary.
    pub fn build(&self, arguments: &[&str]) -> Value {
        let words = ["build", SMALL, "--message-format", "json"];
        let run = self.kuth(&[&words[..], arguments].concat()).ok();
        let lines = run.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.into_iter().find(|line| line["event"] == "summary").unwrap()
    }

    /// A file beside the exports.
    pub fn out(&self, name: &str) -> PathBuf {
        self.root.join("out/small").join(name)
    }

    pub fn read(&self, name: &str) -> String {
        let path = self.out(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
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
        let path = self.root.join("key").to_str().unwrap().to_string();
        self.variables.push(("KUTH_CACHE_KEY".to_string(), path));
        line
    }

    /// The object of a stage.
    pub fn path(&self, stage: &str) -> PathBuf {
        self.kuth(&["path", SMALL, stage]).ok().out.trim().into()
    }
}

impl Run {
    /// This run, which must have gone well.
    pub fn ok(self) -> Run {
        assert_eq!(self.status, 0, "{}{}", self.out, self.err);
        self
    }
}

/// The project that is built once, unsigned.
pub fn world() -> &'static Project {
    static WORLD: OnceLock<Project> = OnceLock::new();
    WORLD.get_or_init(|| {
        let root = home().join("world");
        // What was downloaded serves the next run.
        for name in ["out", "pipelines", "cache/records", "cache/objects", "cache/latest"] {
            let _ = std::fs::remove_dir_all(root.join(name));
        }
        let project = Project::at(&root);
        project.build(&[]);
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
