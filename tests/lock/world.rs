//! What was built on the first day, and projects of later days.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kuth_test_support::base::{RESULTS, collect_packages, lend_packages};
use kuth_test_support::http::{Answer, Server};
use kuth_test_support::mirror::{self, Deb};
use kuth_test_support::project::Project;
use kuth_test_support::target_tmp;

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
pockets = []
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

/// Made by whoever asks first.
pub fn world() -> &'static World {
    WORLD.get_or_init(World::new)
}

impl World {
    fn new() -> World {
        let directory = target_tmp().join("lock");
        let _ = std::fs::remove_dir_all(&directory);
        let first = Project::rooted(&directory.join("first"));
        first.write("p.toml", PIPELINE);
        first.write("kuth.toml", remote("read-write"));
        lend_packages(&first.cache);
        // From whatever mirror this machine uses.
        let built = first.build(&["p.toml"]).ok();
        collect_packages(&first.cache);
        let digests = ["rootfs", "base"].map(|stage| built.digest(stage).to_string());
        let debs = mirror::debs(&first, "p.lock");
        let lock: toml::Table = first.read("p.lock").parse().unwrap();
        let date = lock["stage"]["base"][0]["date"].as_str().unwrap().to_string();
        let named = |deb: &&Deb| deb.path.contains(&format!("/{MOVED}_"));
        let old = debs.iter().find(named).unwrap().clone();
        let server = serve(&directory);
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

    /// An archive of three suites and one of security updates, in which packages have other versions:
    /// `version` is called with a suite and a package's name; `None`: the suite does not have it.
    pub fn write_suites(&self, root: &str, version: impl Fn(&str, &str) -> Option<&'static str>) {
        for suite in ["trixie", "trixie-updates", "trixie-security", "trixie-backports"] {
            let archive = if suite == "trixie-security" { "debian-security" } else { "debian" };
            let debs: Vec<Deb> = self
                .debs
                .iter()
                .filter_map(|deb| {
                    let (directory, file) = deb.path.rsplit_once('/').unwrap();
                    let name = file.split('_').next().unwrap();
                    match version(suite, name) {
                        Some(version) => {
                            // Tests that run at the same time have roots of their own.
                            let file = format!("{root}-{name}-{version}.deb");
                            let file = self.directory.join(file);
                            mirror::with_version(&deb.file, version, &file);
                            let path = format!("{directory}/{name}_{version}_amd64.deb");
                            Some(Deb { path, file })
                        }
                        None => (suite == "trixie").then(|| deb.clone()),
                    }
                })
                .collect();
            let root = self.web(root).join(archive);
            mirror::write(&root, suite, &debs, &self.directory.join("keys"));
            if suite == "trixie-backports" {
                let release = root.join("dists").join(suite).join("Release");
                let text = std::fs::read_to_string(&release).unwrap();
                let text = format!("NotAutomatic: yes\nButAutomaticUpgrades: yes\n{text}");
                std::fs::write(&release, text).unwrap();
                mirror::sign(release.parent().unwrap(), &self.directory.join("keys"));
            }
        }
    }

    /// The same for one test alone, which looks at what is asked.
    pub fn serve(&self) -> Server {
        serve(&self.directory)
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
        let directory =
            tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(&self.directory);
        let directory = directory.unwrap();
        let project =
            Project::rooted(directory.path()).owning(directory).without("KUTH_DEBIAN_SNAPSHOT");
        project.write("p.toml", PIPELINE);
        project.write("p.lock", self.lock());
        project
    }

    /// The lock of the first day.
    pub fn lock(&self) -> String {
        std::fs::read_to_string(self.directory.join("first/p.lock")).unwrap()
    }

    /// With the packages of the first day in its cache.
    pub fn with_packages(&self, name: &str) -> Project {
        let project = self.project(name);
        project.take(&self.first_cache(), &["packages"]);
        project
    }

    /// With all of the first day's cache but [`MOVED`].
    pub fn without_the_moved(&self, name: &str) -> Project {
        let project = self.with_packages(name);
        project.take(&self.first_cache(), &RESULTS);
        self.forget(&project);
        project
    }

    fn first_cache(&self) -> PathBuf {
        self.directory.join("first/cache")
    }

    /// Removes [`MOVED`] from a project's cache, if it is there.
    pub fn forget(&self, project: &Project) {
        let place = self.old.file.strip_prefix(self.directory.join("first")).unwrap();
        let _ = std::fs::remove_file(project.path("").join(place));
    }
}

fn serve(directory: &Path) -> Server {
    let web = directory.join("web");
    Server::start(move |_, request| answer(&web, &request.path))
}

/// What the server answers: it is an archive of old packages too, with the last day before the one
/// asked for. `archive/debian/DAY/` is the last day there that is not after `DAY`.
fn answer(web: &Path, path: &str) -> Answer {
    let days = web.join("archive/debian");
    let asked = path.strip_prefix("/archive/debian/").and_then(|path| path.split_once('/'));
    if let Some((day, rest)) = asked {
        let names = std::fs::read_dir(&days).into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().into_string().unwrap());
        if let Some(name) = names.filter(|name| name.as_str() <= day).max() {
            return Answer::file(&days.join(name), rest);
        }
    }
    Answer::file(web, path)
}

/// The project file that names the remote cache, which the first day filled.
pub fn remote(mode: &str) -> String {
    format!("[cache]\nremote = \"../remote\"\ntrust = \"anyone\"\nmode = \"{mode}\"\n")
}
