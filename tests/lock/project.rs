//! A directory with a pipeline, its lock and a cache, and kuth run in it. Each test target adds
//! what it asks for.

#![allow(dead_code, reason = "each target uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::mirror::run;

/// A pipeline, its lock and a cache.
pub struct Project {
    pub directory: PathBuf,
    /// Others take from it.
    pub stays: bool,
}

impl Drop for Project {
    fn drop(&mut self) {
        // What failed stays too, to be looked at.
        if !self.stays && !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Run {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Project {
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Takes a part of another's cache.
    pub fn take(&self, cache: &Path, part: &str) {
        std::fs::create_dir_all(self.path("cache")).unwrap();
        let to = self.path("cache").join(part);
        run(Command::new("cp").arg("-al").arg(cache.join(part)).arg(to));
    }

    pub fn kuth(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kuth"));
        command.args(arguments);
        self.ended(command)
    }

    /// A command in the directory, to which nobody's settings are known.
    pub fn ended(&self, mut command: Command) -> Run {
        command.current_dir(&self.directory).env("NO_COLOR", "1");
        for name in ["KUTH_CACHE", "KUTH_CACHE_REMOTE", "KUTH_DEBIAN_SNAPSHOT", "SOURCE_DATE_EPOCH"]
        {
            command.env_remove(name);
        }
        command.env("KUTH_MACHINES", self.path("machines"));
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let status = output.status.code().unwrap();
        Run { status, out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Run {
    /// All went well.
    pub fn done(self) -> Run {
        assert_eq!(self.status, 0, "{}{}", self.out, self.err);
        self
    }

    fn lines(&self) -> impl Iterator<Item = serde_json::Value> + '_ {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap())
    }

    /// The digest of a stage's result.
    pub fn digest(&self, stage: &str) -> String {
        let mut lines = self.lines();
        let line = lines.find(|line| line["stage"] == stage && line["digest"].is_string());
        line.unwrap_or_else(|| panic!("{stage}: {}", self.out))["digest"].as_str().unwrap().into()
    }

    /// How many stages ran.
    pub fn ran(&self) -> u64 {
        self.lines().find(|line| line["event"] == "summary").unwrap()["run"].as_u64().unwrap()
    }
}
