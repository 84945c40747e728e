//! What lies in the folder of a machine: the files that kuth or VirtualBox keeps there, and those
//! that neither made.

use std::path::Path;

use super::make::{CONSOLE, SEED};
use super::record::NOTE;

/// Whether kuth, or VirtualBox on its behalf, keeps a file of this name in the folder of a machine
/// of these names.
pub fn is_known(file: &str, machine: &[&str]) -> bool {
    machine.iter().any(|name| is_known_of(file, name))
}

fn is_known_of(file: &str, name: &str) -> bool {
    let settings = [".vbox", ".vbox-prev", ".vbox-tmp", ".nvram", ".vdi"];
    let further = |rest: &str| rest.strip_suffix(".vdi").is_some_and(|it| it.parse::<u8>().is_ok());
    settings.iter().any(|end| file.strip_suffix(end) == Some(name))
        || file.strip_prefix("disk").is_some_and(further)
        || file.strip_prefix(name).and_then(|it| it.strip_prefix("-disk")).is_some_and(further)
        || [NOTE, SEED, CONSOLE, "Logs", "Snapshots", "known_hosts"].contains(&file)
}

/// What lies in a machine's folder that neither made.
pub fn strangers(folder: &Path, machine: &[&str]) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut strangers: Vec<String> = names.filter(|file| !is_known(file, machine)).collect();
    strangers.sort();
    strangers
}
