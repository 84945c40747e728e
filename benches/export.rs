//! How long each format takes, side by side with `qemu-img convert` of the same disk in the same
//! run: 28 GiB with 1 GiB of data. Writes some GiB below the target directory.
//!
//! `cargo bench --bench export`; `KUTH_MEASURE=FILE` takes the data from a file of 1 GiB and more
//! instead of /dev/urandom.

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/export_judged/bench.rs"]
mod bench;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use bench::{Bench, WORDS, export};
use kuth::stage::Stage;

const SIZE: u64 = 28 << 30;
const PIECE: usize = 16 << 20;
const PIECES: u64 = 64;

fn main() {
    let bench = Bench::new();
    let scratch = bench.cache.scratch().unwrap();
    let path = scratch.path().join("disk.raw");
    fill(&path);
    let disk = bench.keep(&path);
    let context = bench.context("image", 2);
    for word in WORDS {
        let start = Instant::now();
        let artifact = bench.run(&export(word), &context, &disk).unwrap();
        let ours = start.elapsed();
        let start = Instant::now();
        export(word).materialize(&context, &artifact).unwrap();
        let placed = start.elapsed();
        let theirs = qemu_img(word, &context.object(&disk), &scratch.path().join("theirs"));
        println!(
            "{word}: {ours:.2?}, placed in {placed:.2?}; qemu-img {}",
            theirs.map_or("is not there".to_string(), |theirs| format!(
                "{theirs:.2?}, ratio {:.2}",
                ours.as_secs_f64() / theirs.as_secs_f64()
            ))
        );
    }
}

fn fill(path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(SIZE).unwrap();
    let source = std::env::var("KUTH_MEASURE").unwrap_or("/dev/urandom".into());
    let mut source = File::open(source).unwrap();
    let mut bytes = vec![0; PIECE];
    for piece in 0..PIECES {
        source.read_exact(&mut bytes).unwrap();
        file.write_all_at(&bytes, piece * (SIZE / PIECES)).unwrap();
    }
}

/// The time `qemu-img convert` takes for the same.
fn qemu_img(word: &str, disk: &Path, target: &Path) -> Option<std::time::Duration> {
    let format: &[&str] = match word {
        "vhd" => &["vpc", "-o", "force_size=on"],
        "vmdk" => &["vmdk", "-o", "subformat=streamOptimized"],
        word => &[word],
    };
    let start = Instant::now();
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-f", "raw", "-O"]).args(format).arg(disk).arg(target);
    let status = command.status().ok()?;
    assert!(status.success(), "qemu-img cannot write {word}");
    let took = start.elapsed();
    std::fs::remove_file(target).unwrap();
    Some(took)
}
