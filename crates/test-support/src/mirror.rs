//! A Debian mirror in a directory, made of packages that are here, signed by a key of its own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::project::Project;
use crate::sha256;

/// A package file and where it lies below the mirror's root.
#[derive(Clone, Debug)]
pub struct Deb {
    pub path: String,
    pub file: PathBuf,
}

/// What a command says; it has to succeed.
pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Writes `debs` and the signed index of `suite` to the directory `root`. The key is made in
/// `keys`; the keyring is `keys/keyring.gpg`.
pub fn write(root: &Path, suite: &str, debs: &[Deb], keys: &Path) {
    let lists = root.join("dists").join(suite).join("main/binary-amd64");
    std::fs::create_dir_all(&lists).unwrap();
    let mut packages = String::new();
    for deb in debs {
        let place = root.join(&deb.path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::copy(&deb.file, &place).unwrap();
        packages += run(Command::new("dpkg-deb").arg("--field").arg(&deb.file)).trim_end();
        let bytes = std::fs::read(&deb.file).unwrap();
        packages += &format!(
            "\nFilename: {}\nSize: {}\nSHA256: {}\n\n",
            deb.path,
            bytes.len(),
            sha256(&bytes)
        );
    }
    std::fs::write(lists.join("Packages"), &packages).unwrap();
    let release = format!(
        "Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: {suite}\n\
         Date: Wed, 01 Jan 2025 10:00:00 UTC\nArchitectures: all amd64\nComponents: main\n\
         SHA256:\n {} {} main/binary-amd64/Packages\n",
        sha256(&packages),
        packages.len(),
    );
    let directory = root.join("dists").join(suite);
    std::fs::write(directory.join("Release"), release).unwrap();
    make_key(keys);
    sign(&directory, keys);
}

/// Makes a key and its keyring, `keyring.gpg`, in a directory that has none.
pub fn make_key(keys: &Path) {
    let agent = Agent::new(keys);
    if !keys.join("keyring.gpg").exists() {
        agent.gpg(&["--quick-generate-key", "mirror@example.org", "ed25519", "sign", "never"]);
        agent.gpg(&["--output", text(&keys.join("keyring.gpg")), "--export"]);
    }
}

/// Signs the `Release` of a suite's directory, as `InRelease`.
pub fn sign(directory: &Path, keys: &Path) {
    let [to, release] = ["InRelease", "Release"].map(|name| directory.join(name));
    Agent::new(keys).gpg(&["--armor", "--output", text(&to), "--clear-sign", text(&release)]);
}

/// Writes the detached signature of a file by the key of [`make_key`].
pub fn sign_beside(file: &Path, to: &Path, keys: &Path) {
    Agent::new(keys).gpg(&["--armor", "--output", text(to), "--detach-sign", text(file)]);
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// gpg's agent for a directory of keys, which serves one test at a time and ends with this.
pub struct Agent<'k> {
    keys: &'k Path,
    _alone: MutexGuard<'static, ()>,
}

impl Agent<'_> {
    /// For the keys in a directory, which is made if it is not there.
    pub fn new(keys: &Path) -> Agent<'_> {
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::create_dir_all(keys).unwrap();
        std::fs::set_permissions(keys, PermissionsExt::from_mode(0o700)).unwrap();
        Agent { keys, _alone }
    }

    /// Runs gpg for these keys.
    pub fn gpg(&self, arguments: &[&str]) {
        let mut gpg = Command::new("gpg");
        gpg.args(["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback"]);
        run(gpg.args(["--passphrase", ""]).args(arguments).env("GNUPGHOME", self.keys));
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let gpgconf = |words: &[&str]| {
            Command::new("gpgconf").args(words).env("GNUPGHOME", self.keys).output()
        };
        let socket = gpgconf(&["--list-dirs", "agent-socket"]).map(|it| it.stdout);
        let _ = gpgconf(&["--kill", "gpg-agent"]);
        // It says that it ends, and does so a little later; whoever asks it meanwhile gets no answer.
        let socket = String::from_utf8(socket.unwrap_or_default()).unwrap_or_default();
        let start = Instant::now();
        while Path::new(socket.trim()).exists() && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The package in `file` with another version, at `to`.
pub fn with_version(file: &Path, version: &str, to: &Path) {
    let directory = tempfile::tempdir_in(to.parent().unwrap()).unwrap();
    let tree = directory.path().join("tree");
    run(Command::new("dpkg-deb").arg("--raw-extract").arg(file).arg(&tree));
    let control = tree.join("DEBIAN/control");
    let text = std::fs::read_to_string(&control).unwrap();
    let lines = text.lines().map(|line| match line.starts_with("Version: ") {
        true => format!("Version: {version}\n"),
        false => format!("{line}\n"),
    });
    std::fs::write(&control, lines.collect::<String>()).unwrap();
    run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(to));
}

/// The packages of a project's lock, in its cache.
pub fn debs(project: &Project, lock: &str) -> Vec<Deb> {
    let lock: toml::Table = project.read(lock).parse().unwrap();
    let mut debs: Vec<Deb> = Vec::new();
    let stages = lock["stage"].as_table().unwrap().values();
    for entry in stages.flat_map(|entries| entries.as_array().unwrap()) {
        let packages = entry.get("package").and_then(|packages| packages.as_array());
        for package in packages.into_iter().flatten() {
            let text = |key: &str| package[key].as_str().unwrap().to_string();
            let digest = text("sha256");
            let file = project.cache.join("packages").join(&digest[..2]).join(&digest);
            let deb = Deb { path: text("path"), file };
            if !debs.iter().any(|other| other.path == deb.path) {
                debs.push(deb);
            }
        }
    }
    debs
}
