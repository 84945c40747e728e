//! A project with one `download`, and kuth run in it.

use std::path::PathBuf;

use kuth_test_support::home::bare;
use kuth_test_support::run::Run;

pub struct World {
    directory: tempfile::TempDir,
    /// What the environment has besides `PATH`.
    pub variables: Vec<(&'static str, String)>,
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

    fn kuth(&self, args: &[&str]) -> Run {
        let mut command = bare(self.directory.path());
        Run::to_end(command.args(args).envs(self.variables.iter().cloned()))
    }

    pub fn build(&self, options: &[&str]) -> Run {
        self.kuth(&[&["build", "p.toml"], options].concat())
    }

    /// What the stage made.
    pub fn made(&self) -> Vec<u8> {
        std::fs::read(self.kuth(&["path", "p.toml", "file"]).ok().out.trim()).unwrap()
    }

    /// Builds, and the file must be `body`.
    pub fn gives(&self, body: &[u8]) {
        self.build(&[]).ok();
        assert!(self.made() == body);
        let parts = std::fs::read_dir(self.path("cache/downloads"));
        assert_eq!(parts.map_or(0, |parts| parts.count()), 0, "no part is left");
    }

    /// Builds, and it must fail so.
    pub fn fails(&self, why: &str) {
        let run = self.build(&[]).ended(1);
        assert!(run.err.contains(why), "{}", run.err);
    }
}

/// A file that begins like nothing known.
pub fn body() -> Vec<u8> {
    (0..1_000_000u32).map(|i| (i.wrapping_mul(i) >> 11) as u8 | 1).collect()
}

pub fn sha256(body: &[u8]) -> String {
    format!("sha256 = \"{}\"", kuth_test_support::sha256(body))
}
