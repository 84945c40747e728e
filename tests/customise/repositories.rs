//! Repositories of others: one that reprepro makes, and a flat one of apt-ftparchive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use kuth_test_support::base::{self, MINIMAL};
use kuth_test_support::http::{Answer, Server};
use kuth_test_support::judge;
use kuth_test_support::mirror::{make_key, run, sign};
use kuth_test_support::project::Project;
use kuth_test_support::target_tmp;
use kuth_test_support::tree::Tree;

/// Both repositories, on one server, and the directory of their key.
struct World {
    server: Server,
    keys: PathBuf,
}

/// A package with one file, `/usr/share/NAME/version`.
fn deb(directory: &Path, name: &str, version: &str, depends: &str) -> PathBuf {
    let tree = directory.join(format!("{name}-{version}"));
    let content = tree.join("usr/share").join(name);
    fs::create_dir_all(&content).unwrap();
    fs::write(content.join("version"), format!("{version}\n")).unwrap();
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nSection: misc\nPriority: optional\n\
         Maintainer: Nobody <nobody@example.org>\nDepends: {depends}\nDescription: a test\n"
    );
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let file = directory.join(format!("{name}_{version}_all.deb"));
    run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(&file));
    file
}

/// `None`, once it is noted, where a tool is missing.
fn world() -> Option<&'static World> {
    static WORLD: OnceLock<World> = OnceLock::new();
    if !["reprepro", "apt-ftparchive", "gpg"].iter().all(|tool| judge::is_there(tool)) {
        return None;
    }
    let make = || {
        let directory = target_tmp().join("repositories");
        let _ = fs::remove_dir_all(&directory);
        let (debs, keys, web) =
            (directory.join("debs"), directory.join("keys"), directory.join("web"));
        fs::create_dir_all(&debs).unwrap();
        make_key(&keys);
        // What Debian has too; what it has not; and what needs both.
        let ours = [
            deb(&debs, "less", "9999", "base-files"),
            deb(&debs, "acme-lib", "1.0", "base-files"),
            deb(&debs, "acme-tool", "1:1.0+x", "acme-lib, less"),
        ];
        let tree = web.join("acme/debian");
        fs::create_dir_all(tree.join("conf")).unwrap();
        let conf = "Codename: any\nSuite: stable\nComponents: main\nArchitectures: amd64\n";
        fs::write(tree.join("conf/distributions"), conf).unwrap();
        let mut reprepro = Command::new("reprepro");
        reprepro.arg("--silent").arg("--basedir").arg(&tree).args(["includedeb", "any"]);
        run(reprepro.args(&ours));
        sign(&tree.join("dists/any"), &keys);
        let flat = web.join("flat");
        fs::create_dir_all(&flat).unwrap();
        let file = deb(&debs, "flat-tool", "2.0", "acme-tool");
        fs::copy(&file, flat.join("flat-tool_2.0_all.deb")).unwrap();
        for (index, what) in [("Packages", "packages"), ("Release", "release")] {
            let mut archive = Command::new("apt-ftparchive");
            let text = run(archive.args([what, "."]).current_dir(&flat));
            fs::write(flat.join(index), text).unwrap();
        }
        sign(&flat, &keys);
        // The same without a signature.
        run(Command::new("cp").arg("-r").arg(&flat).arg(web.join("unsigned")));
        fs::remove_file(web.join("unsigned/InRelease")).unwrap();
        // The key, and another one.
        fs::copy(keys.join("keyring.gpg"), web.join("key.gpg")).unwrap();
        make_key(&directory.join("others"));
        fs::copy(directory.join("others/keyring.gpg"), web.join("other.gpg")).unwrap();
        let server = Server::start(move |_, request| Answer::file(&web, &request.path));
        World { server, keys }
    };
    Some(WORLD.get_or_init(make))
}

impl World {
    fn fingerprint(&self) -> String {
        let mut gpg = Command::new("gpg");
        gpg.args(["--batch", "--show-keys", "--with-colons"]).arg(self.keys.join("keyring.gpg"));
        let said = run(gpg.env("GNUPGHOME", &self.keys));
        let line = said.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_string()
    }

    fn acme(&self, more: &str) -> String {
        format!(
            "[[stage.set.repository]]\nurl = \"{}/acme/debian\"\nsuite = \"any\"\n\
             components = [\"main\"]\nkey = \"keys/acme.gpg\"\n{more}",
            self.server.address
        )
    }

    fn flat(&self, path: &str, key: &str) -> String {
        format!(
            "[[stage.set.repository]]\nurl = \"{}/{path}\"\nsuite = \"./\"\nkeep = false\n{key}\n",
            self.server.address
        )
    }

    /// A project with a stage that installs `packages` from Debian and these repositories.
    fn project(&self, name: &str, packages: &str, more: &str) -> Project {
        let directory =
            tempfile::Builder::new().prefix(name).tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let project = Project::within(directory);
        base::minimal(&project, "p.lock");
        fs::create_dir_all(project.path("keys")).unwrap();
        fs::copy(self.keys.join("keyring.gpg"), project.path("keys/acme.gpg")).unwrap();
        let stage = format!(
            "[stage.set]\nkind = \"customise\"\nfrom = \"rootfs\"\npackages = [{packages}]\n"
        );
        project.write("p.toml", format!("{MINIMAL}{stage}{more}"));
        project
    }
}

/// The version of a package that is installed.
fn version(tree: &Tree, name: &str) -> String {
    let paragraph = tree.package(name).unwrap();
    let line = paragraph.lines().find_map(|line| line.strip_prefix("Version: "));
    line.unwrap().to_string()
}

fn key_at(address: &str, fingerprint: &str) -> String {
    format!("key = \"{address}\"\nfingerprint = \"{fingerprint}\"")
}

#[test]
fn packages_of_others_are_added_and_debians_stay() {
    let Some(world) = world() else { return };
    let key = key_at(&format!("{}/key.gpg", world.server.address), &world.fingerprint());
    // The guest's apt, asked inside of it: its own sources, with the archive that this host uses.
    let given = std::env::var("KUTH_DEBIAN_MIRROR").ok();
    let archive = kuth::debian::mirror::find(&kuth::debian::DEBIAN, given.as_deref(), None);
    let asks = r#"
[[stage.set.run]]
network = true
script = """
mkdir /tmp/sources
cp /etc/apt/sources.list.d/127* /tmp/sources
sed "/^$/,$ d; s|^URIs: .*|URIs: ARCHIVE|" /etc/apt/sources.list.d/debian.sources >/tmp/sources/debian.sources
options="-oDir::Etc::SourceParts=/tmp/sources -oAPT::Sandbox::User=root -oAcquire::Check-Valid-Until=false"
apt-get -qq $options update 2>/root/said
apt-cache $options policy less >/root/policy
apt-get $options -s upgrade >/root/upgrade
"""
"#
    .replace("ARCHIVE", &archive.unwrap());
    let more = format!("{asks}{}{}", world.acme(""), world.flat("flat", &key));
    let project = world.project("both-", "\"flat-tool\"", &more);
    let built = project.build(&["p.toml", "set"]).ok();
    base::collect_packages(&project.cache);
    let tree = Tree::read(&project.artifact("p.toml", "set"));
    for (name, version) in [("flat-tool", "2.0"), ("acme-tool", "1:1.0+x"), ("acme-lib", "1.0")] {
        assert_eq!(self::version(&tree, name), version, "{name}");
    }
    assert_ne!(version(&tree, "less"), "9999");
    // The guest has the one that it keeps.
    let name = tree.below("/etc/apt/keyrings");
    assert_eq!(name.len(), 1, "{name:?}");
    let name = name[0].rsplit('/').next().unwrap().strip_suffix(".gpg").unwrap().to_string();
    let sources = tree.text(&format!("/etc/apt/sources.list.d/{name}.sources"));
    assert_eq!(
        sources,
        format!(
            "Types: deb\nURIs: {}/acme/debian\nSuites: any\nComponents: main\n\
             Signed-By: /etc/apt/keyrings/{name}.gpg\n",
            world.server.address
        )
    );
    assert_eq!(tree.text("/root/said"), "");
    let policy = tree.text("/root/policy");
    assert!(policy.contains("9999 100\n"), "{policy}");
    assert!(tree.text("/root/upgrade").contains("\n0 upgraded"), "{}", tree.text("/root/upgrade"));
    // All of it is in the lock, and what a bill of materials reads.
    let lock: toml::Table = project.read("p.lock").parse().unwrap();
    let entries = lock["stage"]["set"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["part"].as_str() == Some("packages")).unwrap();
    let of = |name: &str| {
        let packages = entry["package"].as_array().unwrap();
        let package = packages.iter().find(|it| it["name"].as_str() == Some(name)).unwrap();
        package.get("repository").map(|it| it.as_str().unwrap().to_string())
    };
    let address = &world.server.address;
    assert_eq!(of("acme-tool"), Some(format!("{address}/acme/debian")));
    assert_eq!(of("flat-tool"), Some(format!("{address}/flat")));
    assert_eq!(of("less"), None);
    let is_key = |entry: &&toml::Value| entry["part"].as_str().unwrap().ends_with("/key.gpg");
    assert_eq!(entries.iter().filter(is_key).count(), 1);
    // Somewhere else, by somebody else, from the lock: the same bytes.
    let other = world.project("again-", "\"flat-tool\"", &more);
    other.write("p.lock", project.read("p.lock"));
    let again = other.build(&["p.toml", "set", "--locked"]).ok();
    assert_eq!(again.digest("set"), built.digest("set"));
    project.build(&["p.toml", "set", "--locked", "--offline"]).ok().assert_all("cached");
}

#[test]
fn a_package_that_is_named_is_the_repositorys() {
    let Some(world) = world() else { return };
    let more = world.acme("packages = [\"le*\"]\n");
    let project = world.project("named-", "\"less\"", &more);
    project.build(&["p.toml", "set"]).ok();
    base::collect_packages(&project.cache);
    let tree = Tree::read(&project.artifact("p.toml", "set"));
    assert_eq!(version(&tree, "less"), "9999");
    let pins = tree.below("/etc/apt/preferences.d");
    let pins = tree.text(pins[0]);
    assert!(pins.starts_with("Package: le*\nPin: origin \"127.0.0.1\"\nPin-Priority: 990\n"));
}

#[test]
fn what_is_not_signed_by_the_key_is_refused() {
    let Some(world) = world() else { return };
    let address = &world.server.address;
    let other = "0000000000000000000000000000000000000000";
    for (name, more, parts) in [
        (
            "unsigned-",
            world.flat("unsigned", "key = \"keys/acme.gpg\""),
            [
                "the index of the repository is not signed by its `key`",
                "kuth takes nothing that is not signed",
            ],
        ),
        (
            "other-",
            world.flat("flat", "key = \"keys/other.gpg\""),
            [
                "the index of the repository is not signed by its `key`",
                "get the key that its maker publishes",
            ],
        ),
        (
            "fingerprint-",
            world.flat("flat", &key_at(&format!("{address}/key.gpg"), other)),
            [&format!("the key {address}/key.gpg"), &format!("not {other}")],
        ),
        (
            "nowhere-",
            world.flat("nowhere", "key = \"keys/acme.gpg\""),
            [
                &format!("fetching the index of ./ from {address}/nowhere"),
                "check the `url` and the `suite` of the repository",
            ],
        ),
    ] {
        let project = world.project(name, "\"flat-tool\"", &more);
        fs::copy(world.keys.join("../others/keyring.gpg"), project.path("keys/other.gpg")).unwrap();
        project.build(&["p.toml", "set"]).refused(&parts);
    }
}
