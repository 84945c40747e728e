//! What a mirror gave, once; media with just that; and projects that know no mirror.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::medium::Medium;
use crate::mirror::{Deb, run};
pub use crate::project::{Project, Run};

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
    pub directory: PathBuf,
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
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("media");
        run(Command::new("rm").arg("-rf").arg(&directory));
        let first = Project { directory: directory.join("first"), stays: true };
        first.write("p.toml", MIRROR);
        // From whatever mirror this machine uses.
        let built = first.kuth(&["build", "p.toml", "--message-format", "json"]).done();
        let digests = ["rootfs", "base"].map(|stage| built.digest(stage));
        let debs = debs(&first);
        let medium = Medium::new(&directory.join("dvd"), &debs, &directory.join("keys"));
        World { directory, debs, digests, medium }
    }

    pub fn keyring(&self) -> String {
        self.directory.join("keys/keyring.gpg").display().to_string()
    }

    /// `InRelease`, signed by the key of [`World::keyring`].
    pub fn signed(&self) -> String {
        std::fs::read_to_string(self.directory.join("dvd.signed")).unwrap()
    }

    /// The detached signature of the medium's `Release` by that key.
    pub fn signature(&self) -> Vec<u8> {
        let mut gpg = Command::new("gpg");
        gpg.args(["--batch", "--yes", "--quiet", "--armor", "--detach-sign", "--output", "-"]);
        gpg.arg(self.medium.path("dists/trixie/Release"))
            .env("GNUPGHOME", self.directory.join("keys"));
        let signature = run(&mut gpg).into_bytes();
        let keys = self.directory.join("keys");
        run(Command::new("gpgconf").args(["--kill", "gpg-agent"]).env("GNUPGHOME", keys));
        signature
    }

    /// A project with an empty cache.
    pub fn project(&self, name: &str) -> Project {
        let project = Project { directory: self.directory.join(name), stays: false };
        project.write("p.toml", MEDIUM);
        project
    }
}

impl Project {
    /// kuth where there is no network at all, if whoever runs the tests may make such a place.
    pub fn kuth_alone(&self, arguments: &[&str]) -> Run {
        let alone = || Command::new("unshare").args(["--net", "true"]).status();
        if !alone().is_ok_and(|status| status.success()) {
            crate::judge::skip("kuth without any network: `unshare --net` is not allowed");
            return self.kuth(arguments);
        }
        let mut command = Command::new("unshare");
        command.arg("--net").arg(env!("CARGO_BIN_EXE_kuth")).args(arguments);
        self.ended(command)
    }

    /// Builds the pipeline with the medium `iso`, without network and with a mirror that is not
    /// there.
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
    /// It failed, with one error that has all of `parts`.
    pub fn refused(self, parts: &[&str]) {
        assert_eq!(self.status, 1, "{}{}", self.out, self.err);
        let errors = self.err.lines().filter(|line| line.starts_with("error:"));
        assert_eq!(errors.count(), 1, "{}", self.err);
        for part in parts {
            assert!(self.err.contains(part), "{part}: {}", self.err);
        }
    }
}
