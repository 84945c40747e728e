//! The index and the packages of a mirror. A snapshot that is named as the mirror is one.

use crate::world::{Archive, LIST, SUITE, World, asks, files, flipped, kept, package, world};
use kuth_test_support::http::{Answer, Request, Server};
use kuth_test_support::project::Project;

const NOT_SIGNED: &str = "the mirror's index is not signed by a key of the keyring";
const EXPIRED: &str = "the mirror's index is past its Valid-Until date";

/// What an index that is refused leaves: nothing.
fn untouched(project: &Project) {
    assert_eq!(kept(project), [""; 0]);
    for part in ["objects", "work", "downloads"] {
        assert_eq!(files(project, part), [""; 0].map(std::path::PathBuf::from), "{part}");
    }
    assert!(!project.path("p.lock").exists());
}

/// The index of `server` is refused by all of `commands`, with one error that has `parts`.
fn refused(project: &Project, server: &Server, keyring: &str, words: &[&str], parts: &[&str]) {
    for command in ["build", "update"] {
        let words = [&["--mirror", &server.address], words].concat();
        asks(project, command, keyring, &words).refused(parts);
        untouched(project);
    }
}

/// The index of `server` is taken.
fn taken(world: &World, server: &Server, words: &[&str]) {
    let project = world.project(&server.address[7..].replace(':', "-"));
    let words = [&["--mirror", &server.address], words].concat();
    asks(&project, "update", &world.keyring("ours"), &words).ok();
    assert!(project.read("p.lock").contains("name = \"dpkg\""));
}

/// Makes the archive's index one that was good until a day that has passed.
fn expire(world: &World, archive: &Archive) {
    let date = "Date: Wed, 01 Jan 2025 10:00:00 UTC\n";
    let until = format!("{date}Valid-Until: Wed, 08 Jan 2025 10:00:00 UTC\n");
    archive.edit(&format!("{SUITE}/Release"), date, &until);
    world.sign(&archive.path(SUITE));
}

#[test]
fn an_index_counts_by_the_keyring() {
    let Some(world) = world() else { return };
    let archive = world.archive("signed");
    let server = archive.served();
    taken(world, &server, &[]);
    let project = world.project("wrong-key");
    refused(&project, &server, &world.keyring("theirs"), &[], &[NOT_SIGNED, "keyring = \"PATH\""]);
    // With the signature beside it.
    world.sign_beside(&archive.path(SUITE));
    std::fs::remove_file(archive.path(SUITE).join("InRelease")).unwrap();
    taken(world, &server, &[]);
    refused(&project, &server, &world.keyring("theirs"), &[], &[NOT_SIGNED]);
}

#[test]
fn an_index_that_nobody_signed_is_refused() {
    let Some(world) = world() else { return };
    let archive = world.archive("unsigned");
    let server = archive.served();
    let (suite, project) = (archive.path(SUITE), world.project("unsigned"));
    let keyring = world.keyring("ours");
    // Neither `InRelease` nor `Release.gpg`, also where dates do not count.
    std::fs::remove_file(suite.join("InRelease")).unwrap();
    refused(&project, &server, &keyring, &[], &[NOT_SIGNED]);
    refused(&project, &server, &keyring, &["--allow-expired"], &[NOT_SIGNED]);
    // An `InRelease` without a signature in it.
    std::fs::copy(suite.join("Release"), suite.join("InRelease")).unwrap();
    refused(&project, &server, &keyring, &[], &[NOT_SIGNED]);
    // A signature of another text.
    archive.write(world);
    world.sign_beside(&suite);
    std::fs::remove_file(suite.join("InRelease")).unwrap();
    archive.edit(&format!("{SUITE}/Release"), "Label: Debian", "Label: Another");
    refused(&project, &server, &keyring, &[], &[NOT_SIGNED]);
}

#[test]
fn an_index_that_was_changed_is_refused() {
    let Some(world) = world() else { return };
    let archive = world.archive("changed");
    let server = archive.served();
    let (project, keyring) = (world.project("changed"), world.keyring("ours"));
    archive.edit(&format!("{SUITE}/InRelease"), "Label: Debian", "Label: Another");
    refused(&project, &server, &keyring, &[], &[NOT_SIGNED]);
    archive.edit(&format!("{SUITE}/InRelease"), "Label: Another", "Label: Debian");
    taken(world, &server, &[]);
    // What is around the signed text is not signed.
    let begin = "-----BEGIN PGP SIGNED MESSAGE-----";
    let (before, end) = (format!("Suite: sid\n\n{begin}"), "-----END PGP SIGNATURE-----\n");
    for (from, to) in [(begin, before), (end, format!("{end}Suite: sid\n"))] {
        archive.edit(&format!("{SUITE}/InRelease"), from, &to);
        refused(&project, &server, &keyring, &[], &[NOT_SIGNED, "what came is no signed text"]);
        archive.edit(&format!("{SUITE}/InRelease"), &to, from);
    }
    taken(world, &server, &[]);
    // The list of packages: of the same length, longer and shorter.
    let changed = "the mirror's list of packages is not the one that its index names";
    archive.edit(LIST, "Version: 1.0", "Version: 1.1");
    refused(&project, &server, &keyring, &[], &[changed]);
    archive.edit(LIST, "Version: 1.1", "Version: 1.10");
    refused(&project, &server, &keyring, &[], &[changed]);
    archive.edit(LIST, "Version: 1.10", "Version: 1");
    refused(&project, &server, &keyring, &[], &[changed]);
    archive.edit(LIST, "Version: 1", "Version: 1.0");
    taken(world, &server, &[]);
}

#[test]
fn an_index_counts_until_its_day() {
    let Some(world) = world() else { return };
    let archive = world.archive("expired");
    expire(world, &archive);
    let server = archive.served();
    let (project, keyring) = (world.project("expired"), world.keyring("ours"));
    refused(&project, &server, &keyring, &[], &[EXPIRED, "`--allow-expired`"]);
    taken(world, &server, &["--allow-expired"]);
    // The date alone is let pass.
    let allowed = ["--allow-expired"];
    refused(&project, &server, &world.keyring("theirs"), &allowed, &[NOT_SIGNED]);
    archive.edit(&format!("{SUITE}/InRelease"), "Label: Debian", "Label: Another");
    refused(&project, &server, &keyring, &allowed, &[NOT_SIGNED]);
}

#[test]
fn an_index_without_an_end_is_cut() {
    let Some(world) = world() else { return };
    let archive = world.archive("flooded");
    let project = world.project("flooded");
    let list = std::fs::metadata(archive.path(LIST)).unwrap().len();
    for (name, most) in [("InRelease", 16 << 20), ("Packages", list)] {
        let flood = move |request: &Request, file: Option<&[u8]>| {
            request.path.ends_with(name).then(|| Answer::flood(file.unwrap_or_default()))
        };
        let server = archive.serve(flood);
        let said = format!("expected at most {most} bytes, got ");
        let parts = [&said, " and closed the connection", &server.address, name];
        refused(&project, &server, &world.keyring("ours"), &[], &parts);
        // What is on its way when the connection is cut, for each of two commands.
        let sent = server.sent();
        assert!(sent > most && sent < 2 * (most + (16 << 20)), "{name}: {sent}");
    }
    // With the signature beside it.
    world.sign_beside(&archive.path(SUITE));
    std::fs::remove_file(archive.path(SUITE).join("InRelease")).unwrap();
    let server = archive.serve(|request, _| {
        request.path.ends_with("Release.gpg").then(|| Answer::flood(b"-----BEGIN"))
    });
    let parts = ["expected at most 1048576 bytes, got ", "Release.gpg"];
    refused(&project, &server, &world.keyring("ours"), &[], &parts);
    assert!(server.sent() < 2 * (17 << 20), "{}", server.sent());
}

/// Downloads from `server` what the index names; it is refused with `parts`. The first package
/// stays out of the cache, and so does a tree.
fn refused_package(world: &World, server: &Server, parts: &[&str]) {
    let project = world.project(&server.address[7..].replace(':', "-"));
    let words = ["--mirror", &server.address];
    let deb = "a package of the lock is other than it must be on the mirror";
    let name = ": dpkg 1.0 amd64";
    let address = "/pool/main/dpkg_1.0_amd64.deb";
    let parts = [&[deb, name, address, &server.address], parts].concat();
    asks(&project, "build", &world.keyring("ours"), &words).refused(&parts);
    assert!(!package(&project, &world.debs[0]).exists());
    let kept = kept(&project);
    assert!(!kept.iter().any(|kind| kind == "bootstrap"), "{kept:?}");
    assert_eq!(files(&project, "work"), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn a_package_is_the_one_that_the_index_names() {
    let Some(world) = world() else { return };
    let archive = world.archive("package");
    let server = archive.served();
    let place = archive.path(&world.debs[0].path);
    let good = std::fs::read(&place).unwrap();

    std::fs::write(&place, flipped(&world.debs[0].file)).unwrap();
    refused_package(world, &server, &["the SHA-256 is "]);
    std::fs::write(&place, &good[..good.len() - 1]).unwrap();
    let (all, less) = (good.len(), good.len() - 1);
    refused_package(world, &server, &[&format!("expected {all} bytes, got {less}")]);
    std::fs::write(&place, [&good[..], b"x"].concat()).unwrap();
    let more = format!("expected at most {all} bytes, the server announces {}", all + 1);
    refused_package(world, &server, &[&more]);

    // As it has to be, it is kept. What the two are not system of.
    std::fs::write(&place, &good).unwrap();
    let project = world.project("package");
    let run = asks(&project, "build", &world.keyring("ours"), &["--mirror", &server.address]);
    assert!(!run.err.contains("mirror"), "{}", run.err);
    assert!(world.debs.iter().all(|deb| package(&project, deb).exists()), "{}", run.err);
}

#[test]
fn a_package_without_an_end_is_cut() {
    let Some(world) = world() else { return };
    let archive = world.archive("package-flood");
    let server = archive.serve(|request, file| {
        let flood = || Answer::flood(file.unwrap_or_default());
        request.path.ends_with("dpkg_1.0_amd64.deb").then(flood)
    });
    let most = std::fs::metadata(&world.debs[0].file).unwrap().len();
    let said = format!("expected at most {most} bytes, got ");
    refused_package(world, &server, &[&said, " and closed the connection"]);
    // What waits between two ends of a connection, and no second try.
    let sent = server.sent();
    assert!(sent > most && sent < most + (16 << 20), "{sent}");
    let asked = server.requests();
    let asked = asked.iter().filter(|request| request.path.ends_with("dpkg_1.0_amd64.deb"));
    assert_eq!(asked.count(), 1);
}
