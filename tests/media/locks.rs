//! The lock says of which medium its packages are.

use crate::world::{MEDIUM, NOWHERE, build_from, world};

#[test]
fn the_lock_is_for_one_medium() {
    let world = world();
    let project = world.project("locks");
    let iso = world.medium.iso();
    build_from(&project, &iso, &[]).ok();
    let lock = project.read("p.lock");

    // The same packages, on a medium of another day.
    let other = world.medium.fork("another-day");
    other.write(".disk/info", other.read(".disk/info").replace("13.9.0", "13.10.0"));
    let other = other.iso();
    let run = build_from(&project, &other, &["--locked"]);
    // Which file the new address means is not locked either.
    assert_eq!(run.status, 1);
    assert!(run.err.contains("the lock does not say which file `iso` means"), "{}", run.err);
    assert_eq!(project.read("p.lock"), lock);

    let name = format!("iso={}", other.display());
    let words = ["update", "p.toml", "--mirror", NOWHERE, "--var", &name];
    let run = project.kuth(&words).ok();
    assert!(run.out.contains("unchanged"), "{}{}", run.out, run.err);
    let lock = project.read("p.lock");
    assert!(lock.contains("13.10.0") && !lock.contains("13.9.0"), "{lock}");
    // The packages are the same, so what is made of them is found by its digest.
    let built = build_from(&project, &other, &["--locked", "--offline"]).ok();
    assert_eq!(["rootfs", "base"].map(|stage| built.digest(stage)), world.digests);
    let run = build_from(&project, &iso, &["--locked"]);
    let words = "the medium is another than the lock's, Debian GNU/Linux 13.10.0";
    assert!(run.status == 1 && run.err.contains(words), "{}", run.err);

    // What is asked anew of the medium is known before anything runs.
    let run = build_from(&project, &other, &["--locked", "--var", "package=less"]);
    let words = "the lock does not say which packages `base` means: less is new, htop is no longer";
    assert!(run.status == 1 && run.err.contains(words), "{}", run.err);
}

#[test]
fn entries_of_a_mirror_and_of_a_medium_are_not_exchangeable() {
    let world = world();
    let project = world.project("change");
    let first = world.directory.join("first");
    let lock = std::fs::read_to_string(first.join("p.lock")).unwrap();
    project.write("p.lock", &lock);
    let iso = format!("sha256 = \"{}\"", kuth_digest(&world.medium.iso()));
    project.write(
        "p.toml",
        MEDIUM.replace("kind = \"download\"", &format!("kind = \"download\"\n{iso}")),
    );
    let run = build_from(&project, &world.medium.iso(), &["--locked"]);
    let words = "`rootfs` means: it has those of a mirror, not of a medium";
    assert!(run.status == 1 && run.err.contains(words), "{}", run.err);

    // And the other way round.
    project.take(&first.join("cache"), &["packages"]);
    build_from(&project, &world.medium.iso(), &[]).ok();
    let mirror = std::fs::read_to_string(first.join("p.toml")).unwrap();
    project.write("p.toml", &mirror);
    let run = project.kuth(&["build", "p.toml", "--locked", "--mirror", NOWHERE]);
    let words = "`rootfs` means: it has those of the medium Debian GNU/Linux 13.9.0";
    assert!(run.status == 1 && run.err.contains(words), "{}", run.err);
    // The medium's index in the cache is none of a mirror's.
    let run = project.kuth(&["build", "p.toml", "--offline"]);
    let words = "the packages of `trixie` are not locked yet, and kuth is offline";
    assert!(run.status == 1 && run.err.contains(words), "{}", run.err);
}

fn kuth_digest(path: &std::path::Path) -> String {
    kuth::digest::of_reader(std::fs::File::open(path).unwrap()).unwrap().0.to_string()
}
