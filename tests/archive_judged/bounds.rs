//! How much an archive may unpack to: its files exactly as much as they read as, holes counted, and
//! what it decompresses to besides not much more. Nothing is left of one that is refused.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kuth::units::Bytes;

use crate::bench::{Bench, listed};
use kuth_test_support::judge::tool_in;

const MIB: u64 = 1 << 20;

/// Fails to unpack `archive` with this limit, for this reason, and leaves nothing.
fn check_refused(bench: &Bench, archive: &str, limit: Option<Bytes>, why: &str) {
    let before = listed(bench.directory.path());
    let error = bench.unpack(&bench.path(archive), "kept", limit).unwrap_err();
    assert!(format!("{error:#}").contains(why), "{archive}: {error:#}");
    assert!(kuth::error::hints(&error).iter().any(|hint| hint.contains("`limit`")), "{archive}");
    assert_eq!(listed(bench.directory.path()), before, "{archive}");
}

/// `total` is enough, and a byte less is not.
fn check(bench: &Bench, archive: &str, total: u64) {
    bench
        .unpack(&bench.path(archive), "kept", Some(Bytes(total)))
        .unwrap_or_else(|error| panic!("{archive}: {error:#}"));
    std::fs::remove_file(bench.path("kept")).unwrap();
    for limit in [total - 1, MIB, 1] {
        let why = format!("the archive unpacks to more than {}", Bytes(limit));
        check_refused(bench, archive, Some(Bytes(limit)), &why);
    }
}

#[test]
fn files_are_counted_as_what_they_read_as() {
    let bench = Bench::new();
    let root = bench.path("in");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("data"), vec![7; MIB as usize]).unwrap();
    std::fs::hard_link(root.join("data"), root.join("twin")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(5 * MIB + 3).unwrap();
    sparse.write_all_at(b"middle", 2 * MIB + 9).unwrap();
    let total = 6 * MIB + 3;
    for (name, options) in [
        ("gnu.tar", "--format=gnu"),
        ("holes.tar", "-S --format=gnu"),
        ("holes-0.0.tar", "-S --format=pax --sparse-version=0.0"),
        ("holes-0.1.tar", "-S --format=pax --sparse-version=0.1"),
        ("holes-1.0.tar", "-S --format=pax --sparse-version=1.0"),
        ("x.tar.gz", "-z"),
        ("x.tar.xz", "-J"),
        ("x.tar.bz2", "-S -j"),
        ("x.tar.zst", "--zstd"),
    ] {
        let command = format!("tar -cf {name} {options} -C in .");
        if tool_in(bench.directory.path(), "sh", &["-c", &command]).is_none() {
            return;
        }
        check(&bench, name, total);
    }
    if tool_in(&root, "zip", &["-q", "-r", "../x.zip", "data", "sparse"]).is_some() {
        check(&bench, "x.zip", total);
    }
}

/// Zeros behind the end of a small tar, or as a file of a zip: more than a limit of one's own lets
/// pass, and more than any archive grows.
#[test]
fn bombs_go_off_at_the_limit() {
    let bench = Bench::new();
    let directory = bench.directory.path();
    let sh = |command: &str| tool_in(directory, "sh", &["-ec", command]);
    if sh("mkdir in && echo text > in/file && tar -cf x.tar -C in .").is_none() {
        return;
    }
    let zeros = 64 * MIB;
    File::create(bench.path("zeros")).unwrap().set_len(zeros).unwrap();
    // A limit lets a GiB of headers pass besides.
    let (limit, overhead) = (3 * MIB, 1 << 30);
    let pieces = (limit + overhead) / zeros;
    // A GiB each, so every way once; tests/archives/bad/bomb.tar.bz2 is one of bzip2.
    let by_ratio = (None, "of the archive unpack to more than");
    let by_limit = (Some(Bytes(limit)), "unpacks to more than 3 MiB");
    for (program, extension, (own, why)) in [
        ("gzip -9", "gz", by_limit),
        ("xz -1", "xz", by_ratio),
        ("zstd -q", "zst", by_limit),
        ("zstd -q", "zst", by_ratio),
    ] {
        let command = format!(
            "{program} -c x.tar > head.{extension} && {program} -c zeros > more.{extension}"
        );
        if sh(&command).is_none() {
            return;
        }
        let part = |name: &str| std::fs::read(bench.path(&format!("{name}.{extension}"))).unwrap();
        let (head, more) = (part("head"), part("more"));
        let write = |count: u64| {
            let mut bomb = File::create(bench.path("bomb")).unwrap();
            bomb.write_all(&head).unwrap();
            (0..count).for_each(|_| bomb.write_all(&more).unwrap());
            bomb.metadata().unwrap().len()
        };
        assert!(write(pieces + 1) < 2 * MIB);
        check_refused(&bench, "bomb", own, why);
        // Below that it is odd, and nothing else.
        write(1);
        bench.unpack(&bench.path("bomb"), "kept", Some(Bytes(limit))).unwrap();
        std::fs::remove_file(bench.path("kept")).unwrap();
    }
}

#[test]
fn a_zip_is_no_larger_than_it_says() {
    let bench = Bench::new();
    let directory = bench.directory.path();
    File::create(bench.path("zeros")).unwrap().set_len(200 * MIB).unwrap();
    if tool_in(directory, "zip", &["-q", "x.zip", "zeros"]).is_none() {
        return;
    }
    std::fs::remove_file(bench.path("zeros")).unwrap();
    assert!(bench.path("x.zip").metadata().unwrap().len() < MIB);
    check_refused(&bench, "x.zip", Some(Bytes(100 * MIB)), "unpacks to more than 100 MiB");
    // Its directory, and the header before the file, say less than what is inflated.
    let mut zip = std::fs::read(bench.path("x.zip")).unwrap();
    let size = ((200 * MIB) as u32).to_le_bytes();
    let places: Vec<usize> = (0..zip.len() - 4).filter(|at| zip[*at..*at + 4] == size).collect();
    assert_eq!(places.len(), 2);
    for at in places {
        zip[at..at + 4].copy_from_slice(&(MIB as u32).to_le_bytes());
    }
    std::fs::write(bench.path("less.zip"), zip).unwrap();
    let before = listed(directory);
    let error = bench.unpack(&bench.path("less.zip"), "kept", None).unwrap_err();
    assert!(format!("{error:#}").contains("its checksum or its length is wrong"), "{error:#}");
    assert_eq!(listed(Path::new(directory)), before);
}
