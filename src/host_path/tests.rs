//! What counts of a file or directory, and that a change between hashing and reading is noticed.

use std::os::unix::fs::symlink;
use std::time::SystemTime;

use super::*;
use crate::error::hints;
use crate::recipe::Key;

fn text(path: &Path) -> String {
    let mut recipe = Recipe::new("x", 1);
    HostPath::new(path).describe(&mut recipe, "file").unwrap();
    recipe.lines().skip(3).map(|line| format!("{line}\n")).collect()
}

fn key(path: &Path) -> Key {
    let mut recipe = Recipe::new("x", 1);
    HostPath::new(path).describe(&mut recipe, "file").unwrap();
    recipe.key()
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn contents_names_and_modes_move_the_key_and_times_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a");
    std::fs::write(&file, "one").unwrap();
    let first = key(directory.path());
    File::open(&file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(key(directory.path()), first);
    set_mode(&file, 0o755);
    assert_ne!(key(directory.path()), first);
    set_mode(&file, 0o600);
    assert_eq!(key(directory.path()), first);
    std::fs::write(&file, "two").unwrap();
    assert_ne!(key(directory.path()), first);
    std::fs::write(&file, "one").unwrap();
    assert_eq!(key(directory.path()), first);
    std::fs::write(directory.path().join("b"), "").unwrap();
    assert_ne!(key(directory.path()), first);
}

/// The digest is that of `printf abc | sha256sum`.
#[test]
fn the_lines_are_pinned() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir(at("d")).unwrap();
    std::fs::write(at("d/b"), "abc").unwrap();
    std::fs::write(at("d/a b"), "abc").unwrap();
    set_mode(&at("d/b"), 0o755);
    symlink("../up", at("d/c")).unwrap();
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(
        text(&at("d")),
        format!(
            "file = directory\nfile/a b = {ABC}\nfile/b = {ABC} executable\nfile/c = link to ../up\n"
        )
    );
    assert_eq!(text(&at("d/b")), format!("file = {ABC} executable\n"));
    assert_eq!(HostPath::new(at("d/b")).digest().unwrap().to_string(), ABC);
    assert!(HostPath::new(at("d")).digest().is_err());
}

#[test]
fn a_link_is_followed_and_one_inside_a_directory_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir(at("d")).unwrap();
    std::fs::write(at("d/a"), "one").unwrap();
    symlink("a", at("d/inner")).unwrap();
    symlink("d", at("to-d")).unwrap();
    symlink("d/a", at("to-a")).unwrap();
    assert_eq!(text(&at("to-a")), text(&at("d/a")));
    assert_eq!(text(&at("to-d")), text(&at("d")));
    let path = HostPath::new(at("to-d"));
    path.copy(&at("copy")).unwrap();
    assert!(!at("copy").is_symlink() && at("copy/a").is_file());
    assert_eq!(std::fs::read_link(at("copy/inner")).unwrap(), Path::new("a"));
    assert_eq!(path.real().unwrap(), at("d").canonicalize().unwrap());
    assert!(path.to_string().contains("to-d (a link to /"), "{path}");
}

/// Names that a careless reader takes for one: each pair differs in the name alone.
#[test]
fn no_two_names_are_one() {
    let named = |name: &[u8]| {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(OsStr::from_bytes(name)), "").unwrap();
        text(directory.path())
    };
    let linked = |target: &[u8]| {
        let directory = tempfile::tempdir().unwrap();
        symlink(OsStr::from_bytes(target), directory.path().join("l")).unwrap();
        text(directory.path())
    };
    for (one, other) in
        [(&b"a\xff"[..], &b"a\xfe"[..]), (b"a\xff", b"\"a\\xff\""), (b"a\n", b"\"a\\n\"")]
    {
        assert_ne!(named(one), named(other));
        assert_ne!(linked(one), linked(other));
    }
    assert_eq!(named(b"a\nfile = x").lines().count(), 2);
}

#[test]
fn a_change_after_hashing_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir(at("d")).unwrap();
    std::fs::write(at("d/a"), "one").unwrap();
    let time = at("d/a").metadata().unwrap().modified().unwrap();
    let (directory, file, digested) =
        (HostPath::new(at("d")), HostPath::new(at("d/a")), HostPath::new(at("d/a")));
    directory.describe(&mut Recipe::new("x", 1), "d").unwrap();
    file.describe(&mut Recipe::new("x", 1), "a").unwrap();
    digested.digest().unwrap();
    directory.copy(&at("c1")).unwrap();
    file.copy(&at("c2")).unwrap();
    assert_eq!(file.read(3).unwrap(), b"one");
    std::fs::write(at("d/a"), "two").unwrap();
    File::open(at("d/a")).unwrap().set_modified(time).unwrap();
    let error = directory.copy(&at("c3")).unwrap_err();
    assert!(format!("{error:#}").contains("d/a changed after it was hashed"), "{error:#}");
    assert!(hints(&error)[0].contains("build again"), "{error:?}");
    for error in [file.copy(&at("c4")).unwrap_err(), file.read(3).unwrap_err()] {
        assert!(error.to_string().contains("a changed after it was hashed"), "{error:#}");
    }
    assert!(digested.read(3).is_err() && digested.copy(&at("c5")).is_err());
    // What was read first is what counts for those who come later.
    let read = HostPath::new(at("d/a"));
    read.read(3).unwrap();
    std::fs::write(at("d/a"), "one").unwrap();
    assert!(read.read(3).is_err());
    // Back to what was hashed, or with one file more.
    directory.copy(&at("c6")).unwrap();
    std::fs::write(at("d/new"), "").unwrap();
    assert!(directory.copy(&at("c7")).unwrap_err().to_string().contains("/new changed"));
    std::fs::remove_file(at("d/new")).unwrap();
    std::fs::remove_file(at("d/a")).unwrap();
    assert!(directory.copy(&at("c8")).unwrap_err().to_string().contains("/a changed"));
}

#[test]
fn a_copy_has_the_modes_that_git_keeps() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir(at("d")).unwrap();
    set_mode(&at("d"), 0o700);
    for (name, mode) in [("plain", 0o600), ("run", 0o700)] {
        std::fs::write(at("d").join(name), name).unwrap();
        set_mode(&at("d").join(name), mode);
    }
    HostPath::new(at("d")).copy(&at("copy")).unwrap();
    let mode = |name: &str| at(name).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode("copy"), mode("copy/plain"), mode("copy/run")], [0o755, 0o644, 0o755]);
}

#[test]
fn what_cannot_be_read_is_told_by_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    symlink("gone", at("dangling")).unwrap();
    symlink("loop", at("loop")).unwrap();
    std::fs::write(at("file"), "1234").unwrap();
    let look = |name: &str| HostPath::new(at(name)).look();
    assert!(matches!(look("nothing"), Err(PathError::Missing)));
    assert!(matches!(look("file/x"), Err(PathError::Missing)));
    assert!(
        matches!(look("dangling"), Err(PathError::Dangling(target)) if target == Path::new("gone"))
    );
    assert!(matches!(look("loop"), Err(PathError::Loop)));
    assert_eq!(look("file").unwrap(), FileKind::File);
    assert_eq!(look(".").unwrap(), FileKind::Directory);
    assert_eq!(HostPath::new("/dev/null").look().unwrap(), FileKind::Special);
    assert!(HostPath::new(at("file")).read(3).unwrap_err().to_string().contains("more than 3 B"));
    // A pipe is refused; it is not waited for.
    let error = HostPath::new("/dev/null").digest().unwrap_err();
    assert!(format!("{error:#}").contains("a pipe, a socket or a device"), "{error:#}");
}
