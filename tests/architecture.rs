//! The floor plan holds: a room uses the rooms this table allows it and no other, and each file says
//! what it is. DESIGN.md has the picture.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Words: values without files, clocks or commands. Everybody may use them.
const WORDS: [&str; 8] =
    ["artifact", "cancel", "digest", "error", "recipe", "run_state", "threads", "units"];

/// Room -> the rooms it may use besides the words.
const ARROWS: &[(&str, &[&str])] = &[
    ("archive", &["files", "format", "tree"]),
    ("artifact", &[]),
    ("cancel", &[]),
    ("error", &[]),
    ("threads", &[]),
    ("recipe", &[]),
    ("files", &[]),
    ("tree", &["files"]),
    ("host_path", &["files"]),
    ("lock", &["files"]),
    ("pipeline", &["host_path"]),
    ("process", &[]),
    ("http", &["process"]),
    ("cache", &["files"]),
    ("build_record", &["cache"]),
    ("remote", &["archive", "cache", "files", "format", "http", "process"]),
    ("sandbox", &["files", "process", "tree"]),
    ("run_state", &[]),
    ("stage_context", &["archive", "cache", "files", "lock", "pipeline", "process"]),
    ("openpgp", &["format"]),
    (
        "debian",
        &[
            "archive",
            "files",
            "format",
            "host_path",
            "http",
            "lock",
            "openpgp",
            "process",
            "sandbox",
            "stage_context",
            "tools",
        ],
    ),
    ("tools", &["archive", "process", "stage_context"]),
    ("disk", &["files", "format", "pipeline", "process", "stage_context", "tools", "tree"]),
    ("image", &["archive", "files", "format"]),
    ("compare", &["cache", "disk", "files", "format", "provenance", "tree"]),
    (
        "provenance",
        &["cache", "disk", "files", "format", "process", "remote", "stage_context", "tree"],
    ),
    (
        "build_report",
        &["boot_check", "build_record", "cache", "compare", "format", "import", "provenance"],
    ),
    ("oci", &["files", "format", "image", "tree"]),
    ("import", &["archive", "format", "image", "oci", "tree"]),
    ("registry", &["format", "http", "oci", "process"]),
    ("hardware", &[]),
    ("qemu", &["files", "hardware", "process"]),
    ("seed", &["cache", "files", "format", "hardware", "pipeline"]),
    ("post_config", &["format", "hardware", "pipeline", "seed"]),
    ("boot_check", &["format", "hardware", "process", "qemu", "seed"]),
    ("host_network", &["process"]),
    ("hypervisor", &["hardware", "host_network", "process"]),
    ("embedded", &["files", "format", "hardware", "hypervisor", "process", "qemu"]),
    (
        "virtualbox",
        &[
            "archive",
            "files",
            "format",
            "hardware",
            "host_network",
            "hypervisor",
            "image",
            "process",
        ],
    ),
    (
        "installer",
        &["boot_check", "disk", "format", "hardware", "import", "pipeline", "process", "qemu"],
    ),
    (
        "machine",
        &[
            "embedded",
            "files",
            "format",
            "hardware",
            "host_network",
            "hypervisor",
            "process",
            "stage_context",
            "virtualbox",
        ],
    ),
    ("ci", &["engine", "pipeline", "process", "stage"]),
];

/// The rooms above use whatever is below them: the engine knows no kind of stage, the command
/// line knows everything.
const UPPER: [(&str, &[&str]); 3] = [
    ("stage", &["engine", "ci", "cli"]),
    (
        "engine",
        &[
            "boot_check",
            "build_record",
            "build_report",
            "ci",
            "cli",
            "debian",
            "disk",
            "embedded",
            "format",
            "host_network",
            "hypervisor",
            "image",
            "installer",
            "machine",
            "qemu",
            "seed",
            "tools",
            "virtualbox",
        ],
    ),
    ("cli", &[]),
];

/// Where the rooms are: the crates that know them, from the root of the workspace.
const CRATES: [&str; 2] = ["src", "crates/images/src"];

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut directories: Vec<PathBuf> = CRATES.iter().map(|name| root.join(name)).collect();
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

/// The room that a file is in: the first part of its path in its crate.
fn room(file: &Path) -> String {
    let below = file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
    let below = CRATES.iter().find_map(|name| below.strip_prefix(name).ok()).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_string()
}

#[test]
fn rooms_name_crates_by_their_rooms() {
    for file in sources().iter().filter(|file| room(file) != "lib") {
        let text = std::fs::read_to_string(file).unwrap();
        let named = ["kuth_formats::", "kuth_images::"].iter().any(|name| text.contains(name));
        assert!(!named, "{}: use `crate::ROOM`", file.display());
    }
}

/// The rooms that a text names as `crate::ROOM` or in `crate::{ROOM, ROOM::name}`.
fn used(text: &str) -> BTreeSet<&str> {
    let mut rooms = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
        if text[line..at].trim_start().starts_with("//") {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => rooms.extend(members(group).into_iter().map(first_name)),
            None => _ = rooms.insert(first_name(rest)),
        }
    }
    rooms.remove("");
    rooms
}

/// The members of a group of imports, from behind its opening brace on.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut members) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                members.push(group[start..at].trim());
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    members
}

fn first_name(path: &str) -> &str {
    path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")
}

#[test]
fn imports_are_found_in_every_form() {
    let text =
        "use crate::a::x;\nuse crate::{\n    b::{self, y},\n    c,\n};\n// crate::d\ncrate::e();";
    assert_eq!(used(text), BTreeSet::from(["a", "b", "c", "e"]));
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
    let doors = [
        "src/process.rs",
        "src/process/start.rs",
        "src/sandbox/namespaces.rs",
        "src/sandbox/commands/mod.rs",
        "src/sandbox/commands/supervisor.rs",
    ];
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
