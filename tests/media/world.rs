//! What a mirror gave, once; media with just that; and projects that know no mirror.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::medium::Medium;
use crate::mirror::{Deb, run};

const MIRROR: &str = r#"
[pipeline]
name = "t"
default = ["base"]

[stage.rootfs]
kind = "bootstrap"
suite = "trixie"

[stage.base]
kind = "customise"
from = "rootfs"
packages = ["htop"]
"#;

/// The same from a medium.
pub const MEDIUM: &str = r#"
[pipeline]
name = "t"
default = ["base"]

[vars]
iso = ""
package = "htop"
suite = "trixie"

[stage.iso]
kind = "download"
url = "file://${iso}"

[stage.rootfs]
kind = "bootstrap"
from = "iso"
suite = "${suite}"

[stage.base]
kind = "customise"
from = "rootfs"
medium = "iso"
packages = ["${package}"]
"#;

/// A mirror that nobody keeps.
pub const NOWHERE: &str = "http://127.0.0.1:1/debian";

/// What the mirror gave.
pub struct World {
    pub folder: PathBuf,
    pub debs: Vec<Deb>,
    /// The digests of `rootfs` and `base`.
    pub digests: [String; 2],
    /// An unsigned medium with it, as all others begin.
    pub medium: Medium,
}

static WORLD: OnceLock<World> = OnceLock::new();
static HEAVY: Mutex<()> = Mutex::new(());

/// Made by whoever asks first.
pub fn world() -> &'static World {
    WORLD.get_or_init(World::new)
}

/// Held by a test that runs stages.
pub fn heavy() -> MutexGuard<'static, ()> {
    HEAVY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The packages of a lock, in the cache beside it.
pub fn debs(project: &Project) -> Vec<Deb> {
    let lock: toml::Table = project.read("p.lock").parse().unwrap();
    let mut debs: Vec<Deb> = Vec::new();
    for (_, entries) in lock["stage"].as_table().unwrap() {
        for package in entries[0]["package"].as_array().unwrap() {
            let text = |key: &str| package[key].as_str().unwrap().to_string();
            let digest = text("sha256");
            let file = project.path("cache/packages").join(&digest[..2]).join(&digest);
            let deb = Deb { path: text("path"), file };
            if !debs.iter().any(|other| other.path == deb.path) {
                debs.push(deb);
            }
        }
    }
    debs
}

impl World {
    fn new() -> World {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("media");
        run(Command::new("rm").arg("-rf").arg(&folder));
        let first = Project { folder: folder.join("first"), stays: true };
        first.write("p.toml", MIRROR);
        // From whatever mirror this machine uses.
        let built = first.kuth(&["build", "p.toml", "--message-format", "json"]).done();
        let digests = ["rootfs", "base"].map(|stage| built.digest(stage));
        let debs = debs(&first);
        let medium = Medium::new(&folder.join("dvd"), &debs, &folder.join("keys"));
        World { folder, debs, digests, medium }
    }

    pub fn keyring(&self) -> String {
        self.folder.join("keys/keyring.gpg").display().to_string()
    }

    /// `InRelease`, signed by the key of [`World::keyring`].
    pub fn signed(&self) -> String {
        std::fs::read_to_string(self.folder.join("dvd.signed")).unwrap()
    }

    /// The detached signature of the medium's `Release` by that key.
    pub fn signature(&self) -> Vec<u8> {
        let mut gpg = Command::new("gpg");
        gpg.args(["--batch", "--yes", "--quiet", "--armor", "--detach-sign", "--output", "-"]);
        gpg.arg(self.medium.path("dists/trixie/Release"))
            .env("GNUPGHOME", self.folder.join("keys"));
        let signature = run(&mut gpg).into_bytes();
        let keys = self.folder.join("keys");
        run(Command::new("gpgconf").args(["--kill", "gpg-agent"]).env("GNUPGHOME", keys));
        signature
    }

    /// A project with an empty cache.
    pub fn project(&self, name: &str) -> Project {
        let project = Project { folder: self.folder.join(name), stays: false };
        project.write("p.toml", MEDIUM);
        project
    }
}

/// A folder with a pipeline and a cache of its own; removed in the end.
pub struct Project {
    folder: PathBuf,
    stays: bool,
}

impl Drop for Project {
    fn drop(&mut self) {
        if !self.stays {
            let _ = Command::new("rm").arg("-rf").arg(&self.folder).status();
        }
    }
}

/// What a run of kuth said.
pub struct Run {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Project {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Takes the packages of the cache of `other`.
    pub fn take_packages(&self, other: &Path) {
        std::fs::create_dir_all(self.path("cache")).unwrap();
        let from = other.join("cache/packages");
        run(Command::new("cp").arg("-al").arg(from).arg(self.path("cache/packages")));
    }

    pub fn kuth(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kuth"));
        command.args(arguments);
        self.ended(command)
    }

    /// kuth where there is no network at all, if whoever runs the tests may make such a place.
    pub fn kuth_alone(&self, arguments: &[&str]) -> Run {
        let alone = || Command::new("unshare").args(["--net", "true"]).status();
        if !alone().is_ok_and(|status| status.success()) {
            return self.kuth(arguments);
        }
        let mut command = Command::new("unshare");
        command.arg("--net").arg(env!("CARGO_BIN_EXE_kuth")).args(arguments);
        self.ended(command)
    }

    fn ended(&self, mut command: Command) -> Run {
        command.current_dir(&self.folder).env("NO_COLOR", "1");
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

    /// Builds the pipeline with the medium `iso`, without network and with a mirror that is not there.
    pub fn build(&self, iso: &Path, options: &[&str]) -> Run {
        let iso = format!("iso={}", iso.display());
        let words = ["build", "p.toml", "--message-format", "json", "--mirror", NOWHERE];
        self.kuth_alone(&[&words[..], &["--var", &iso], options].concat())
    }

    /// A file of the tree that a run made.
    pub fn file(&self, digest: &str, name: &str) -> String {
        let object = self.path("cache/objects").join(&digest[..2]).join(digest);
        run(Command::new("tar").arg("-xOf").arg(object).arg(name))
    }
}

impl Run {
    /// All went well.
    pub fn done(self) -> Run {
        assert_eq!(self.status, 0, "{}{}", self.out, self.err);
        self
    }

    /// It failed, with one error that has all of `parts`.
    pub fn refused(self, parts: &[&str]) {
        assert_eq!(self.status, 1, "{}{}", self.out, self.err);
        let errors = self.err.lines().filter(|line| line.starts_with("error:"));
        assert_eq!(errors.count(), 1, "{}", self.err);
        for part in parts {
            assert!(self.err.contains(part), "{part}: {}", self.err);
        }
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
