//! What is not a medium, or not the right one, or not whole: one error that says so.

use crate::world::{MEDIUM, build_from, world};
use kuth_test_support::medium::INFO;

/// How messages call the media of these tests.
const NAME: &str = "the medium Debian GNU/Linux 13.9.0 \"Trixie\" - Official amd64 DVD Binary-1";

#[test]
fn what_the_medium_does_not_have_is_named() {
    let world = world();
    let project = world.project("lacks");
    let iso = world.medium.iso();
    let parts =
        ["there is no suite `bookworm` on", NAME, "it has stable, trixie: name it with `suite`"];
    build_from(&project, &iso, &["--var", "suite=bookworm"]).refused(&parts);

    let components = "from = \"iso\"\ncomponents = [\"contrib\"]";
    project.write("p.toml", MEDIUM.replace("from = \"iso\"", components));
    let parts = ["no packages of contrib for amd64 on", "of trixie it has main", "`components`"];
    build_from(&project, &iso, &[]).refused(&parts);

    let several = "from = \"iso\"\npackages = [\"dpkg\", \"no-such-thing\", \"nor-this\"]";
    project.write("p.toml", MEDIUM.replace("from = \"iso\"", several));
    let parts = ["there is no no-such-thing and no nor-this in trixie (main) on", NAME, "a mirror"];
    build_from(&project, &iso, &[]).refused(&parts);

    project.write("p.toml", MEDIUM);
    let missing = build_from(&project, &iso, &["--var", "package=vim"]);
    missing.refused(&["there is no vim in trixie (main) on", NAME, "that names no `medium`"]);
}

#[test]
fn a_medium_for_others_is_refused() {
    let world = world();
    let project = world.project("others");
    let medium = world.medium.fork("arm64");
    medium.write(".disk/info", INFO.replace("amd64", "arm64"));
    build_from(&project, &medium.iso(), &[]).refused(&["is for arm64, not for amd64"]);

    let medium = world.medium.fork("noble");
    medium.write(
        ".disk/info",
        "Ubuntu-Server 24.04.3 LTS \"Noble Numbat\" - Release amd64 (20250805.1)",
    );
    let parts = ["is of ubuntu, not of debian", "`distribution`"];
    build_from(&project, &medium.iso(), &[]).refused(&parts);

    let medium = world.medium.fork("nothing");
    std::fs::remove_dir_all(medium.path("dists")).unwrap();
    build_from(&project, &medium.iso(), &[]).refused(&["has no directory `dists`"]);

    project.write("no.iso", "no image\n".repeat(10_000));
    let parts = ["sector 16 is not a volume descriptor", "a medium is an ISO 9660 image"];
    build_from(&project, &project.path("no.iso"), &[]).refused(&parts);
}

#[test]
fn a_medium_without_the_essential_packages_begins_no_tree() {
    let world = world();
    let project = world.project("no-base");
    let medium = world.medium.fork("extra");
    let lists = "dists/trixie/main/binary-amd64/Packages";
    let old = medium.read(lists);
    let new = old.replace("Essential: yes\n", "");
    let of = |text: &str| format!("{} {}", kuth::digest::Digest::of(text), text.len());
    medium.edit("dists/trixie/Release", &of(&old), &of(&new));
    medium.write(lists, new);
    let parts = ["the essential packages are not in trixie (main) of", NAME, "`customise`"];
    build_from(&project, &medium.iso(), &[]).refused(&parts);
}

#[test]
fn a_damaged_medium_is_refused() {
    let world = world();
    let project = world.project("damage");
    let deb = world.debs.iter().find(|deb| deb.path.contains("/dpkg_")).unwrap();
    let bytes = std::fs::read(&deb.file).unwrap();

    let medium = world.medium.fork("other-bytes");
    let mut other = bytes.clone();
    other[5000] ^= 1;
    medium.write(&deb.path, other);
    let parts = ["copying dpkg ", "from the medium", "its SHA-256 is", "compare its checksum"];
    build_from(&project, &medium.iso(), &[]).refused(&parts);

    let medium = world.medium.fork("longer");
    medium.write(&deb.path, [&bytes[..], b"x"].concat());
    build_from(&project, &medium.iso(), &[]).refused(&["copying dpkg ", ", more than "]);

    let medium = world.medium.fork("gone");
    medium.remove(&deb.path);
    let parts = ["copying dpkg ", &format!("there is no {}", deb.path), "several discs"];
    build_from(&project, &medium.iso(), &[]).refused(&parts);

    // An index that was looked at once is known by its `Release`.
    let project = world.project("damaged-list");
    let medium = world.medium.fork("other-list");
    let lists = "dists/trixie/main/binary-amd64/Packages";
    medium.edit(lists, "Package: dpkg\n", "Package: dpkh\n");
    let parts = ["binary-amd64/Packages of the medium", "`Release` says", "compare its checksum"];
    build_from(&project, &medium.iso(), &[]).refused(&parts);

    let medium = world.medium.fork("weak");
    medium.edit("dists/trixie/Release", "SHA256:", "MD5Sum:");
    build_from(&project, &medium.iso(), &[])
        .refused(&["no packages of main for amd64 on the medium"]);

    let medium = world.medium.fork("cut");
    let iso = medium.iso();
    let length = iso.metadata().unwrap().len();
    std::fs::File::options().write(true).open(&iso).unwrap().set_len(length * 2 / 3).unwrap();
    let parts = ["the image is cut short", "compare its checksum"];
    build_from(&project, &iso, &[]).refused(&parts);
}

#[test]
fn a_signature_that_does_not_count_is_refused() {
    let world = world();
    let project = world.project("foreign");
    let signed = world.medium.fork("foreign-inside");
    signed.write("dists/trixie/InRelease", world.signed());
    let parts = ["is not signed by a key of debian-archive-keyring", "`keyring = \"PATH\"`"];
    build_from(&project, &signed.iso(), &[]).refused(&parts);

    let keyring = format!("kind = \"bootstrap\"\nkeyring = \"{}\"", world.keyring());
    project.write("p.toml", MEDIUM.replace("kind = \"bootstrap\"", &keyring));
    let changed = world.medium.fork("changed");
    let text = world.signed().replace("Label: Debian", "Label: Another");
    changed.write("dists/trixie/InRelease", text);
    build_from(&project, &changed.iso(), &[])
        .refused(&["is not signed by a key of", "keyring.gpg"]);
    let parts = ["is not signed, by a key of", "leave `keyring` out"];
    build_from(&project, &world.medium.iso(), &[]).refused(&parts);
}

#[test]
fn a_mirror_beside_a_medium_is_a_fault_of_the_pipeline() {
    let project = world().project("both");
    let text = MEDIUM.replace("from = \"iso\"", "from = \"iso\"\nmirror = \"http://a/debian\"");
    let text = text.replace("medium = \"iso\"", "medium = \"iso\"\nmirror = \"http://a/debian\"");
    project.write("p.toml", &text);
    let run = project.kuth(&["check", "p.toml"]);
    assert_eq!(run.status, 2, "{}", run.err);
    for words in
        ["`mirror` and `from` exclude each other", "`mirror` and `medium` exclude each other"]
    {
        assert!(run.err.contains(words), "{}", run.err);
    }
}
