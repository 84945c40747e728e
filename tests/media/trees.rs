//! Trees from media, compared with those from the mirror.

use crate::world::{MEDIUM, build_from, file, world};
use kuth_test_support::mirror;

#[test]
fn an_unsigned_medium_gives_the_mirror_s_tree_without_a_network() {
    let world = world();
    let project = world.project("unsigned");
    let iso = world.medium.iso();
    let built = build_from(&project, &iso, &["--offline"]).ok();
    assert_eq!(["rootfs", "base"].map(|stage| built.digest(stage)), world.digests);
    let sources = file(&project, built.digest("base"), "etc/apt/sources.list.d/debian.sources");
    let expected = "URIs: http://ftp.debian.org/debian\nSuites: trixie trixie-updates\n";
    assert!(sources.contains(expected), "{sources}");
    let lock = project.read("p.lock");
    let label = "label = 'Debian GNU/Linux 13.9.0 \"Trixie\" - Official amd64 DVD Binary-1'";
    assert!(lock.contains(label), "{lock}");
    assert!(lock.contains(&format!("medium = \"{}\"", built.digest("iso"))), "{lock}");

    let again = build_from(&project, &iso, &["--offline", "--locked"]).ok();
    assert_eq!(again.count("run"), 0);
    let again = ["--offline", "--locked", "--rebuild", "base", "--rebuild", "rootfs"];
    let again = build_from(&project, &iso, &again).ok();
    assert_eq!((again.count("run"), again.digest("base")), (2, world.digests[1].as_str()));
}

#[test]
fn a_suite_by_its_other_name_and_compressed_lists_will_do() {
    let world = world();
    let medium = world.medium.fork("compressed");
    let lists = "dists/trixie/main/binary-amd64/Packages";
    mirror::run(std::process::Command::new("gzip").arg("-nkf").arg(medium.path(lists)));
    let compressed = std::fs::read(medium.path(&format!("{lists}.gz"))).unwrap();
    medium.remove(lists);
    let (digest, length) = (kuth::digest::Digest::of(&compressed), compressed.len());
    // The archive has a smaller one, the medium has not.
    let added = format!(
        "SHA256:\n {digest} {length} main/binary-amd64/Packages.gz\n {digest} 10 \
         main/binary-amd64/Packages.xz\n"
    );
    medium.edit("dists/trixie/Release", "SHA256:\n", &added);
    let project = world.project("compressed-project");
    let built = build_from(&project, &medium.iso(), &["--var", "suite=stable", "rootfs"]).ok();
    // What is installed is the same; the sources name the suite as the pipeline does.
    let status = file(&project, built.digest("rootfs"), "var/lib/dpkg/status");
    assert!(status.contains("Package: dpkg\n"));
    let sources = file(&project, built.digest("rootfs"), "etc/apt/sources.list.d/debian.sources");
    assert!(sources.contains("Suites: stable stable-updates\n"), "{sources}");
}

#[test]
fn a_directory_of_its_files_is_a_medium_too() {
    let world = world();
    let project = world.project("directory");
    let directory = "[stage.directory]\nkind = \"unpack\"\nfrom = \"iso\"\n";
    let pipeline = MEDIUM.replace("from = \"iso\"", "from = \"directory\"");
    let pipeline = pipeline.replace("medium = \"iso\"", "medium = \"directory\"");
    project.write("p.toml", format!("{pipeline}\n{directory}"));
    let medium = world.medium.fork("files");
    let built = build_from(&project, &medium.tar(), &["--offline"]).ok();
    assert_eq!(["rootfs", "base"].map(|stage| built.digest(stage)), world.digests);
}

#[test]
fn a_signature_is_checked_by_a_keyring() {
    let world = world();
    let keyring = format!("kind = \"bootstrap\"\nkeyring = \"{}\"", world.keyring());
    let project = world.project("signed");
    project.write("p.toml", MEDIUM.replace("kind = \"bootstrap\"", &keyring));
    let inside = world.medium.fork("inside");
    inside.write("dists/trixie/InRelease", world.signed());
    let beside = world.medium.fork("beside");
    beside.write("dists/trixie/Release.gpg", world.signature());
    for medium in [inside, beside] {
        let built = build_from(&project, &medium.iso(), &["rootfs"]).ok();
        assert_eq!(built.digest("rootfs"), world.digests[0]);
    }
}

#[test]
fn what_the_cache_has_is_not_read_again() {
    let world = world();
    let medium = world.medium.fork("hollow");
    for deb in &world.debs {
        medium.write(&deb.path, "");
    }
    let project = world.project("stored");
    project.take(&world.directory.join("first/cache"), &["packages"]);
    let built = build_from(&project, &medium.iso(), &["--offline"]).ok();
    assert_eq!(built.digest("base"), world.digests[1]);
}
