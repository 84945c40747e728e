//! What was built on the first day, and projects of later days.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::mirror::{self, Deb, run};
pub use crate::project::{Project, Run};
use crate::server::Server;

/// The package that moves, and where it goes.
pub const MOVED: &str = "htop";
pub const NEW: &str = "99-1";

/// `rootfs` and, on top of it, [`MOVED`].
pub const PIPELINE: &str = r#"
[pipeline]
name = "t"
default = ["base"]

[vars]
suite = "trixie"
keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

[stage.rootfs]
kind = "bootstrap"
suite = "${suite}"
keyring = "${keyring}"

[stage.base]
kind = "customise"
from = "rootfs"
packages = ["htop"]
keyring = "${keyring}"
"#;

/// The first day.
pub struct World {
    directory: PathBuf,
    /// The mirror of today, without the old [`MOVED`], and an archive that has it.
    pub server: Server,
    /// When the first day was, as archives write it.
    pub date: String,
    /// The package that left.
    pub old: Deb,
    /// Everything of the first day.
    debs: Vec<Deb>,
    /// The digests of the stages on the first day.
    pub digests: [String; 2],
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

impl World {
    fn new() -> World {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lock");
        run(Command::new("rm").arg("-rf").arg(&directory));
        let first = Project { directory: directory.join("first"), stays: true };
        first.write("p.toml", PIPELINE);
        first.write("kuth.toml", &remote("read-write"));
        // From whatever mirror this machine uses.
        let built = first.build(&[]).done();
        let digests = ["rootfs", "base"].map(|stage| built.digest(stage));
        let lock: toml::Table = first.read("p.lock").parse().unwrap();
        let mut debs: Vec<Deb> = Vec::new();
        for (_, entries) in lock["stage"].as_table().unwrap() {
            for package in entries[0]["package"].as_array().unwrap() {
                let text = |key: &str| package[key].as_str().unwrap().to_string();
                let digest = text("sha256");
                let file = first.path("cache/packages").join(&digest[..2]).join(&digest);
                debs.push(Deb { path: text("path"), file });
            }
        }
        let date = lock["stage"]["base"][0]["date"].as_str().unwrap().to_string();
        let named = |deb: &&Deb| deb.path.contains(&format!("/{MOVED}_"));
        let old = debs.iter().find(named).unwrap().clone();
        let server = Server::start(&directory.join("web"));
        let world = World { directory, server, date, old, digests, debs };
        world.write_mirror("debian", MOVED);
        world
    }

    /// The packages of the first day, but for `name`, which is [`NEW`].
    fn write_mirror(&self, root: &str, name: &str) {
        let mut debs = self.debs.clone();
        let moved = debs.iter_mut().find(|deb| deb.path.contains(&format!("/{name}_"))).unwrap();
        let file = self.directory.join(format!("{name}.deb"));
        mirror::with_version(&moved.file, NEW, &file);
        let (directory, _) = moved.path.rsplit_once('/').unwrap();
        *moved = Deb { path: format!("{directory}/{name}_{NEW}_amd64.deb"), file };
        mirror::write(&self.web(root), "trixie", &debs, &self.directory.join("keys"));
    }

    /// Another mirror, on which `name` moved.
    pub fn mirror_with(&self, name: &str) -> String {
        self.write_mirror(&format!("{name}/debian"), name);
        format!("{}/{name}/debian", self.server.address)
    }

    pub fn mirror(&self) -> String {
        format!("{}/debian", self.server.address)
    }

    /// A directory below which the server looks.
    pub fn web(&self, name: &str) -> PathBuf {
        self.directory.join("web").join(name)
    }

    pub fn keyring(&self) -> String {
        self.directory.join("keys/keyring.gpg").display().to_string()
    }

    /// A project with the pipeline and the lock of the first day, and an empty cache.
    pub fn project(&self, name: &str) -> Project {
        let project = Project { directory: self.directory.join(name), stays: false };
        project.write("p.toml", PIPELINE);
        project.write("p.lock", &self.lock());
        project
    }

    /// The lock of the first day.
    pub fn lock(&self) -> String {
        std::fs::read_to_string(self.directory.join("first/p.lock")).unwrap()
    }

    /// With the packages of the first day in its cache.
    pub fn with_packages(&self, name: &str) -> Project {
        let project = self.project(name);
        project.take(&self.directory.join("first/cache"), "packages");
        project
    }

    /// With all of the first day's cache but [`MOVED`].
    pub fn without_the_moved(&self, name: &str) -> Project {
        let project = self.with_packages(name);
        for part in ["records", "objects", "latest"] {
            project.take(&self.directory.join("first/cache"), part);
        }
        project.forget(self);
        project
    }
}

/// The project file that names the remote cache, which the first day filled.
pub fn remote(mode: &str) -> String {
    format!("[cache]\nremote = \"../remote\"\ntrust = \"anyone\"\nmode = \"{mode}\"\n")
}

impl Project {
    /// Removes [`MOVED`] from the cache, if it is there.
    pub fn forget(&self, world: &World) {
        let place = world.old.file.strip_prefix(world.directory.join("first")).unwrap();
        let _ = std::fs::remove_file(self.directory.join(place));
    }

    pub fn build(&self, options: &[&str]) -> Run {
        self.kuth(&[&["build", "p.toml", "--message-format", "json"], options].concat())
    }
}
