//! The archives of tests/archives, which make.py made: what must be refused is, with the reason
//! that INDEX tells, and what must be read is read as GNU tar and unzip read it.

use std::path::{Path, PathBuf};

use crate::bench::{Bench, listed};

fn archives() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/archives")
}

/// The files of INDEX in `directory`, each with what its refusal says.
fn index(directory: &str) -> Vec<(PathBuf, String)> {
    let text = std::fs::read_to_string(archives().join("INDEX")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with(directory));
    rows.map(|line| {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        (archives().join(fields[0]), fields[2].to_string())
    })
    .collect()
}

#[test]
fn what_reaches_outside_or_is_damaged_is_refused() {
    let bad = index("bad/");
    assert!(bad.len() > 40);
    for (path, reason) in bad {
        let bench = Bench::new();
        let error = bench.unpack(&path, "kept.tar", None).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(&reason), "{}: {text}", path.display());
        // Nothing was written but, perhaps, a part of the tar: names are never used.
        let left: Vec<_> = listed(bench.directory.path()).into_keys().collect();
        assert!(left.iter().all(|name| name == Path::new("kept.tar")), "{left:?}");
        assert!(!Path::new("/tmp/kuth-was-here").exists());
    }
}

#[test]
fn what_is_odd_is_read_as_others_read_it() {
    let good = index("good/");
    assert!(good.len() > 8);
    for (path, _) in good {
        let bench = Bench::new();
        let (name, ours) = (path.to_str().unwrap(), bench.unpacked(&path));
        let theirs = match name.ends_with(".zip") {
            true => bench.made_by("unzip", &["-q", name]),
            false => bench.made_by("tar", &["-x", "--no-same-owner", "-p", "-f", name]),
        };
        let Some(theirs) = theirs else { return };
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn a_limit_of_ones_own_is_held_and_lets_more_pass() {
    use kuth::units::Bytes;
    let (bench, bomb) = (Bench::new(), archives().join("bad/bomb.tar.bz2"));
    let error = bench.unpack(&bomb, "one.tar", Some(Bytes::gib(1))).unwrap_err();
    assert!(format!("{error:#}").contains("unpacks to more than 1 GiB"), "{error:#}");
    assert!(kuth::error::hints(&error)[0].contains("`limit`"), "{error:?}");
}
