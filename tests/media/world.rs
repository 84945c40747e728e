//! What a mirror gave, once; media with just that; and projects that know no mirror.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use kuth_test_support::base::{collect_packages, lend_packages};
use kuth_test_support::judge::tool;
use kuth_test_support::medium::Medium;
use kuth_test_support::mirror::{self, Deb};
use kuth_test_support::project::{Project, build};
use kuth_test_support::run::Run;
use kuth_test_support::target_tmp;

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

/// Made by whoever asks first.
pub fn world() -> &'static World {
    WORLD.get_or_init(World::new)
}

impl World {
    fn new() -> World {
        let directory = target_tmp().join("media");
        let _ = std::fs::remove_dir_all(&directory);
        let first = Project::rooted(&directory.join("first"));
        first.write("p.toml", MIRROR);
        lend_packages(&first.cache);
        // From whatever mirror this machine uses.
        let built = first.build(&["p.toml"]).ok();
        collect_packages(&first.cache);
        let digests = ["rootfs", "base"].map(|stage| built.digest(stage).to_string());
        let debs = mirror::debs(&first, "p.lock");
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
        let signature = self.directory.join("dvd.signature");
        let release = self.medium.path("dists/trixie/Release");
        mirror::sign_beside(&release, &signature, &self.directory.join("keys"));
        std::fs::read(signature).unwrap()
    }

    /// A project with an empty cache.
    pub fn project(&self, name: &str) -> Project {
        let directory =
            tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(&self.directory);
        let directory = directory.unwrap();
        let project = Project::rooted(directory.path()).owning(directory);
        project.write("p.toml", MEDIUM);
        project
    }
}

/// kuth where there is no network at all, if whoever runs the tests may make such a place.
pub fn kuth_alone(project: &Project, arguments: &[&str]) -> Run {
    let alone = || Command::new("unshare").args(["--net", "true"]).status();
    if !alone().is_ok_and(|status| status.success()) {
        kuth_test_support::judge::skip("kuth without any network: `unshare --net` is not allowed");
        return project.kuth(arguments);
    }
    project.through(&["unshare", "--net"]).kuth(arguments)
}

/// Builds the pipeline with the medium `iso`, without network and with a mirror that is not there.
pub fn build_from(project: &Project, iso: &Path, options: &[&str]) -> Run {
    let iso = format!("iso={}", iso.display());
    let words = build(&["p.toml", "--mirror", NOWHERE, "--var", &iso]);
    kuth_alone(project, &[&words[..], options].concat())
}

/// A file of the tree with this digest.
pub fn file(project: &Project, digest: &str, name: &str) -> String {
    let object = project.cache.join("objects").join(&digest[..2]).join(digest);
    tool("tar", &["-xOf", object.to_str().unwrap(), name]).unwrap()
}
