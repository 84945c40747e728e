//! A directory and an empty environment to run kuth in. Each test file uses some of it.

#![allow(dead_code)]

use std::path::{Path, PathBuf};

use assert_cmd::Command;

/// Every subcommand whose help is golden.
pub fn commands() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().copied()
}

const COMMANDS: &[&str] = &[
    "",
    "build",
    "plan",
    "update",
    "explain",
    "path",
    "check",
    "graph",
    "verify",
    "diff",
    "inspect",
    "cache",
    "cache list",
    "cache size",
    "cache verify",
    "cache clean",
    "cache push",
    "cache pull",
    "cache keygen",
    "cache public-key",
    "machine",
    "machine list",
    "machine start",
    "machine stop",
    "machine remove",
    "machine clean",
    "machine console",
    "machine ssh",
    "machine hosts",
    "machine doctor",
    "create-image",
    "ci",
    "remote-build",
    "network",
    "network plan",
    "network apply",
    "network undo",
    "init",
    "doctor",
    "schema",
    "completions",
];

/// What a run of kuth said, and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// All is well, and nothing was talked about.
    pub fn out(out: &str) -> Said {
        Said { status: 0, out: out.to_string(), err: String::new() }
    }

    /// Talk alone.
    pub fn err(status: i32, err: &str) -> Said {
        Said { status, out: String::new(), err: err.to_string() }
    }
}

/// The directory that kuth runs in.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    /// With `pipelines/small.toml`.
    pub fn with(pipeline: &str) -> Home {
        let home = Home::new();
        home.write("pipelines/small.toml", pipeline);
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        let root = self.0.path().canonicalize().unwrap();
        if name == "." { root } else { root.join(name) }
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn kuth(&self, arguments: &[&str]) -> Said {
        self.run(".", arguments, &[])
    }

    pub fn kuth_in(&self, directory: &str, arguments: &[&str]) -> Said {
        self.run(directory, arguments, &[])
    }

    pub fn kuth_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        self.run(".", arguments, variables)
    }

    fn run(&self, directory: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kuth"));
        command.args(arguments).env_clear().env("PATH", path());
        command.envs(variables.iter().copied()).current_dir(self.path(directory));
        let output = command.output().unwrap();
        Said {
            status: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The only variable that kuth is given.
pub fn path() -> String {
    std::env::var("PATH").unwrap()
}

/// Compares `text` with the golden file of this name.
pub fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("KUTH_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{} differs; KUTH_BLESS=1 writes it anew", path.display());
}
