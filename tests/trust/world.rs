//! An archive of two packages, two keys, and projects that ask for the packages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use kuth_test_support::http::{Answer, Request, Server};
use kuth_test_support::judge;
use kuth_test_support::medium::Medium;
use kuth_test_support::mirror::{self, Deb, run};
use kuth_test_support::project::Project;
use kuth_test_support::run::Run;
use kuth_test_support::{sha256, target_tmp};

/// The suite, in the archive's directory.
pub const SUITE: &str = "dists/trixie";
/// Its list of packages.
pub const LIST: &str = "dists/trixie/main/binary-amd64/Packages";

/// A tree of what the archive has: two essential packages, in nothing but name.
const PIPELINE: &str = r#"
[pipeline]
name = "t"

[vars]
iso = "/nowhere"
keyring = ""

[stage.rootfs]
kind = "bootstrap"
suite = "trixie"
pockets = []
keyring = "${keyring}"
"#;

/// The packages and the keys, made by whoever asks first.
pub struct World {
    directory: PathBuf,
    pub debs: Vec<Deb>,
}

/// `None` where something is missing to make it, which is said.
pub fn world() -> Option<&'static World> {
    static WORLD: OnceLock<Option<World>> = OnceLock::new();
    WORLD.get_or_init(World::new).as_ref()
}

impl World {
    fn new() -> Option<World> {
        for tool in ["gpg", "gpgv", "dpkg-deb", "apt-get"] {
            judge::tool(tool, &["--version"])?;
        }
        judge::verdict("xorriso", &["-version"])?;
        let directory = target_tmp().join("trust");
        let _ = std::fs::remove_dir_all(&directory);
        let debs = ["dpkg", "apt"].map(|name| deb(&directory, name));
        Some(World { directory, debs: debs.into() })
    }

    /// The keys of the archive, or of somebody else; they are made when first needed.
    fn keys(&self, whose: &str) -> PathBuf {
        let keys = self.directory.join(whose);
        mirror::make_key(&keys);
        keys
    }

    /// A file in the directory of everything.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn keyring(&self, whose: &str) -> String {
        self.keys(whose).join("keyring.gpg").display().to_string()
    }

    /// A directory with the archive, signed.
    pub fn archive(&self, name: &str) -> Archive {
        let root = self.directory.join(name);
        let archive = Archive { root };
        archive.write(self);
        archive
    }

    /// A medium with the archive, not signed.
    pub fn medium(&self, name: &str) -> Medium {
        Medium::new(&self.directory.join(name), &self.debs, &self.keys("ours"))
    }

    /// Signs the `Release` of a suite's directory.
    pub fn sign(&self, suite: &Path) {
        mirror::sign(suite, &self.keys("ours"));
    }

    /// The same, with the signature beside it.
    pub fn sign_beside(&self, suite: &Path) {
        let [release, signature] = ["Release", "Release.gpg"].map(|name| suite.join(name));
        mirror::sign_beside(&release, &signature, &self.keys("ours"));
    }

    /// A project with an empty cache.
    pub fn project(&self, name: &str) -> Project {
        let prefix = format!("{name}-");
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir_in(&self.directory);
        let directory = directory.unwrap();
        let project = Project::rooted(directory.path())
            .owning(directory)
            .without("KUTH_DEBIAN_SNAPSHOT")
            .without("KUTH_ALLOW_EXPIRED");
        project.write("p.toml", PIPELINE);
        project
    }
}

/// A package with one file.
fn deb(directory: &Path, name: &str) -> Deb {
    let tree = directory.join(name);
    std::fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    std::fs::create_dir_all(tree.join("usr/share").join(name)).unwrap();
    std::fs::write(tree.join("usr/share").join(name).join("text"), name.repeat(20_000)).unwrap();
    let control = format!(
        "Package: {name}\nVersion: 1.0\nArchitecture: amd64\nEssential: yes\n\
         Maintainer: x <x@y.z>\nDescription: one file\n"
    );
    std::fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let file = directory.join(format!("{name}.deb"));
    // Not compressed: a byte of it may change without dpkg's notice.
    let words = ["--root-owner-group", "-Znone", "--build"];
    run(Command::new("dpkg-deb").args(words).arg(&tree).arg(&file));
    Deb { path: format!("pool/main/{name}_1.0_amd64.deb"), file }
}

/// An archive's directory.
pub struct Archive {
    pub root: PathBuf,
}

impl Archive {
    /// Writes it as it has to be.
    pub fn write(&self, world: &World) {
        let _ = std::fs::remove_dir_all(&self.root);
        mirror::write(&self.root, "trixie", &world.debs, &world.keys("ours"));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Replaces `from` in a file that has it.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{from}: {text}");
        std::fs::write(self.path(name), text.replace(from, to)).unwrap();
    }

    /// A server of it; `answer` may answer in its place.
    pub fn serve(
        &self,
        answer: impl Fn(&Request, Option<&[u8]>) -> Option<Answer> + Send + Sync + 'static,
    ) -> Server {
        let root = self.root.clone();
        Server::start(move |_, request| {
            let path = request.path.replace("%2b", "+").replace("%3a", ":");
            let file = std::fs::read(root.join(path.trim_start_matches('/'))).ok();
            answer(request, file.as_deref()).unwrap_or_else(|| match &file {
                Some(file) => Answer::ok(file),
                None => Answer::refusal("404 Not Found"),
            })
        })
    }

    /// A server of it as it is.
    pub fn served(&self) -> Server {
        self.serve(|_, _| None)
    }
}

/// Another byte in the middle of a file.
pub fn flipped(file: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes
}

/// Does `command` with what the archive's `keyring` signs.
pub fn asks(project: &Project, command: &str, keyring: &str, words: &[&str]) -> Run {
    let keyring = format!("keyring={keyring}");
    project.kuth(&[&[command, "p.toml", "--var", &keyring], words].concat())
}

/// What the cache has: the kinds of its records, and the packages by their digests, sorted.
pub fn kept(project: &Project) -> Vec<String> {
    let mut kept = Vec::new();
    for file in files(project, "records") {
        let record: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let recipe = record["recipe"].as_str().unwrap();
        let kinds = recipe.lines().find_map(|line| line.strip_prefix("kind = "));
        kept.extend(kinds.map(str::to_string));
    }
    for file in files(project, "packages") {
        kept.push(file.file_name().unwrap().to_str().unwrap().to_string());
    }
    kept.sort();
    kept
}

/// The files of a part of the cache.
pub fn files(project: &Project, part: &str) -> Vec<PathBuf> {
    let mut open = vec![project.cache.join(part)];
    let mut found = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found
}

/// The place of a package in the cache.
pub fn package(project: &Project, deb: &Deb) -> PathBuf {
    let digest = sha256(std::fs::read(&deb.file).unwrap());
    project.cache.join("packages").join(&digest[..2]).join(digest)
}
