//! The index and the packages of a medium.

use crate::world::{LIST, SUITE, World, flipped, kept, package, world};
use kuth_test_support::medium::Medium;
use kuth_test_support::project::Project;
use kuth_test_support::run::Run;

/// As on a mirror, from a medium.
pub const PIPELINE: &str = r#"
[pipeline]
name = "t"

[vars]
iso = ""

[stage.iso]
kind = "download"
url = "file://${iso}"

[stage.rootfs]
kind = "bootstrap"
from = "iso"
suite = "trixie"
"#;

/// The same, which has to be signed.
fn signed_pipeline(keyring: &str) -> String {
    PIPELINE.replace("from = \"iso\"", &format!("from = \"iso\"\nkeyring = \"{keyring}\""))
}

fn build(project: &Project, medium: &Medium, words: &[&str]) -> Run {
    let _ = std::fs::remove_file(project.path("p.lock"));
    let iso = format!("iso={}", medium.iso().display());
    project.kuth(&[&["build", "p.toml", "--offline", "--var", &iso], words].concat())
}

/// Refused with one error, and nothing of the medium kept but its image.
fn refused(project: &Project, medium: &Medium, words: &[&str], parts: &[&str]) {
    build(project, medium, words).refused(parts);
    let kept = kept(project);
    assert!(kept.iter().all(|kind| kind == "download"), "{kept:?}");
    assert!(!project.path("p.lock").exists() || !project.read("p.lock").contains("rootfs"));
}

/// The medium is taken for what it is: its packages are in the cache. The two are not system.
fn taken(world: &World, project: &Project, medium: &Medium, words: &[&str]) {
    let run = build(project, medium, words);
    assert!(world.debs.iter().all(|deb| package(project, deb).exists()), "{}", run.err);
    std::fs::remove_dir_all(project.path("cache")).unwrap();
}

/// A signed medium.
fn signed(world: &World, name: &str) -> Medium {
    let medium = world.medium(name);
    world.sign(&medium.path(SUITE));
    medium
}

#[test]
fn a_signed_medium_counts_by_the_keyring() {
    let Some(world) = world() else { return };
    let medium = signed(world, "medium-signed");
    let project = world.project("medium-signed");
    let not_signed = "is not signed by a key of";
    project.write("p.toml", signed_pipeline(&world.keyring("theirs")));
    refused(&project, &medium, &[], &[not_signed, "keyring.gpg"]);
    project.write("p.toml", PIPELINE);
    refused(&project, &medium, &[], &[not_signed, "debian-archive-keyring"]);
    project.write("p.toml", signed_pipeline(&world.keyring("ours")));
    taken(world, &project, &medium, &[]);

    // Somebody took the signature away, or put another text before it.
    let bare = world.medium("medium-bare");
    refused(&project, &bare, &[], &["is not signed, by a key of"]);
    let changed = signed(world, "medium-changed");
    changed.edit(&format!("{SUITE}/InRelease"), "Label: Debian", "Label: Another");
    refused(&project, &changed, &[], &[not_signed]);
    let beside = world.medium("medium-beside");
    world.sign_beside(&beside.path(SUITE));
    beside.edit(&format!("{SUITE}/Release"), "Label: Debian", "Label: Another");
    refused(&project, &beside, &[], &[not_signed]);
    beside.edit(&format!("{SUITE}/Release"), "Label: Another", "Label: Debian");
    std::fs::remove_file(world.path("medium-beside.iso")).unwrap();
    taken(world, &project, &beside, &[]);
}

#[test]
fn a_signed_medium_counts_until_its_day() {
    let Some(world) = world() else { return };
    let expire = |medium: &Medium| {
        let date = "Date: Wed, 01 Jan 2025 10:00:00 UTC\n";
        let until = format!("{date}Valid-Until: Wed, 08 Jan 2025 10:00:00 UTC\n");
        medium.edit(&format!("{SUITE}/Release"), date, &until);
    };
    let medium = world.medium("medium-expired");
    expire(&medium);
    world.sign(&medium.path(SUITE));
    let project = world.project("medium-expired");
    project.write("p.toml", signed_pipeline(&world.keyring("ours")));
    refused(&project, &medium, &[], &["is past its Valid-Until date", "`--allow-expired`"]);
    taken(world, &project, &medium, &["--allow-expired"]);
    // Nobody answers for the date of one that is not signed.
    let bare = world.medium("medium-old");
    expire(&bare);
    project.write("p.toml", PIPELINE);
    taken(world, &project, &bare, &[]);
}

#[test]
fn a_medium_agrees_with_its_release() {
    let Some(world) = world() else { return };
    for kind in ["signed", "bare"] {
        let project = world.project(&format!("medium-agrees-{kind}"));
        let make = |name: &str| match kind {
            "signed" => signed(world, name),
            _ => world.medium(name),
        };
        project.write(
            "p.toml",
            &match kind {
                "signed" => signed_pipeline(&world.keyring("ours")),
                _ => PIPELINE.to_string(),
            },
        );
        let list = make(&format!("medium-list-{kind}"));
        list.edit(LIST, "Version: 1.0", "Version: 1.1");
        refused(&project, &list, &[], &["`Release` says ", "compare its checksum"]);

        let other = make(&format!("medium-deb-{kind}"));
        let deb = &world.debs[0];
        other.write(&deb.path, flipped(&deb.file));
        let parts = ["copying dpkg 1.0 amd64 from", "its SHA-256 is "];
        build(&project, &other, &[]).refused(&parts);
        assert!(!package(&project, deb).exists());
        let longer = make(&format!("medium-long-{kind}"));
        let bytes = [&std::fs::read(&deb.file).unwrap()[..], b"x"].concat();
        longer.write(&deb.path, bytes);
        build(&project, &longer, &[]).refused(&["copying dpkg 1.0 amd64 from", ", more than "]);
        assert!(!package(&project, deb).exists());
        assert!(!kept(&project).iter().any(|kind| kind == "bootstrap"));
    }
}
