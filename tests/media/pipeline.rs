//! `pipelines/debian-iso.toml` as it is, with a DVD made here in the place of Debian's: its
//! checksums in a list that is signed, its packages those that a mirror gave for the same stages.

use kuth::digest::Sums;
use std::path::PathBuf;

use crate::world::{NOWHERE, kuth_alone, world};
use kuth_test_support::base::{collect_packages, lend_packages};
use kuth_test_support::medium::Medium;
use kuth_test_support::mirror::{self, Deb};
use kuth_test_support::project::Project;
use kuth_test_support::run::Run;

/// The pipeline of the repository.
pub const PIPELINE: &str = include_str!("../../pipelines/debian-iso.toml");
/// The keys that sign Debian's images.
const KEYS: &str = include_str!("../../data/keys/debian-cd.asc");
/// The place of the pipeline in a project.
pub const FILE: &str = "pipelines/debian-iso.toml";
/// The version that the DVD here has.
const VERSION: &str = "13.9.0";

/// A directory as the server of Debian's images has one.
pub struct Place {
    directory: PathBuf,
    keyring: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Place {
    /// With a DVD of `medium`, and the list of its checksums signed.
    pub fn new(directory: PathBuf, medium: &Medium) -> Place {
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let name = format!("debian-{VERSION}-amd64-DVD-1.iso");
        let iso = directory.join(&name);
        std::fs::rename(medium.iso(), &iso).unwrap();
        let mut sums = Sums::both();
        sums.update(&std::fs::read(&iso).unwrap());
        let (_, sha512, _) = sums.finish();
        let list = directory.join("SHA512SUMS");
        std::fs::write(&list, format!("{}  {name}\n", sha512.unwrap())).unwrap();
        let keys = world().directory.join("keys");
        mirror::sign_beside(&list, &directory.join("SHA512SUMS.sign"), &keys);
        Place { directory, keyring: world().keyring() }
    }

    /// Builds `stages` of the pipeline of `project` without network.
    pub fn build(&self, project: &Project, stages: &[&str]) -> Run {
        let place = format!("place=file://{}", self.directory.display());
        let keyring = format!("keyring={}", self.keyring);
        let version = format!("version={VERSION}");
        let words = ["build", FILE, "--message-format", "json", "--mirror", NOWHERE, "--offline"];
        let variables = ["--var", &place, "--var", &keyring, "--var", &version];
        kuth_alone(project, &[&words[..], &variables, stages].concat())
    }
}

/// Builds the disk of `pipeline` from the mirror of this machine; the results, and the packages
/// that it took.
pub fn from_mirror(project: &Project, pipeline: &str) -> (Run, Vec<Deb>) {
    let mirrored = pipeline.replace("from = \"iso\"\n", "").replace("medium = \"iso\"\n", "");
    assert_eq!(mirrored.matches("\"iso\"").count(), 0, "{mirrored}");
    project.write("p.toml", &mirrored);
    let keyring = format!("keyring={}", world().keyring());
    lend_packages(&project.cache);
    let built = project.build(&["p.toml", "disk", "--var", &keyring]).ok();
    collect_packages(&project.cache);
    let debs = mirror::debs(project, "p.lock");
    (built, debs)
}

#[test]
fn the_pipeline_makes_of_a_dvd_what_it_would_of_a_mirror() {
    let world = world();
    let mirrored = world.project("mirrored");
    let (expected, debs) = from_mirror(&mirrored, PIPELINE);
    let medium = Medium::new(&world.directory.join("whole"), &debs, &world.directory.join("keys"));
    let place = Place::new(world.directory.join("place"), &medium);
    drop(mirrored);
    drop(medium);

    let project = world.project("pipeline");
    project.write(FILE, PIPELINE);
    let built = place.build(&project, &[]).ok();
    for stage in ["rootfs", "base", "disk"] {
        assert_eq!(built.digest(stage), expected.digest(stage), "{stage}");
    }
    let image = project.path("out/debian-iso/debian-iso.qcow2");
    assert!(image.metadata().unwrap().len() > 100 << 20);

    // Where it is from is told: the DVD, and each package by its hash.
    let told = project.read("out/debian-iso/debian-iso.qcow2.intoto.json");
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let materials = &told["predicate"]["buildDefinition"]["resolvedDependencies"];
    let materials: Vec<&str> =
        materials.as_array().unwrap().iter().map(|it| it["uri"].as_str().unwrap()).collect();
    let iso = format!("file:debian-{VERSION}-amd64-DVD-1.iso");
    assert!(materials.contains(&iso.as_str()), "{materials:?}");
    for name in ["dpkg", "linux-image-amd64", "xfsprogs"] {
        let url = format!("pkg:deb/debian/{name}@");
        assert!(
            materials.iter().any(|material| material.starts_with(&url)),
            "{name}: {materials:?}"
        );
    }
    let lock = project.read("pipelines/debian-iso.lock");
    assert_eq!(lock.matches(&format!("medium = \"{}\"", built.digest("iso"))).count(), 4, "{lock}");

    // The list vouches for the image, and nothing else does.
    let list = place.directory.join("SHA512SUMS");
    let text = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, text.replace("debian", "Debian")).unwrap();
    let other = world.project("pipeline-changed");
    other.write(FILE, PIPELINE);
    place.build(&other, &[]).refused(&["the text was changed"]);
}

#[test]
fn the_pipeline_is_sound() {
    let project = world().project("checked");
    project.write(FILE, PIPELINE);
    project.write("data/keys/debian-cd.asc", KEYS);
    let checked = project.kuth(&["check", FILE]).ok();
    assert_eq!(checked.out, format!("{FILE}: ok, 5 stages\n"));

    let words = ["check", FILE, "--var", "keyring=/usr/share/keyrings/no-such-keys.gpg"];
    let checked = project.kuth(&words);
    let hint = "debian-keyring those of its images (debian-role-keys.gpg)";
    assert!(checked.status == 2 && checked.err.contains(hint), "{}", checked.err);
}
