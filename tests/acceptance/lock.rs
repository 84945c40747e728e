//! The lock beside the pipeline, and building without a network.

use std::collections::BTreeSet;

use crate::small::{SMALL, add};
use crate::tools::is_root;
use crate::world::{DEBIAN, directory, world};

#[test]
fn the_first_build_writes_every_package_into_the_lock() {
    let world = world();
    let path = world.project.root.join("pipelines/debian.lock");
    let text = std::fs::read_to_string(&path).unwrap();
    let lock: toml::Table = text.parse().unwrap();
    let parts: BTreeSet<String> = lock["stage"]
        .as_table()
        .unwrap()
        .iter()
        .flat_map(|(stage, entries)| {
            let part = |entry: &toml::Value| format!("{stage} {}", entry["part"].as_str().unwrap());
            entries.as_array().unwrap().iter().map(part).collect::<Vec<_>>()
        })
        .collect();
    let wanted = [
        "base guest-additions",
        "base packages",
        "disk boot-loader",
        "disk tools",
        "rootfs packages",
    ];
    assert_eq!(parts, wanted.map(String::from).into());
    for name in ["linux-image-amd64", "cloud-init", "dpkg", "e2fsprogs"] {
        assert!(text.contains(&format!("name = \"{name}\"")), "{name}");
    }
    let before = path.metadata().unwrap().modified().unwrap();
    world.project.build(&[DEBIAN, "--locked"]).ok().assert_all("cached");
    assert_eq!(path.metadata().unwrap().modified().unwrap(), before, "written without need");
}

#[test]
fn without_network_what_is_missing_is_named_and_what_is_there_suffices() {
    if !is_root("a network namespace") {
        return;
    }
    let world = world();
    let mut project = world.with_packages("offline");
    add(&project);
    let packages = project.cache.clone();
    let empty = directory("empty");
    project.cache = empty.path().join("cache");
    for args in [&["--offline"][..], &[]] {
        let words = [&[SMALL, "rootfs"], args].concat();
        let run = project.through(&["unshare", "--net", "--"]).build(&words).ended(1);
        assert_eq!(run.err.matches("error:").count(), 1, "{}", run.err);
        eprintln!("{}", run.err);
        let lock = std::fs::read_to_string(project.root.join("pipelines/small.lock")).unwrap();
        let lock: toml::Table = lock.parse().unwrap();
        let rootfs = lock["stage"]["rootfs"][0]["package"].as_array().unwrap();
        let named = rootfs
            .iter()
            .any(|package| run.of("rootfs", "reason").contains(package["name"].as_str().unwrap()));
        assert!(named, "no package is named: {}", run.err);
    }

    project.cache = packages;
    let apart = project.through(&["unshare", "--net", "--"]);
    let run = apart.build(&[SMALL, "rootfs", "--offline"]).ok();
    assert_eq!(run.of("rootfs", "state"), "done");
    assert_eq!(run.of("rootfs", "digest"), world.first.of("rootfs", "digest"));
}
