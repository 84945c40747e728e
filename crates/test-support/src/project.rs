//! A project of the test's own, and kuth run in it as by a person whose environment says nothing to
//! kuth but where packages come from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::judge::tool;
use crate::run::{Live, Run};

/// The variables of kuth that its runs inherit: where this machine gets packages from.
const SOURCES: [&str; 4] = [
    "KUTH_ALLOW_EXPIRED",
    "KUTH_DEBIAN_MIRROR",
    "KUTH_DEBIAN_SECURITY_MIRROR",
    "KUTH_DEBIAN_SNAPSHOT",
];

/// A checkout, and where kuth keeps what it makes of it.
#[derive(Debug)]
pub struct Project {
    /// The checkout.
    pub root: PathBuf,
    /// `KUTH_CACHE`.
    pub cache: PathBuf,
    /// `KUTH_MACHINES`.
    pub machines: PathBuf,
    /// The program.
    pub program: PathBuf,
    /// A command line that kuth is started through, such as one that drops privileges.
    through: Vec<OsString>,
    /// Variables of its environment; `None` is one that it does not have.
    variables: BTreeMap<String, Option<String>>,
    /// What is removed with the project.
    directory: Option<tempfile::TempDir>,
}

impl Project {
    /// A project in the directory `project` of `directory`, which nobody removes, with cache and
    /// machines beside it.
    pub fn at(directory: &Path) -> Project {
        Project {
            root: directory.join("project"),
            cache: directory.join("cache"),
            machines: directory.join("machines"),
            program: crate::program(),
            through: Vec::new(),
            variables: BTreeMap::new(),
            directory: None,
        }
    }

    /// The same in a directory that goes with it, unless the test fails.
    pub fn within(directory: tempfile::TempDir) -> Project {
        Project::at(directory.path()).owning(directory)
    }

    /// A project with cache and machines in it, where kuth has them without options.
    /// Nobody removes it.
    pub fn rooted(root: &Path) -> Project {
        let mut project = Project::at(root);
        project.root = root.to_path_buf();
        project
    }

    /// The same project, which is removed with `directory`, unless the test fails.
    pub fn owning(mut self, directory: tempfile::TempDir) -> Project {
        self.directory = Some(directory);
        self
    }

    /// The same project, with kuth started through another command.
    pub fn through(&self, words: &[&str]) -> Project {
        Project {
            root: self.root.clone(),
            cache: self.cache.clone(),
            machines: self.machines.clone(),
            program: self.program.clone(),
            through: words.iter().map(OsString::from).collect(),
            variables: self.variables.clone(),
            directory: None,
        }
    }

    /// With another value of a variable of the environment.
    pub fn with(mut self, name: &str, value: &str) -> Project {
        self.set(name, value);
        self
    }

    /// Gives a variable of the environment another value.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_string(), Some(value.to_string()));
    }

    /// Without a variable of the environment.
    pub fn without(mut self, name: &str) -> Project {
        self.variables.insert(name.to_string(), None);
        self
    }

    /// A path in the checkout.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// `out/`.
    pub fn output(&self) -> PathBuf {
        self.path("out")
    }

    /// Writes a file of the project, and the directories that it needs.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The text of a file of the project.
    pub fn read(&self, name: &str) -> String {
        let path = self.path(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Changes a file of the project; what is replaced must be there.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, text.replace(from, to));
    }

    /// Makes parts of another cache part of this one's, by hard links.
    pub fn take(&self, cache: &Path, parts: &[&str]) {
        std::fs::create_dir_all(&self.cache).unwrap();
        for part in parts {
            let [from, to] = [cache, &self.cache].map(|cache| cache.join(part));
            tool("cp", &["-al", "-T", from.to_str().unwrap(), to.to_str().unwrap()]);
        }
    }

    /// A command in the checkout; kuth that it starts finds the project's cache and machines.
    pub fn command_of(&self, words: &[OsString]) -> Command {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(&self.root).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let of_kuth = name.as_encoded_bytes().starts_with(b"KUTH_");
            if of_kuth && !SOURCES.iter().any(|source| name == *source) {
                command.env_remove(name);
            }
        }
        command.env_remove("SOURCE_DATE_EPOCH").env_remove("XDG_DATA_HOME");
        command.env("KUTH_CACHE", &self.cache).env("KUTH_MACHINES", &self.machines);
        command.env("NO_COLOR", "1");
        for (name, value) in &self.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// kuth with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut words = self.through.clone();
        words.push(self.program.clone().into());
        words.extend(arguments.iter().map(OsString::from));
        self.command_of(&words)
    }

    /// Runs kuth to its end.
    pub fn kuth(&self, arguments: &[&str]) -> Run {
        Live::start(self.command(arguments)).finish()
    }

    /// `kuth build`, reported as JSON.
    pub fn build(&self, arguments: &[&str]) -> Run {
        self.begin(arguments).finish()
    }

    /// Starts `kuth build`, reported as JSON.
    pub fn begin(&self, arguments: &[&str]) -> Live {
        Live::start(self.command(&build(arguments)))
    }

    /// `kuth plan`, reported as JSON.
    pub fn plan(&self, arguments: &[&str]) -> Run {
        self.kuth(&[&["plan", "--message-format", "json"], arguments].concat()).ok()
    }

    /// The artifact of a stage, as `kuth path` has it.
    pub fn artifact(&self, pipeline: &str, stage: &str) -> PathBuf {
        self.kuth(&["path", pipeline, stage]).ok().out.trim_end().into()
    }

    /// The log of a stage.
    pub fn log(&self, pipeline: &str, stage: &str) -> String {
        let log = self.cache.join(format!("logs/{pipeline}/{stage}.log"));
        std::fs::read_to_string(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display()))
    }

    /// What lies in the cache's directory of work directories.
    pub fn scratch(&self) -> Vec<OsString> {
        let entries = std::fs::read_dir(self.cache.join("work")).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    }

    /// `kuth cache verify` finds nothing, and nothing lies about.
    pub fn assert_clean(&self) {
        let verified = self.kuth(&["cache", "verify"]).ok();
        assert!(verified.out.is_empty() && verified.err.contains(" 0 damaged"), "{verified:?}");
        assert_eq!(self.scratch(), Vec::<OsString>::new(), "work directories are left");
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if let Some(directory) = self.directory.take().filter(|_| std::thread::panicking()) {
            eprintln!("left to look at: {}", directory.keep().display());
        }
    }
}

/// The words of `kuth build` before those of the caller.
pub fn build<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["build", "--message-format", "json"], arguments].concat()
}
