//! What lies in the directory of a machine: the files that kuth or VirtualBox keeps there, and
//! those that neither made.

use std::path::Path;

use super::record::NOTE;

/// The file of a machine's seed.
pub const SEED: &str = "seed.iso";
/// The file its serial console goes to.
pub const CONSOLE: &str = "console.log";
/// The directory of a machine's logs.
const LOGS: &str = "Logs";
/// The directory of the disks that snapshots left a machine.
const SNAPSHOTS: &str = "Snapshots";

/// Whether kuth, or VirtualBox on its behalf, keeps a file of this name in the directory of a
/// machine of these names.
pub fn is_known(file: &str, machine: &[&str]) -> bool {
    machine.iter().any(|name| is_known_of(file, name))
}

fn is_known_of(file: &str, name: &str) -> bool {
    let settings = [".vbox", ".vbox-prev", ".vbox-tmp", ".nvram", ".vdi"];
    let further = |rest: &str| rest.strip_suffix(".vdi").is_some_and(|it| it.parse::<u8>().is_ok());
    settings.iter().any(|end| file.strip_suffix(end) == Some(name))
        || file.strip_prefix("disk").is_some_and(further)
        || file.strip_prefix(name).and_then(|it| it.strip_prefix("-disk")).is_some_and(further)
        || [NOTE, SEED, CONSOLE, LOGS, SNAPSHOTS, "known_hosts"].contains(&file)
}

/// Whether VirtualBox keeps a file of this name in the directory of a machine's snapshots: disks
/// are called by their UUIDs, states by the time.
fn is_of_a_snapshot(file: &str) -> bool {
    file.starts_with('{') || [".sav", ".nvram", ".png"].iter().any(|end| file.ends_with(end))
}

/// Whether VirtualBox keeps a file of this name in the directory of a machine's logs.
fn is_log(file: &str) -> bool {
    file.starts_with("VBox") && file.contains(".log")
}

/// What lies in a machine's directory that neither made, sorted.
pub fn foreign_files(directory: &Path, machine: &[&str]) -> Vec<String> {
    let names = |directory: &Path| {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let below = |name: &str, is_known: fn(&str) -> bool| {
        let all = names(&directory.join(name)).into_iter().filter(move |file| !is_known(file));
        all.map(|file| format!("{name}/{file}")).collect::<Vec<_>>()
    };
    let mut foreign_files = names(directory);
    foreign_files.retain(|file| !is_known(file, machine));
    foreign_files.extend(below(SNAPSHOTS, is_of_a_snapshot));
    foreign_files.extend(below(LOGS, is_log));
    foreign_files.sort();
    foreign_files
}
