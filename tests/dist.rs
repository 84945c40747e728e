//! `scripts/dist`: what a release consists of. The program that tests run is packed, without its debug
//! information, so that nothing is compiled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use kuth_test_support::base::{self, PIPELINE};
use kuth_test_support::run::Run;
use kuth_test_support::servers::program;
use kuth_test_support::tree::Tree;
use kuth_test_support::{checkout, target_tmp};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn ok(command: &mut Command) -> String {
    Run::to_end(command).ok().out
}

/// The files that `scripts/dist` makes in a new directory of this name, called from `from`.
fn dist(name: &str, from: &Path, umask: &str) -> PathBuf {
    let out = target_tmp().join(name);
    let _ = std::fs::remove_dir_all(&out);
    let stripped = target_tmp().join(format!("{name}-kuth"));
    let mut strip = Command::new("strip");
    ok(strip.arg("--strip-debug").arg("-o").arg(&stripped).arg(kuth_test_support::program()));
    let script = format!("umask {umask}; exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).arg(checkout().join("scripts/dist")).arg(&out);
    command
        .current_dir(from)
        .env("KUTH_BINARY", &stripped)
        .env("KUTH_CONTAINER", "no")
        .env("KUTH_LEVEL", "1");
    command.env("KUTH_MAINTAINER", "A Maintainer <maintainer@kuth.dev>");
    ok(&mut command);
    std::fs::remove_file(stripped).unwrap();
    out
}

/// One release, for all tests.
fn release() -> &'static Path {
    static RELEASE: OnceLock<PathBuf> = OnceLock::new();
    RELEASE.get_or_init(|| dist("dist-one", checkout(), "022"))
}

fn digests(directory: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let digest = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        (name, kuth_test_support::sha256(std::fs::read(&path).unwrap()))
    };
    entries.map(digest).collect()
}

fn deb() -> PathBuf {
    release().join(format!("kuth_{VERSION}_amd64.deb"))
}

#[test]
fn a_release_made_twice_is_the_same() {
    if program("dpkg-deb").is_none() {
        return;
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let (one, two) = (digests(release()), digests(&dist("dist-two", elsewhere.path(), "077")));
    assert_eq!(one.len(), 5, "{one:?}");
    assert_eq!(one, two);
    std::fs::remove_dir_all(target_tmp().join("dist-two")).unwrap();
}

#[test]
fn the_checksums_are_those_of_all_files() {
    let mut sums = Command::new("sha256sum");
    ok(sums.args(["--check", "--strict", "SHA256SUMS"]).current_dir(release()));
    let text = std::fs::read_to_string(release().join("SHA256SUMS")).unwrap();
    let listed = text.lines().map(|line| line.split_once("  ").unwrap().1);
    let mut files: Vec<String> = digests(release()).into_keys().collect();
    files.retain(|name| name != "SHA256SUMS");
    assert_eq!(listed.collect::<Vec<_>>(), files);
}

#[test]
fn the_archive_has_the_program_its_pages_and_the_scripts_for_ci() {
    let name = format!("kuth-{VERSION}-x86_64-linux");
    let directory = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    ok(tar
        .arg("-xzf")
        .arg(release().join(format!("{name}.tar.gz")))
        .arg("-C")
        .arg(directory.path()));
    let root = directory.path().join(&name);
    let version = ok(Command::new(root.join("kuth")).arg("--version"));
    assert_eq!(version, format!("kuth {VERSION}\n"));
    for file in [
        "README.md",
        "LICENSE",
        "ci/install",
        "ci/prepare",
        "ci/build",
        "man/man1/kuth.1",
        "man/man1/kuth-build.1",
        "completions/kuth.bash",
        "completions/_kuth",
        "completions/kuth.fish",
    ] {
        assert!(root.join(file).is_file(), "{file}");
    }
    if let Some(bash) = program("bash") {
        ok(Command::new(bash).arg("-n").arg(root.join("completions/kuth.bash")));
    }
}

/// As `ci/install` gets it.
#[test]
fn a_release_can_be_installed_by_the_script_for_ci() {
    if program("curl").is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let releases = home.path().join(format!("v{VERSION}"));
    std::os::unix::fs::symlink(release(), &releases).unwrap();
    let mut install = Command::new(checkout().join("ci/install"));
    install.arg(home.path().join("bin")).env("KUTH_VERSION", VERSION);
    install.env("KUTH_RELEASES", format!("file://{}", home.path().display()));
    assert_eq!(ok(&mut install), format!("kuth {VERSION}\n"));
}

#[test]
fn lintian_finds_nothing_in_the_package() {
    let Some(lintian) = program("lintian") else { return };
    let said =
        ok(Command::new(lintian).args(["--fail-on", "error,warning,info", "--info"]).arg(deb()));
    assert_eq!(said, "");
}

/// In a tree that kuth makes, with dpkg and apt of that tree.
#[test]
fn the_package_installs_in_a_clean_system() {
    let project = base::system(
        "dist-system",
        "\n[stage.host]\nkind = \"customise\"\nfrom = \"rootfs\"\npackages = [\"./kuth.deb\"]\n\
         run = [\"kuth --version >/etc/kuth-version\", \"dpkg --audit >>/etc/kuth-version\"]\n",
    );
    std::fs::copy(deb(), project.path("kuth.deb")).unwrap();
    project.build(&[PIPELINE, "host"]).ok();
    let tree = Tree::read(&project.artifact(PIPELINE, "host"));
    assert_eq!(tree.text("/etc/kuth-version"), format!("kuth {VERSION}\n"));
    let stanza = tree.package("kuth").unwrap();
    assert!(stanza.contains("\nStatus: install ok installed\n"), "{stanza}");
    for file in ["/usr/bin/kuth", "/usr/share/man/man1/kuth-build.1.gz"] {
        assert!(tree.has(file), "{file}");
    }
}

/// The library of CycloneDX's makers, with their schema.
#[test]
fn the_sbom_is_valid_and_has_the_crates() {
    let sbom = release().join(format!("kuth-{VERSION}-x86_64.cdx.json"));
    let text = std::fs::read_to_string(&sbom).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let components = value["components"].as_array().unwrap();
    let lock = std::fs::read_to_string(checkout().join("Cargo.lock")).unwrap();
    assert!(components.len() > 100, "{}", components.len());
    for name in ["clap", "sha2", "toml", "rustls"] {
        let found = components.iter().find(|component| component["name"] == name);
        let digest = found.unwrap()["hashes"][0]["content"].as_str().unwrap();
        assert!(lock.contains(digest), "{name}");
    }
    for name in ["kuth-test-support", "proptest"] {
        assert!(components.iter().all(|component| component["name"] != name), "{name}");
    }
    let python = checkout().join("target/sbom/bin/python3");
    if !python.exists() {
        return kuth_test_support::judge::missing("cyclonedx-python-lib");
    }
    let script = "import sys; from cyclonedx.schema import SchemaVersion; \
                  from cyclonedx.validation.json import JsonStrictValidator as V; \
                  error = V(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read()); \
                  sys.exit(str(error) if error else 0)";
    ok(Command::new(python).args(["-c", script]).arg(&sbom));
}

#[test]
fn the_provenance_names_what_was_made_and_of_what() {
    let file = release().join(format!("kuth-{VERSION}-x86_64.intoto.json"));
    let text = std::fs::read_to_string(file).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let digests = digests(release());
    let subjects = value["subject"].as_array().unwrap();
    assert_eq!(subjects.len(), 3);
    for subject in subjects {
        let name = subject["name"].as_str().unwrap();
        assert_eq!(subject["digest"]["sha256"], digests[name], "{name}");
    }
    let mut git = Command::new("git");
    let commit = ok(git.args(["rev-parse", "HEAD"]).current_dir(checkout()));
    let source = &value["predicate"]["buildDefinition"]["resolvedDependencies"][0];
    assert_eq!(source["digest"]["gitCommit"], commit.trim());
}
