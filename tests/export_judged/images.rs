//! The bytes of each format, judged by qemu-img.

use std::os::unix::fs::MetadataExt;

use kuth::artifact::ArtifactKind;
use kuth::cache::hash_object;
use kuth::stage::export::Export;
use kuth::stage::{Placement, Stage};

use crate::bench::{Bench, SIZE, WORDS, Zeros, export, here};
use kuth_test_support::home::golden;
use kuth_test_support::judge::tool;

/// qemu-img's stdout, after it must have succeeded. `None` where it is not installed.
fn qemu_img(args: &[&str]) -> Option<String> {
    tool("qemu-img", args)
}

/// The name qemu-img has for a format, and whether it can check it.
fn of_qemu(word: &str) -> (&str, bool) {
    match word {
        "vhd" => ("vpc", false),
        other => (other, other != "raw"),
    }
}

/// Whatever reaches the bytes of a format shows here, and needs a line in CHANGELOG.md.
#[test]
fn exports_have_the_digests_of_the_golden_file() {
    let bench = Bench::new();
    let (context, disk) = (bench.context("image", 2), bench.disk(Zeros::Holes));
    let line = |word| {
        let artifact = bench.run(&export(word), &context, &disk).unwrap();
        format!("{}  {word}\n", artifact.digest)
    };
    let text: String = WORDS.into_iter().chain(["ova", "tar.bz2"]).map(line).collect();
    golden("digests-exports.txt", &text);
}

#[test]
fn every_format_passes_qemu_img() {
    let bench = Bench::new();
    let (context, disk) = (bench.context("image", 2), bench.disk(Zeros::Holes));
    for word in WORDS {
        let export = export(word);
        let artifact = bench.run(&export, &context, &disk).unwrap();
        assert_eq!(artifact.kind, ArtifactKind::Export);
        let object = bench.cache.object(&artifact);
        assert_eq!(hash_object(&object, artifact.hashing).unwrap(), artifact.digest, "{word}");

        let path = here(export.materialize(&context, &artifact).unwrap());
        assert_eq!(path, context.settings.output.join(format!("debian.{word}")));
        assert_eq!(export.locate(&context, &artifact).unwrap(), Placement::Present(path.clone()));
        // 5.2 MiB of data; VHD's blocks are the largest, and none stores its zeros.
        let stored = path.metadata().unwrap().blocks() * 512;
        assert!(stored < 6 << 20, "{word}: {stored} bytes");

        let (format, checkable) = of_qemu(word);
        let (raw, image) = (bench.cache.object(&disk), path.to_str().unwrap().to_string());
        let raw = raw.to_str().unwrap();
        let Some(out) = qemu_img(&["compare", "-f", "raw", "-F", format, raw, &image]) else {
            return;
        };
        assert!(out.contains("Images are identical."), "{word}: {out}");
        let info = qemu_img(&["info", "--output=json", "-f", format, &image]).unwrap();
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["virtual-size"], SIZE, "{word}");
        if checkable {
            let out = qemu_img(&["check", "-f", format, &image]).unwrap();
            assert!(out.contains("No errors were found"), "{word}: {out}");
        }
    }
}

#[test]
fn the_bytes_do_not_depend_on_holes_threads_or_names() {
    let (one, other) = (Bench::new(), Bench::new());
    let (holes, zeros) = (one.disk(Zeros::Holes), other.disk(Zeros::Written));
    assert_eq!(holes.digest, zeros.digest);
    assert!(other.cache.object(&zeros).metadata().unwrap().blocks() * 512 >= 100 << 20);
    for word in WORDS {
        let made = one.run(&export(word), &one.context("image", 1), &holes).unwrap();
        let named = Export { name: Some("other".into()), ..export(word) };
        let again = other.run(&named, &other.context("picture", 3), &zeros).unwrap();
        assert_eq!(made, again, "{word}");
    }
}

/// Raise `REVISION` in src/stage/export.rs when one of these moves.
#[test]
fn the_bytes_are_pinned() {
    let bench = Bench::new();
    let (context, disk) = (bench.context("image", 2), bench.disk(Zeros::Holes));
    let digest = |word| bench.run(&export(word), &context, &disk).unwrap().digest.short();
    assert_eq!(
        WORDS.map(digest),
        ["16bdc4c260e6", "1ad796ef96bf", "313d110d6a67", "af4c6ad324f1", "b6eae60730a6"]
    );
}

#[test]
fn a_raw_export_is_the_object_of_its_disk() {
    let bench = Bench::new();
    let (context, disk) = (bench.context("image", 2), bench.disk(Zeros::Holes));
    let artifact = bench.run(&export("raw"), &context, &disk).unwrap();
    assert_eq!((artifact.digest, artifact.hashing), (disk.digest, disk.hashing));
    let object = bench.cache.object(&disk);
    assert_eq!(object.metadata().unwrap().nlink(), 1, "no second name is left");
    let path = here(export("raw").materialize(&context, &artifact).unwrap());
    assert_ne!(path.metadata().unwrap().ino(), object.metadata().unwrap().ino());
}

#[test]
fn cancelling_stops_the_work() {
    let bench = Bench::new();
    let (context, disk) = (bench.context("image", 2), bench.disk(Zeros::Holes));
    context.cancel.cancel();
    for word in &WORDS[1..] {
        let error = bench.run(&export(word), &context, &disk).unwrap_err();
        assert!(kuth::error::caused_by::<kuth::error::Interrupted>(&error).is_some(), "{error:#}");
    }
}
