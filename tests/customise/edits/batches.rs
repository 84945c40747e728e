//! Large sets of packages are installed in batches.

use std::os::unix::fs::PermissionsExt;

use kuth_test_support::judge::tool;
use kuth_test_support::project::Project;

use super::{IN_PLACE, actions, anew, project, set};

const KIB: u64 = 1 << 10;

/// Makes the package `name` with a file of `kib` KiB, which is not compressed. It notes when it is
/// configured.
fn deb(project: &Project, (name, version): (&str, &str), kib: u64, lines: &str) {
    let data = project.path("data");
    let (files, package) = (data.join(name), data.join(format!("{name}-{version}.deb")));
    std::fs::create_dir_all(files.join("DEBIAN")).unwrap();
    let control = format!(
        "Package: {name}\nVersion: {version}\nMaintainer: a <a@example.org>\nArchitecture: all\n\
         {lines}Description: a test\n"
    );
    std::fs::write(files.join("DEBIAN/control"), control).unwrap();
    let script = files.join("DEBIAN/postinst");
    std::fs::write(&script, format!("#!/bin/sh\necho {name} >>/srv/order\n")).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir_all(files.join("srv/own")).unwrap();
    let file = std::fs::File::create(files.join("srv/own").join(name)).unwrap();
    file.set_len(kib * KIB).unwrap();
    let paths = [&files, &package].map(|path| path.to_str().unwrap());
    tool("dpkg-deb", &["--root-owner-group", "-Znone", "--build", paths[0], paths[1]]).unwrap();
    std::fs::remove_dir_all(&files).unwrap();
}

/// A stage that adds these packages, and copies in which order they were configured.
fn stage(packages: &[&str]) -> String {
    let packages: Vec<String> = packages.iter().map(|name| format!("data/{name}.deb")).collect();
    format!(
        "\n[stage.set]\nkind = \"customise\"\nfrom = \"before\"\npackages = {packages:?}\n\
         run = \"tr '\\\\n' ' ' </srv/order; ! ls /var/cache/apt/kuth-* 2>/dev/null\"\n"
    )
}

fn done(project: &Project) -> Vec<String> {
    let lines = actions(project).into_iter();
    lines.filter_map(|line| line.strip_suffix(": done").map(str::to_string)).collect()
}

#[test]
fn a_small_package_more_does_not_install_the_large_ones_again() {
    let (project, _directory) = project("batches-");
    deb(&project, ("large", "1"), 33 * KIB, "Depends: needed\n");
    deb(&project, ("needed", "1"), 1, "");
    deb(&project, ("middle", "1"), 600, "Depends: needed\n");
    deb(&project, ("small", "1"), 1, "");
    deb(&project, ("more", "1"), 1, "Depends: needed\n");
    let all = ["large-1", "needed-1", "middle-1", "small-1", "more-1"];
    let rest = ["initial RAM disks", "script 1"];
    set(&project, &stage(&all[..4]));
    assert_eq!(done(&project), [&["packages", "packages 2", "packages 3"][..], &rest].concat());
    let digest = set(&project, &stage(&all));
    assert_eq!(done(&project), [&["packages 3"][..], &rest].concat());
    let log = project.log("base", "set");
    assert!(log.contains("\nneeded large middle "), "{log}");
    // Whatever was built before.
    assert_eq!(anew(&project, &[]), digest);
    assert_eq!(anew(&project, &IN_PLACE), digest);
    let names = ["small-1", "more-1", "middle-1", "large-1", "needed-1"];
    assert_eq!(set(&project, &stage(&names)), digest);
}

#[test]
fn a_set_that_cannot_be_taken_apart_is_installed_in_one_go() {
    let (project, _directory) = project("whole-");
    deb(&project, ("large", "1"), 33 * KIB, "Breaks: old (<< 1:2)\n");
    deb(&project, ("middle", "1"), 600, "");
    deb(&project, ("old", "1:2"), 1, "");
    let digest = set(&project, &stage(&["large-1", "middle-1", "old-1:2"]));
    let log = project.log("base", "set");
    let said = "these packages are installed together with the others";
    assert_eq!(log.lines().filter(|line| *line == said).count(), 1, "{log}");
    assert_eq!(done(&project).len(), 5);
    assert_eq!(anew(&project, &IN_PLACE), digest);
}
