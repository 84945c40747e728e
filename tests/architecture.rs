//! The floor plan holds: a room uses the rooms this table allows it and no other, and each file says
//! what it is. DESIGN.md has the picture.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Words: values without files, clocks or commands. Everybody may use them.
const WORDS: [&str; 5] = ["artifact", "digest", "error", "recipe", "units"];

/// Room -> the rooms it may use besides the words.
const ARROWS: [(&str, &[&str]); 25] = [
    ("archive", &["cache", "format", "process"]),
    ("artifact", &[]),
    ("digest", &[]),
    ("error", &[]),
    ("recipe", &[]),
    ("units", &[]),
    ("format", &[]),
    ("host_path", &[]),
    ("lock", &[]),
    ("pipeline", &["host_path"]),
    ("process", &[]),
    ("http", &["process"]),
    ("cache", &["process"]),
    ("remote", &["archive", "cache", "format", "http", "process"]),
    ("sandbox", &["archive", "cache", "process"]),
    ("stage_context", &["cache", "lock", "pipeline", "process"]),
    ("debian", &["format", "host_path", "http", "lock", "process", "sandbox", "stage_context"]),
    ("tools", &["process", "stage_context"]),
    ("disk", &["archive", "cache", "format", "pipeline", "process", "stage_context", "tools"]),
    ("image", &["cache", "format", "process"]),
    ("compare", &["archive", "cache", "disk", "format", "provenance"]),
    ("provenance", &["cache", "disk", "format", "process", "remote", "stage_context"]),
    ("import", &["archive", "format", "process"]),
    ("installer", &["disk", "format", "import", "machine", "pipeline", "process"]),
    ("machine", &["archive", "cache", "format", "image", "pipeline", "process", "stage_context"]),
];

/// The rooms above use whatever is below them: the engine knows no kind of stage, the command
/// line knows everything.
const UPPER: [(&str, &[&str]); 3] = [
    ("stage", &["engine", "cli"]),
    ("engine", &["cli", "debian", "disk", "format", "image", "installer", "machine", "tools"]),
    ("cli", &[]),
];

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() > 50, "the sources were not found");
    files
}

/// The room a file is in: the first part of its path below `src`.
fn room(file: &Path) -> String {
    let below = file.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_string()
}

/// The rooms a text names as `crate::ROOM`.
fn used(text: &str) -> BTreeSet<&str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let named = code.flat_map(|line| line.split("crate::").skip(1));
    named
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn rooms_use_only_what_the_floor_plan_allows() {
    let mut faults = Vec::new();
    for file in sources() {
        let room = room(&file);
        if room == "main" || room == "lib" {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for other in used(&text) {
            let allowed = if other == room || WORDS.contains(&other) {
                true
            } else if let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) {
                allowed.contains(&other)
            } else if let Some((_, forbidden)) = UPPER.iter().find(|(name, _)| *name == room) {
                !forbidden.contains(&other)
            } else {
                faults.push(format!("{room} is not in the floor plan"));
                true
            };
            if !allowed {
                faults.push(format!("{}: {room} must not use {other}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn commands_are_started_in_few_places() {
    // The door, and what runs inside the namespaces.
    let doors =
        ["src/process.rs", "src/sandbox/commands/mod.rs", "src/sandbox/commands/supervisor.rs"];
    for file in sources() {
        let text = std::fs::read_to_string(&file).unwrap();
        let code: String = text.split("#[cfg(test)]").next().unwrap().to_string();
        let starts = code.contains("std::process::Command");
        let is_test = file.ends_with("tests.rs");
        let is_door = is_test || doors.iter().any(|door| file.ends_with(door));
        assert!(!starts || is_door, "{} starts commands by itself", file.display());
    }
}

#[test]
fn files_say_what_they_are() {
    for file in sources() {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//!"), "{} does not say what it is", file.display());
        let name = file.file_stem().unwrap().to_str().unwrap();
        for vague in ["utils", "util", "common", "helpers", "manager", "misc"] {
            assert_ne!(name, vague, "{}", file.display());
        }
    }
}
