//! Runs the fuzz targets of `fuzz/` on a stable toolchain, over the committed corpus and damaged forms of it.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::{Path, PathBuf};

use kuth::artifact::{ArtifactKind, Output};
use kuth::cache::Cache;
use kuth::recipe::Recipe;
use kuth::remote::trust::seal;

use targets::{TARGETS, run};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The committed inputs of a target.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = fuzz().join("corpus").join(target);
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{target}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Runs a target over an input, beginnings of it, and forms with one byte changed, most of them where it
/// is not zero.
fn run_damaged(target: &str, input: &[u8]) {
    run(target, input);
    for part in 0..16 {
        run(target, &input[..input.len() * part / 16]);
        run(target, &input[..part.min(input.len())]);
    }
    let mut places: Vec<usize> = (0..input.len()).filter(|at| input[*at] != 0).collect();
    places.extend((0..input.len()).step_by(input.len().div_ceil(64).max(1)));
    let mut input = input.to_vec();
    let mut state = 0x2545_f491_u32;
    for _ in 0..if places.is_empty() { 0 } else { 150 } {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let at = places[state as usize / 256 % places.len()];
        let byte = std::mem::replace(&mut input[at], state as u8);
        run(target, &input);
        input[at] = byte;
    }
}

#[test]
fn no_target_panics_on_the_corpus_or_its_damaged_forms() {
    for (target, _) in TARGETS {
        let corpus = corpus(target);
        assert!(!corpus.is_empty(), "{target} has no input");
        corpus.iter().for_each(|input| run_damaged(target, input));
    }
}

/// What kuth writes, which no file of the corpus stays the same as.
#[test]
fn damaged_records_are_refused_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    let recipe = Recipe::new("fuzz", 1);
    let file = directory.path().join("a");
    std::fs::write(&file, "a").unwrap();
    let made = Output::file(ArtifactKind::File, file).unwrap();
    cache.commit(&recipe, made, std::time::Duration::ZERO).unwrap();
    let record = cache.recorded(&recipe.key()).unwrap().unwrap();
    let sealed = seal(&record, None).unwrap();
    run_damaged("records", &sealed);
}

#[test]
fn every_target_is_a_program_for_cargo_fuzz() {
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for (target, _) in TARGETS {
        let program = std::fs::read_to_string(fuzz().join(format!("fuzz_targets/{target}.rs")));
        assert!(program.unwrap().contains(&format!("run(\"{target}\", data)")), "{target}");
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}");
    }
}
