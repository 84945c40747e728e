//! Every key that names a file: a byte behind it moves the key of exactly the stages that read it,
//! also through a link and with its time kept. Times, other modes and the place of the checkout move
//! nothing.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::world::{BASE, FILES, World, documented, rewrite, set};

/// A key that names a file; the file in the base pipeline; the nodes that a byte of it moves.
type Row = (&'static str, &'static str, &'static str, &'static [&'static str]);

const ROWS: &[Row] = &[
    // Who may have signed is not what was signed, which is in the pin by digest.
    ("download", "keyring", "data/download.gpg", &[]),
    ("bootstrap", "keyring", "data/bootstrap.gpg", &[]),
    ("bootstrap", "repository.key", "data/one.gpg", &["rootfs"]),
    ("customise", "repository.key", "data/two.gpg", &["base"]),
    ("customise", "keyring", "data/customise.gpg", &[]),
    ("customise", "packages", "data/package.deb", &["base"]),
    ("customise", "file.source", "data/source", &["base"]),
    ("customise", "file.source", "data/directory/below/file", &["base"]),
    ("customise", "run.source", "data/script", &["base"]),
    ("customise", "guest-additions.iso", "data/additions.iso", &["more"]),
    ("install", "answers-file", "data/answers", &["installed"]),
    ("boot", "goss", "data/goss.yaml", &["check"]),
    ("boot", "goss", "data/goss.json", &["check2"]),
    ("boot", "goss-binary", "data/goss", &["check2"]),
    ("boot", "pytest", "data/tests/below/test_a.py", &["check"]),
    ("clone", "ssh-key", "data/ssh.pub", &["nodes/gate1", "nodes/web1"]),
    ("clone", "role.user-data", "data/user-data", &["nodes/gate1"]),
    ("clone", "role.meta-data", "data/meta-data", &["nodes/gate1"]),
    ("clone", "role.network-config", "data/network-config", &["nodes/gate1"]),
];

/// What the pipeline names: the file, or the directory that it is in.
fn named_path(file: &'static str) -> &'static str {
    file.split("/below/").next().unwrap()
}

#[test]
fn every_key_that_names_a_file_has_a_row() {
    let rows: BTreeSet<(&str, &str)> = ROWS.iter().map(|(kind, key, ..)| (*kind, *key)).collect();
    let keys = documented();
    let names_a_file =
        |kind: &str, meaning: &str| kind.starts_with("path") || meaning.contains("paths of files");
    let named = keys.iter().filter(|(_, row)| names_a_file(&row.kind, &row.meaning));
    let named: BTreeSet<(&str, &str)> =
        named.map(|(kind, row)| (*kind, row.key.as_str())).collect();
    assert_eq!(rows, named, "the rows, and what docs/pipeline.md says is a path");
    let files: BTreeSet<&str> = ROWS.iter().map(|(_, _, file, _)| *file).collect();
    assert_eq!(files, FILES.iter().map(|(path, _)| *path).collect(), "the files of the project");
}

/// The file's text with its last `A` turned into a `B`.
fn changed(text: &str) -> String {
    let (before, after) = text.rsplit_once('A').unwrap();
    format!("{before}B{after}")
}

fn text_of(file: &str) -> &'static str {
    FILES.iter().find(|(path, _)| *path == file).unwrap().1
}

#[test]
fn a_changed_byte_changes_the_keys_of_the_stages_that_read_it() {
    let world = World::new();
    let base = world.recipes(BASE);
    for (kind, key, file, expected) in ROWS {
        let text = text_of(file);
        rewrite(&world.at(file), &changed(text));
        assert_eq!(base.moved(&world.recipes(BASE)), set(expected), "{kind} `{key}`");
        rewrite(&world.at(file), text);
        assert_eq!(base.moved(&world.recipes(BASE)), set(&[]), "{kind} `{key}`");
    }
}

/// The file is a link, to another in the project and to one outside; of a directory, that is a link.
#[test]
fn a_changed_byte_behind_a_link_changes_them_as_well() {
    let elsewhere = tempfile::tempdir().unwrap();
    for (kind, key, file, expected) in ROWS {
        let world = World::new();
        let base = world.recipes(BASE);
        let named = world.at(named_path(file));
        let places = [world.at("data/shared"), elsewhere.path().join(key)];
        for (place, relative) in places.into_iter().zip([true, false]) {
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            let real = named.canonicalize().unwrap();
            std::fs::rename(&real, &place).unwrap();
            std::fs::remove_file(&named).ok();
            let target = if relative { Path::new("shared") } else { &place };
            symlink(target, &named).unwrap();
            assert_eq!(base.moved(&world.recipes(BASE)), set(&[]), "{kind} `{key}`, a link");
            rewrite(&world.at(file), &changed(text_of(file)));
            assert!(named.is_symlink());
            let moved = base.moved(&world.recipes(BASE));
            assert_eq!(moved, set(expected), "{kind} `{key}`, behind a link");
            rewrite(&world.at(file), text_of(file));
            // A second link on the way.
            let second = named.with_extension("second");
            std::fs::rename(&named, &second).unwrap();
            symlink(&second, &named).unwrap();
            assert_eq!(base.moved(&world.recipes(BASE)), set(&[]), "{kind} `{key}`, two links");
            std::fs::rename(&second, &named).unwrap();
        }
        std::fs::remove_file(elsewhere.path().join(key))
            .or_else(|_| std::fs::remove_dir_all(elsewhere.path().join(key)))
            .unwrap();
    }
}

#[test]
fn times_umask_and_path_change_no_key() {
    let world = World::new();
    let base = world.recipes(BASE);
    for (path, _) in FILES {
        let file = std::fs::File::options().write(true).open(world.at(path)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        file.set_permissions(PermissionsExt::from_mode(0o600)).unwrap();
    }
    let private = PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(world.at("data/directory"), private).unwrap();
    assert_eq!(base.moved(&world.recipes(BASE)), set(&[]));
    // Another checkout, with a cache and machines of its own.
    assert_eq!(base.moved(&World::new().recipes(BASE)), set(&[]));
}

/// Whether a file can be executed, a name in a directory, an empty directory, a link's target.
#[test]
fn modes_links_and_names_are_part_of_a_file_or_directory() {
    let world = World::new();
    let base = world.recipes(BASE);
    let moved = |expected: &[&str], what: &str| {
        assert_eq!(base.moved(&world.recipes(BASE)), set(expected), "{what}");
    };
    for file in ["data/source", "data/script", "data/directory/below/file"] {
        std::fs::set_permissions(world.at(file), PermissionsExt::from_mode(0o755)).unwrap();
        moved(&["base"], file);
        std::fs::set_permissions(world.at(file), PermissionsExt::from_mode(0o644)).unwrap();
    }
    moved(&[], "as it was");
    std::fs::rename(world.at("data/directory/below/file"), world.at("data/directory/below/other"))
        .unwrap();
    moved(&["base"], "another name");
    std::fs::rename(world.at("data/directory/below/other"), world.at("data/directory/below/file"))
        .unwrap();
    std::fs::create_dir(world.at("data/directory/empty")).unwrap();
    moved(&["base"], "an empty directory");
    std::fs::remove_dir(world.at("data/directory/empty")).unwrap();
    moved(&[], "as it was");
    // A link inside a directory is content: its target's text counts, what is there does not.
    symlink("below/file", world.at("data/directory/link")).unwrap();
    let linked = world.recipes(BASE);
    assert_eq!(base.moved(&linked), set(&["base"]));
    std::fs::remove_file(world.at("data/directory/link")).unwrap();
    symlink("below/../below/file", world.at("data/directory/link")).unwrap();
    assert_eq!(linked.moved(&world.recipes(BASE)), set(&["base"]));
}

/// A path that cannot be read is a fault of the file, with its place, before anything runs.
#[test]
fn a_path_without_a_file_is_a_fault() {
    let world = World::new();
    // Some keys know a path by its ending.
    for ending in ["", ".deb"] {
        symlink("nothing", world.at(&format!("data/dangling{ending}"))).unwrap();
        symlink(format!("circle{ending}"), world.at(&format!("data/circle{ending}"))).unwrap();
    }
    std::fs::create_dir(world.at("data/directory.deb")).unwrap();
    let said = |find: &str, replace: &str| {
        assert_eq!(BASE.matches(find).count(), 1, "{find}");
        world.load(&BASE.replacen(find, replace, 1)).map(drop).expect_err(replace)
    };
    for (_, _, file, _) in ROWS {
        let named = named_path(file);
        let key = format!("\"{named}\"");
        let ending = if named.ends_with(".deb") { ".deb" } else { "" };
        for (other, message, label) in [
            ("data/dangling", "NAME is a link to what is not there", "there is no nothing"),
            ("data/circle", "NAME is a link that ends nowhere", "the links lead in a circle"),
            ("data/missing", "there is no file NAME", "not found"),
        ] {
            let message = message.replace("NAME", &format!("`{other}{ending}`"));
            let said = said(&key, &format!("\"{other}{ending}\""));
            assert!(said.starts_with(&format!("error: {message}")), "{said}");
            assert!(said.contains(label) && said.contains("pipelines/keys.toml:"), "{said}");
        }
        if *file != "data/source" && named == *file {
            let said = said(&key, &format!("\"data/directory{ending}\""));
            let message = format!("error: `data/directory{ending}` is a directory");
            assert!(said.starts_with(&message), "{said}");
        }
    }
    let said = said("\"data/source\"", "\"/dev/null\"");
    assert!(said.starts_with("error: `/dev/null` is a pipe, a socket or a device"), "{said}");
}

/// Linux takes 64 characters (`HOST_NAME_MAX`), of which a label has at most 63.
#[test]
fn a_host_name_is_as_long_as_the_kernel_takes() {
    let world = World::new();
    let label = "a".repeat(63);
    let long = |length: usize| format!("{}.{}", "b".repeat(length - 33), "c".repeat(32));
    for written in ["\"base-host\"", "\"installed-host\""] {
        let load = |name: &str| world.load(&BASE.replacen(written, &format!("\"{name}\""), 1));
        for name in ["a", "a.b", "a-1.example", &label, &long(63), &long(64)] {
            assert!(load(name).is_ok(), "{name}");
        }
        for (name, message) in [
            (long(65), "is too long for a host name"),
            (long(90), "is too long for a host name"),
            ("a".repeat(64), "is not a host name"),
            ("a..b".into(), "is not a host name"),
            ("-a".into(), "is not a host name"),
            (String::new(), "is not a host name"),
        ] {
            let said = load(&name).map(drop).expect_err(&name);
            assert!(said.contains(&format!("`{name}` {message}")), "{said}");
            assert!(said.contains("hostname = ") && said.contains("help: "), "{said}");
        }
    }
    let said = world.load(&BASE.replacen("base-host", &long(65), 1)).map(drop).unwrap_err();
    assert!(said.contains("65 characters; Linux takes 64"), "{said}");
}
