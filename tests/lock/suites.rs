//! A suite is searched together with its updates, its security updates and, by name, its backports.

use kuth_test_support::project::Project;
use kuth_test_support::run::Run;

use crate::world::{World, world};

/// A tree with `htop` and what `more` says.
fn pipeline(more: &str) -> String {
    format!(
        "[pipeline]\nname = \"t\"\n[vars]\nkeyring = \"\"\n[stage.rootfs]\nkind = \"bootstrap\"\n\
         suite = \"trixie\"\nkeyring = \"${{keyring}}\"\npackages = [\"htop\"]\n{more}"
    )
}

/// The versions of `htop`, and one package that has a security update alone.
fn version(suite: &str, name: &str) -> Option<&'static str> {
    match (suite, name) {
        ("trixie", "htop" | "hostname") => Some("1.0"),
        ("trixie-security", "htop" | "hostname") => Some("1.0+deb13u1"),
        ("trixie-updates", "htop") => Some("1.1"),
        ("trixie-backports", "htop") => Some("2.0~bpo13+1"),
        _ => None,
    }
}

fn update(world: &World, project: &Project, root: &str, options: &[&str]) -> Run {
    let mirror = format!("{}/{root}/debian", world.server.address);
    let keyring = format!("keyring={}", world.keyring());
    let words = ["update", "p.toml", "--mirror", &mirror, "--var", &keyring];
    project.kuth(&[&words[..], options].concat())
}

/// `1.0`, or `1.1 of trixie-updates`.
fn locked(project: &Project, name: &str) -> String {
    let lock: toml::Table = project.read("p.lock").parse().unwrap();
    let packages = lock["stage"]["rootfs"][0]["package"].as_array().unwrap().clone();
    let package = packages.iter().find(|it| it["name"].as_str() == Some(name)).unwrap();
    let version = package["version"].as_str().unwrap();
    match package.get("suite") {
        Some(suite) => format!("{version} of {}", suite.as_str().unwrap()),
        None => version.to_string(),
    }
}

#[test]
fn the_newest_version_of_the_pockets_is_taken() {
    let world = world();
    world.write_suites("pockets", version);
    let project = world.project("pockets");
    for (more, htop, hostname) in [
        ("", "1.1 of trixie-updates", "1.0+deb13u1 of trixie-security"),
        (
            "pockets = [\"security\"]\n",
            "1.0+deb13u1 of trixie-security",
            "1.0+deb13u1 of trixie-security",
        ),
        ("pockets = [\"updates\"]\n", "1.1 of trixie-updates", "1.0"),
        ("pockets = []\n", "1.0", "1.0"),
        (
            "backports = [\"htop\"]\n",
            "2.0~bpo13+1 of trixie-backports",
            "1.0+deb13u1 of trixie-security",
        ),
    ] {
        project.write("p.toml", pipeline(more));
        update(world, &project, "pockets", &[]).ok();
        assert_eq!(locked(&project, "htop"), htop, "{more}");
        assert_eq!(locked(&project, "hostname"), hostname, "{more}");
    }
    let lock: toml::Table = project.read("p.lock").parse().unwrap();
    let suites = lock["stage"]["rootfs"][0]["suites"].as_array().unwrap();
    let names: Vec<&str> = suites.iter().map(|suite| suite["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["trixie-updates", "trixie-security", "trixie-backports"]);
    // All of these files are found again, each in its archive; without the network nothing is missing.
    let mirror = format!("{}/pockets/debian", world.server.address);
    let keyring = format!("keyring={}", world.keyring());
    let words = ["p.toml", "--locked", "--mirror", &mirror, "--var", &keyring];
    project.build(&words).ok();
    let tree = project.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let object = project.kuth(&["path", "p.toml", "rootfs", "--var", &keyring]).ok().out;
    kuth_test_support::judge::tool(
        "tar",
        &[
            "-xf",
            object.trim(),
            "-C",
            tree.to_str().unwrap(),
            "--wildcards",
            "*etc/apt/sources.list.d/*",
            "*var/lib/dpkg/status",
        ],
    )
    .unwrap();
    let status = std::fs::read_to_string(tree.join("var/lib/dpkg/status")).unwrap();
    let installed = |name: &str, version: &str| {
        let paragraph =
            status.split("\n\n").find(|it| it.starts_with(&format!("Package: {name}\n")));
        let version = format!("\nVersion: {version}\n");
        assert!(paragraph.unwrap().contains(&version), "{name}");
    };
    installed("htop", "2.0~bpo13+1");
    installed("hostname", "1.0+deb13u1");
    let sources = std::fs::read_to_string(tree.join("etc/apt/sources.list.d/debian.sources"));
    let sources = sources.unwrap();
    assert!(sources.contains("Suites: trixie trixie-updates trixie-backports\n"), "{sources}");
    assert!(sources.contains("Suites: trixie-security\n"), "{sources}");
}

#[test]
fn security_updates_are_shown_first() {
    let world = world();
    world.write_suites("first", |suite, name| match suite {
        "trixie" => version(suite, name),
        _ => None,
    });
    let project = world.project("first");
    project.write("p.toml", pipeline(""));
    update(world, &project, "first", &[]).ok();
    world.write_suites("first", |suite, name| match (suite, name) {
        ("trixie-updates", "apt") => Some("99"),
        _ => version(suite, name),
    });
    let run = update(world, &project, "first", &[]).ok();
    let at = |line: &str| run.out.find(line).unwrap_or_else(|| panic!("{line}: {}", run.out));
    let security = at("  hostname  1.0 -> 1.0+deb13u1 (security)\n");
    assert!(security < at("-> 99\n"), "{}", run.out);
    assert!(run.out.contains("3 changed (1 security), "), "{}", run.out);
}

#[test]
fn a_mirror_without_security_updates_is_refused_with_a_way_out() {
    let world = world();
    world.write_suites("lacking", |suite, name| match suite {
        "trixie" => version(suite, name),
        _ => None,
    });
    std::fs::remove_dir_all(world.web("lacking/debian-security")).unwrap();
    let project = world.project("lacking");
    project.write("p.toml", pipeline(""));
    let run = update(world, &project, "lacking", &[]);
    assert_eq!(run.status, 1, "{}", run.err);
    let address = format!("{}/lacking/debian-security", world.server.address);
    for part in [
        format!("fetching the index of trixie-security from {address}"),
        "404 Not Found".to_string(),
        "`--security-mirror URL`".to_string(),
        "`pockets = []`".to_string(),
    ] {
        assert!(run.err.contains(&part), "{part}: {}", run.err);
    }
    // Another that has them.
    world.write_suites("having", version);
    let security = format!("{}/having/debian-security", world.server.address);
    update(world, &project, "lacking", &["--security-mirror", &security]).ok();
    assert_eq!(locked(&project, "hostname"), "1.0+deb13u1 of trixie-security");
}

#[test]
fn pockets_are_words() {
    let world = world();
    let project = world.project("words");
    project.write("p.toml", pipeline("pockets = [\"secuirty\"]\n"));
    let run = update(world, &project, "words", &[]);
    assert_eq!(run.status, 2, "{}", run.err);
    assert!(run.err.contains("`secuirty` is not a valid `pockets`"), "{}", run.err);
    assert!(run.err.contains("p.toml:10:12"), "{}", run.err);
}
