//! A Debian mirror in a directory, made of packages that are here, signed by a key of its own. Each
//! test target uses some of it.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kuth::digest::Digest;

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
            Digest::of(&bytes)
        );
    }
    std::fs::write(lists.join("Packages"), &packages).unwrap();
    let release = format!(
        "Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: {suite}\n\
         Date: Wed, 01 Jan 2025 10:00:00 UTC\nArchitectures: all amd64\nComponents: main\n\
         SHA256:\n {} {} main/binary-amd64/Packages\n",
        Digest::of(&packages),
        packages.len(),
    );
    let directory = root.join("dists").join(suite);
    std::fs::write(directory.join("Release"), release).unwrap();
    if !keys.join("keyring.gpg").exists() {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(keys).unwrap();
        std::fs::set_permissions(keys, PermissionsExt::from_mode(0o700)).unwrap();
        let key = ["--quick-generate-key", "mirror@example.org", "ed25519", "sign", "never"];
        run(gpg(keys).args(key));
        run(gpg(keys).arg("--output").arg(keys.join("keyring.gpg")).arg("--export"));
    }
    sign(&directory, keys);
}

fn gpg(keys: &Path) -> Command {
    let mut gpg = Command::new("gpg");
    gpg.args(["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]);
    gpg.env("GNUPGHOME", keys);
    gpg
}

/// Signs the `Release` of a suite's directory, as `InRelease`.
pub fn sign(directory: &Path, keys: &Path) {
    signed(directory, ("InRelease", "--clear-sign"), keys);
}

/// Signs the `Release` of a suite's directory, as `Release.gpg`.
pub fn sign_beside(directory: &Path, keys: &Path) {
    signed(directory, ("Release.gpg", "--detach-sign"), keys);
}

fn signed(directory: &Path, (name, how): (&str, &str), keys: &Path) {
    let (to, release) = (directory.join(name), directory.join("Release"));
    run(gpg(keys).args(["--armor", "--output"]).arg(to).arg(how).arg(release));
    run(Command::new("gpgconf").args(["--kill", "gpg-agent"]).env("GNUPGHOME", keys));
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
