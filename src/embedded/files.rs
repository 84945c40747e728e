//! What lies in the directory of a machine: the files that kuth, or QEMU on its behalf, keeps
//! there, and those that neither made, which nothing here ever removes.

use std::path::Path;

use crate::error::{Hint, Result, anyhow};

use super::directory::{
    self, ASIDE, DISK, FULL_DISK, MARKER, NEW_DISK, RECORD, Record, SNAPSHOTS, STARTED,
    SnapshotRecord,
};

/// Whether kuth, or QEMU on its behalf, writes a file of this name. A machine has the disks that
/// its record says; one without a record was never finished, and may have any.
fn is_known(name: &str, record: Option<&Record>) -> bool {
    let own = match record {
        Some(Record { backing: Some(_), .. }) => name == DISK,
        Some(_) => name == FULL_DISK,
        None => name == DISK || name == FULL_DISK,
    };
    own || is_further_disk(name, record.map(|record| record.hardware.disks.len()))
        || name == format!(".{RECORD}{ASIDE}")
        || [
            RECORD,
            STARTED,
            MARKER,
            "seed.iso",
            "run",
            "variables.fd",
            "console.log",
            "console.sock",
            "qmp.sock",
            "qemu.pid",
            "start.log",
            "ssh-port",
            "known_hosts",
            NEW_DISK,
        ]
        .contains(&name)
}

/// Whether a file is one of `count` further disks, or of any number of them.
fn is_further_disk(name: &str, count: Option<usize>) -> bool {
    let number = name.strip_prefix("disk").and_then(|rest| rest.strip_suffix(".raw"));
    let number = number.and_then(|number| number.parse::<usize>().ok());
    number.is_some_and(|number| {
        name == format!("disk{number}.raw") && (1..=count.unwrap_or(usize::MAX)).contains(&number)
    })
}

/// What lies in the directory `place` of a machine that kuth did not make, sorted.
pub fn foreign_files(place: &Path, record: Option<&Record>) -> Result<Vec<String>> {
    let mut foreign_files = Vec::new();
    for path in directory::entries(place)? {
        let name = name(&path);
        // A link to a directory is not a directory: what it leads to is somebody else's.
        match path.symlink_metadata().is_ok_and(|it| it.is_dir()) {
            true if name == SNAPSHOTS => foreign_files.extend(foreign_snapshots(&path)?),
            false if is_known(&name, record) => {}
            _ => foreign_files.push(name),
        }
    }
    Ok(foreign_files)
}

/// What lies in the directory of a machine's snapshots that is not a record of kuth's.
fn foreign_snapshots(snapshots: &Path) -> Result<Vec<String>> {
    let mut foreign_files = Vec::new();
    for path in directory::entries(snapshots)? {
        let name = name(&path);
        let is_ours = match name.strip_prefix('.') {
            // Being written when kuth was killed.
            Some(rest) => rest.ends_with(&format!(".toml{ASIDE}")),
            None => SnapshotRecord::read(&path)?.is_some(),
        };
        if !is_ours {
            foreign_files.push(format!("{SNAPSHOTS}/{name}"));
        }
    }
    Ok(foreign_files)
}

/// Refuses to take away a directory that has files which kuth did not make.
pub fn refuse_foreign_files(place: &Path, record: Option<&Record>) -> Result<()> {
    let foreign_files = foreign_files(place, record)?;
    if foreign_files.is_empty() {
        return Ok(());
    }
    let (place, foreign_files) = (place.display(), foreign_files.join(", "));
    Err(anyhow!("{place} has files kuth did not make: {foreign_files}"))
        .hint("move them away first")
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_disks_are_those_that_a_machine_has() {
        for (name, count, is) in [
            ("disk1.raw", Some(1), true),
            ("disk2.raw", Some(1), false),
            ("disk2.raw", None, true),
            ("disk0.raw", None, false),
            ("disk01.raw", None, false),
            ("disk+1.raw", None, false),
            ("disk.raw", None, false),
            ("disk1.raw.bak", None, false),
        ] {
            assert_eq!(is_further_disk(name, count), is, "{name} of {count:?}");
        }
    }
}
