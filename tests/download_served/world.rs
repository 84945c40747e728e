//! A project with one `download`, and kuth run in it.

use std::path::PathBuf;

use assert_cmd::Command;
use kuth::digest::Digest;

pub struct World {
    directory: tempfile::TempDir,
    /// What the environment has besides `PATH`.
    pub variables: Vec<(&'static str, String)>,
}

/// How a run ended.
pub struct Run {
    pub status: i32,
    pub err: String,
}

impl World {
    /// `lines` are of the stage `file`.
    pub fn new(lines: &str) -> World {
        let directory = tempfile::tempdir().unwrap();
        let world = World { directory, variables: Vec::new() };
        world.write(lines);
        world
    }

    pub fn write(&self, lines: &str) {
        let text =
            format!("[pipeline]\nname = \"p\"\n\n[stage.file]\nkind = \"download\"\n{lines}\n");
        std::fs::write(self.path("p.toml"), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn lock(&self) -> String {
        std::fs::read_to_string(self.path("p.lock")).unwrap_or_default()
    }

    fn kuth(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("kuth"));
        command.current_dir(self.directory.path()).env_clear().env("PATH", "/usr/bin:/bin");
        command.envs(self.variables.iter().cloned());
        let output = command.args(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    pub fn build(&self, options: &[&str]) -> Run {
        let (status, _, err) = self.kuth(&[&["build", "p.toml"], options].concat());
        Run { status, err }
    }

    /// What the stage made.
    pub fn made(&self) -> Vec<u8> {
        let (status, out, err) = self.kuth(&["path", "p.toml", "file"]);
        assert_eq!(status, 0, "{err}");
        std::fs::read(out.trim()).unwrap()
    }

    /// Builds, and the file must be `body`.
    pub fn gives(&self, body: &[u8]) {
        let run = self.build(&[]);
        assert_eq!(run.status, 0, "{}", run.err);
        assert!(self.made() == body);
        let parts = std::fs::read_dir(self.path("cache/downloads"));
        assert_eq!(parts.map_or(0, |parts| parts.count()), 0, "no part is left");
    }

    /// Builds, and it must fail so.
    pub fn fails(&self, why: &str) {
        let run = self.build(&[]);
        assert_eq!(run.status, 1, "{}", run.err);
        assert!(run.err.contains(why), "{}", run.err);
    }
}

/// A file that begins like nothing known.
pub fn body() -> Vec<u8> {
    (0..1_000_000u32).map(|i| (i.wrapping_mul(i) >> 11) as u8 | 1).collect()
}

pub fn sha256(body: &[u8]) -> String {
    format!("sha256 = \"{}\"", Digest::of(body))
}
