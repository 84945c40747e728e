//! The bills: by the schemas, by dpkg, and by what they are not allowed to depend on.

use std::path::Path;
use std::process::Command;

use kuth::format::sbom;

use crate::world::{Small, tool, world};

/// The Python with the judges; see `scripts/setup`.
fn judge() -> Option<String> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sbom/bin/python3");
    if python.is_file() {
        return Some(python.to_str().unwrap().to_string());
    }
    kuth_test_support::judge::missing(&python.display().to_string());
    None
}

/// Whether the judges find these files right, and what they say.
pub fn judged(files: &[&str]) -> Option<(bool, String)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provenance/judge.py");
    let output = Command::new(judge()?).arg(script).args(files).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8(text).unwrap()))
}

#[test]
fn the_schemas_hold() {
    let names = [
        "small.qcow2.cdx.json",
        "small.qcow2.spdx.json",
        "small.raw.cdx.json",
        "small.raw.spdx.json",
    ];
    let paths = names.map(|name| world().out(name).to_str().unwrap().to_string());
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let Some((holds, text)) = judged(&paths) else { return };
    assert!(holds, "{text}");
    // And the judges judge.
    let directory = tempfile::tempdir().unwrap();
    for (name, from, to) in [
        ("x.cdx.json", "\"type\": \"library\"", "\"type\": \"book\""),
        ("x.spdx.json", "\"CC0-1.0\"", "\"MIT\""),
    ] {
        let text = world().read(&format!("small.raw{}", &name[1..]));
        assert!(text.contains(from));
        let path = directory.path().join(name);
        std::fs::write(&path, text.replace(from, to)).unwrap();
        let (holds, text) = judged(&[path.to_str().unwrap()]).unwrap();
        assert!(!holds && !text.is_empty(), "{name}");
    }
}

/// The packages of the tree as dpkg itself reads its database.
fn installed() -> Option<Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    let tree = world().object("base");
    let words = ["-xf", tree.to_str().unwrap(), "-C", directory.path().to_str().unwrap()];
    assert!(tool("tar", &[&words[..], &["var/lib/dpkg"]].concat())?.status.success());
    let admindir = format!("--admindir={}", directory.path().join("var/lib/dpkg").display());
    let format = "${Package} ${Version} ${Architecture} ${source:Package} ${source:Version}\n";
    let output = tool("dpkg-query", &[&admindir, "-W", "-f", format])?;
    assert!(output.status.success(), "{output:?}");
    let mut lines: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_string).collect();
    lines.sort();
    Some(lines)
}

#[test]
fn the_packages_are_those_that_dpkg_lists() {
    let Some(installed) = installed() else { return };
    assert!(installed.len() > 50, "{}", installed.len());
    let bill = world().json("small.qcow2.cdx.json");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_string();
    let components = bill["components"].as_array().unwrap().iter();
    let mut packages: Vec<String> = components
        .filter(|component| component["type"] == "library")
        .map(|component| {
            let url = text(&component["purl"]);
            let [name, version, architecture] = kuth::format::purl::read(&url).unwrap();
            assert_eq!(
                (&name, &version),
                (&text(&component["name"]), &text(&component["version"]))
            );
            let of = |at: usize| text(&component["properties"][at]["value"]);
            format!("{name} {version} {architecture} {} {}", of(0), of(1))
        })
        .collect();
    packages.sort();
    assert_eq!(packages, installed);
    // Both languages name the same, with the digest of each .deb.
    let urls = |name: &str| sbom::packages(&world().read(name)).unwrap();
    assert_eq!(urls("small.qcow2.cdx.json"), urls("small.qcow2.spdx.json"));
    for component in bill["components"].as_array().unwrap() {
        let hashed = component["hashes"][0]["content"].as_str().is_some_and(|it| it.len() == 64);
        assert!(hashed || component["type"] == "operating-system", "{component}");
    }
}

#[test]
fn a_bill_names_its_image_by_the_digest_that_others_find() {
    for name in ["small.qcow2", "small.raw"] {
        let Some(output) = tool("sha256sum", &[world().out(name).to_str().unwrap()]) else {
            return;
        };
        let sum = String::from_utf8(output.stdout).unwrap()[..64].to_string();
        let bill = world().json(&format!("{name}.cdx.json"));
        assert_eq!(bill["metadata"]["component"]["hashes"][0]["content"], sum);
        let bill = world().json(&format!("{name}.spdx.json"));
        assert_eq!(bill["packages"][0]["checksums"][0]["checksumValue"], sum);
        let statement = world().json(&format!("{name}.intoto.json"));
        assert_eq!(statement["subject"][0]["digest"]["sha256"], sum);
    }
}

#[test]
fn what_is_not_wanted_does_not_lie_there() {
    let project = Small::fork();
    assert_eq!(project.build(&[])["run"], 0);
    assert_eq!(project.names(), world().names());
    let text = std::fs::read_to_string(project.root.join("pipelines/small.toml")).unwrap();
    let without = text.replace(
        "format = [\"qcow2\", \"raw\"]",
        "format = [\"qcow2\", \"raw\"]\nsbom = [\"spdx\"]\nprovenance = false",
    );
    std::fs::write(project.root.join("pipelines/small.toml"), &without).unwrap();
    // A file of somebody else's stays.
    std::fs::write(project.out("small.raw.cdx.json"), "{\"bomFormat\": \"CycloneDX\"}").unwrap();
    assert_eq!(project.build(&[])["run"], 0, "it is in no recipe");
    assert_eq!(
        project.names(),
        [
            "small.qcow2",
            "small.qcow2.spdx.json",
            "small.raw",
            "small.raw.cdx.json",
            "small.raw.spdx.json"
        ]
    );
}
