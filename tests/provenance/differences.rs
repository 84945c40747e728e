//! `kuth diff`: of exports, of trees and disks in the cache, and of what is not known.

use std::process::Command;

use serde_json::Value;

use crate::world::{SMALL, Small, world};

fn diff(project: &Small, old: &str, new: &str) -> Value {
    let run = project.kuth(&["diff", old, new, "--format", "json"]);
    let value: Value = serde_json::from_str(&run.out).unwrap_or_else(|_| panic!("{}", run.err));
    assert_eq!(value["same"], run.status == 0, "{}", run.out);
    value
}

/// A fork with a second build beside the first one, in `other/`.
fn built_twice(variables: &[&str]) -> Small {
    let project = Small::fork();
    project.build(&[]);
    let words: Vec<&str> = variables.iter().flat_map(|it| ["--var", it]).collect();
    project.build(&[&words[..], &["--output", "other"]].concat());
    project
}

fn paths(value: &Value) -> Vec<&str> {
    value["files"].as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap()).collect()
}

#[test]
fn two_exports_of_one_disk_do_not_differ() {
    let project = Small::fork();
    project.build(&[]);
    let found = diff(&project, "out/small/small.qcow2", "out/small/small.qcow2");
    assert_eq!(found["same-bytes"], true);
    let disk = project.object("disk");
    let tree = project.object("base");
    for path in [disk, tree] {
        let path = path.to_str().unwrap();
        assert_eq!(diff(&project, path, path)["same"], true);
    }
}

#[test]
fn a_changed_file_and_a_changed_volume_are_reported() {
    let project = built_twice(&["motd=hello, world", "root=600 MiB"]);
    let found = diff(&project, "out/small/small.raw", "other/small/small.raw");
    assert_eq!(found["packages"], Value::Array(Vec::new()));
    assert_eq!(paths(&found), ["/etc/motd"]);
    let file = &found["files"][0];
    assert_eq!((&file["old"]["size"], &file["new"]["size"]), (&7.into(), &12.into()));
    assert_eq!(file["changes"], serde_json::json!(["size 7 -> 12", "content"]));
    let volumes = found["volumes"].as_array().unwrap();
    let names: Vec<&str> = volumes.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["filesystem root", "partition root"]);
    assert_eq!(
        (&volumes[0]["old"]["size"], &volumes[0]["new"]["size"]),
        (&"512 MiB".into(), &"600 MiB".into())
    );
    let stages: Vec<&Value> =
        found["recipes"].as_array().unwrap().iter().map(|it| &it["stage"]).collect();
    assert_eq!(stages, ["base", "disk"]);
    let text = project.kuth(&["diff", "out/small/small.raw", "other/small/small.raw"]).out;
    for line in [
        "packages: the same\n",
        "files: 0 added, 0 removed, 1 changed\n  ~ /etc/motd: size 7 -> 12, content\n",
        "  ~ filesystem root: size 512 MiB -> 600 MiB\n",
        "size: the same\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn two_trees_are_compared_by_their_keys() {
    let project = Small::fork();
    project.build(&[]);
    // rootfs has no kernel, and no text in /etc/motd of ours.
    let list = project.kuth(&["cache", "list"]).ok().out;
    let key = |kind: &str| {
        let mut lines = list.lines().filter(|line| line.contains(kind));
        lines.next().unwrap().split(' ').next().unwrap().to_string()
    };
    let found = diff(&project, &key(" bootstrap "), &key(" customise "));
    assert_eq!(found["packages"], Value::Array(Vec::new()));
    let paths = paths(&found);
    assert!(paths.contains(&"/boot/vmlinuz-6.12.1") && paths.contains(&"/etc/motd"), "{paths:?}");
    assert_eq!(found["volumes"], Value::Array(Vec::new()));
    // Disks by their keys too.
    let disk = key(" disk ");
    assert_eq!(diff(&project, &disk, "out/small/small.raw")["same"], true);
}

#[test]
fn added_and_removed_packages_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let tar = |name: &str, packages: &[(&str, &str)]| {
        let status: String = packages
            .iter()
            .map(|(name, version)| {
                format!("Package: {name}\nStatus: install ok installed\nArchitecture: all\nVersion: {version}\n\n")
            })
            .collect();
        let root = directory.path().join(format!("{name}.d"));
        std::fs::create_dir_all(root.join("var/lib/dpkg")).unwrap();
        std::fs::write(root.join("var/lib/dpkg/status"), status).unwrap();
        let path = directory.path().join(format!("{name}.tar"));
        let mut command = Command::new("tar");
        command.args(["--sort=name", "--mtime=@0", "-cf"]).arg(&path).arg("-C").arg(&root).arg(".");
        assert!(command.status().unwrap().success());
        path.to_str().unwrap().to_string()
    };
    let old = tar("old", &[("a", "1"), ("b", "1:1.0-1"), ("c", "1")]);
    let new = tar("new", &[("b", "1:1.0-2"), ("c", "1"), ("d", "5")]);
    let said = world().kuth(&["diff", &old, &new]);
    assert_eq!(said.status, 1);
    let expected = "packages: 1 added, 1 removed, 1 changed\n  - a 1 all\n  ~ b 1:1.0-1 -> 1:1.0-2 all\n  + d 5 all\n";
    assert!(said.out.starts_with(expected), "{}", said.out);
    world().kuth(&["diff", &old, &old]).ok();
}

#[test]
fn what_cannot_be_compared_is_reported() {
    // An export alone, without a cache: packages by its SBOM, volumes by its provenance.
    let directory = tempfile::tempdir().unwrap();
    for name in world().names() {
        std::fs::copy(world().out(&name), directory.path().join(&name)).unwrap();
    }
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_string();
    let nowhere = directory.path().join("cache");
    let nowhere = ["--cache", nowhere.to_str().unwrap()];
    let (first, raw) = (path("small.qcow2"), path("small.raw"));
    let words = [&["diff", &first, &raw][..], &nowhere].concat();
    let said = world().kuth(&words);
    assert_eq!(said.status, 1, "the sizes differ");
    assert!(
        said.out.starts_with("packages: the same\nfiles: the same\nvolumes: the same\n"),
        "{}",
        said.out
    );
    // Of a file that nothing is known of, nothing is taken for equal.
    std::fs::write(path("stray.raw"), "stray").unwrap();
    let stray = path("stray.raw");
    let words = [&["diff", &stray, &raw][..], &nowhere].concat();
    let said = world().kuth(&words);
    assert_eq!(said.status, 1);
    assert!(said.out.starts_with("packages: not known on both sides\n"), "{}", said.out);
    for word in ["nothing", "ffffffffffff", "out"] {
        let said = world().kuth(&["diff", word, SMALL]);
        assert_eq!(said.status, 2, "{word}: {}", said.err);
    }
}
