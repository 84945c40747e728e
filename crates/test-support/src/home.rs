//! An empty directory and environment to run kuth in, and the golden files of what it says.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::Run;

/// Exit status, standard output and standard error of a run, to compare with.
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

/// kuth in a directory, with nothing of this environment but PATH.
pub fn bare(directory: &Path) -> Command {
    let mut command = Command::new(crate::program());
    command.current_dir(directory).env_clear().env("PATH", path());
    command
}

/// The directory that kuth runs in.
pub struct Home(tempfile::TempDir);

impl Default for Home {
    fn default() -> Home {
        Home::new()
    }
}

impl Home {
    /// An empty one.
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
        let mut command = bare(&self.path(directory));
        let run = Run::to_end(command.args(arguments).envs(variables.iter().copied()));
        Said { status: run.status, out: run.out, err: run.err }
    }
}

/// This environment's PATH.
pub fn path() -> String {
    std::env::var("PATH").unwrap()
}

/// Compares `text` with the file of this name in tests/golden; KUTH_BLESS=1 writes it instead.
pub fn golden(name: &str, text: &str) {
    golden_in("tests/golden", name, text);
}

/// Compares `text` with the file `name` in a directory of the repository.
pub fn golden_in(directory: &str, name: &str, text: &str) {
    let path = crate::checkout().join(directory).join(name);
    if std::env::var_os("KUTH_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{} differs; KUTH_BLESS=1 writes it anew", path.display());
}
