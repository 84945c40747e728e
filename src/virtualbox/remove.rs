//! Taking machines away: whole ones, and what is left of those that were not finished.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest::Digest;
use crate::error::{Context, Hint, Result, anyhow};

use super::command::has_code;
use super::config::{Config, Machine};
use super::files::{foreign_files, is_known};
use super::record::{self, NOTE};

/// What VirtualBox says of a disk that something else uses.
const IN_USE: &str = "VBOX_E_OBJECT_IN_USE";

/// Takes a machine away with its own disks; whoever calls has seen that nothing depends on them.
pub fn remove(config: &Config<'_>, machine: &Machine) -> Result<()> {
    let directory = machine.info.directory();
    refuse_foreign_files(config, machine)?;
    // Deleting takes every disk that is attached, wherever it lies.
    for controller in machine.info.controllers() {
        for (at, path) in &controller.attached {
            if path.is_absolute() && !path.starts_with(&directory) {
                config.attach(&machine.uuid, &controller.name, *at, "hdd", Path::new("none"))?;
            }
        }
    }
    unregister(config, &machine.uuid, &directory)?;
    clear_directory(&directory, &machine.names())
}

/// Refuses to take a machine away with files that neither kuth nor VirtualBox made: such as lie in
/// its directory, and disks that its snapshots hold, wherever they lie.
pub fn refuse_foreign_files(config: &Config<'_>, machine: &Machine) -> Result<()> {
    let directory = &machine.info.directory();
    let name = machine.info.get("name").unwrap_or_default();
    let foreign_files = foreign_files(directory, &machine.names());
    if !foreign_files.is_empty() {
        let (directory, foreign_files) = (directory.display(), foreign_files.join(", "));
        return Err(anyhow!("{directory} has files kuth did not make: {foreign_files}"))
            .hint("move them away first; detach a disk before, in VirtualBox");
    }
    if machine.info.snapshots().is_empty() {
        return Ok(());
    }
    // The disks that a linked clone depends on are in the snapshots of their own machine alone.
    let held = config.media_in_snapshots(&machine.uuid)?;
    match held.iter().find(|medium| !medium.starts_with(directory)) {
        None => Ok(()),
        Some(disk) => {
            let disk = disk.display();
            Err(anyhow!(
                "a snapshot of the machine `{name}` holds a disk kuth did not make: {disk}"
            ))
            .hint("delete that snapshot in VirtualBox and detach the disk first")
        }
    }
}

/// Has VirtualBox forget a machine and delete its disks.
fn unregister(config: &Config<'_>, uuid: &str, directory: &Path) -> Result<()> {
    let Err(error) = config.remove_machine(uuid) else { return Ok(()) };
    if !has_code(&error, IN_USE) {
        return Err(error);
    }
    // It forgot the machine before it found a disk in use.
    outlast_the_server(config)?;
    match config.has(uuid)? {
        true => Err(error),
        false => close_media_once_free(config, directory),
    }
}

/// What is left of a machine that VirtualBox does not know, or that was not finished: its disks
/// in the config, and its directory's files that kuth or VirtualBox made.
pub fn undo(config: &Config<'_>, name: &str, origin: &Digest) -> Result<()> {
    let uuid = record::uuid(name, origin);
    let place = config.machine_directory(name);
    if config.has(&uuid)? {
        config.wait_for(&uuid);
        unregister(config, &uuid, &place)?;
    }
    if !place.exists() || config.machines()?.iter().any(|(_, other)| other == name) {
        return Ok(());
    }
    close_media_once_free(config, &place)?;
    clear_directory(&place, &[name])
}

/// Waits until VirtualBox's server has ended, which it does when nobody has asked anything for 5 s.
/// One whose client was killed in the midst of attaching or cloning a disk may take that disk for
/// one in use for as long as it runs.
fn outlast_the_server(config: &Config<'_>) -> Result<()> {
    for _ in 0..70 {
        std::thread::sleep(Duration::from_millis(100));
        config.host.cancel.check()?;
    }
    Ok(())
}

/// [`close_media`], which is tried again while the server takes a disk for one in use: on a busy
/// machine it ends later than it should. Each time the disks that are left are asked for anew.
fn close_media_once_free(config: &Config<'_>, place: &Path) -> Result<()> {
    for _ in 0..3 {
        match close_media(config, place) {
            Err(error) if has_code(&error, IN_USE) => outlast_the_server(config)?,
            outcome => return outcome,
        }
    }
    close_media(config, place).hint("close VirtualBox's windows, and try again")
}

/// Has VirtualBox forget the disks in `place`.
fn close_media(config: &Config<'_>, place: &Path) -> Result<()> {
    // The youngest first: a disk with children is not let go.
    let mut media = config.media()?;
    media.retain(|medium| medium.location.starts_with(place));
    media.sort_by_key(|medium| medium.parent.is_none());
    for medium in media {
        config.forget_disk(&medium.uuid)?;
    }
    Ok(())
}

/// Removes what kuth and VirtualBox made in a machine's directory, and the directory once it is
/// empty.
fn clear_directory(directory: &Path, machine: &[&str]) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(()) };
    let what = || format!("removing what is left in {}", directory.display());
    // The note last: as long as it is there the directory can be recognised.
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort_by_key(|path| path.ends_with(NOTE));
    for path in paths {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !is_known(&file, machine) {
            continue;
        }
        match path.is_dir() {
            true => std::fs::remove_dir_all(&path).with_context(what)?,
            false => std::fs::remove_file(&path).with_context(what)?,
        }
    }
    match std::fs::remove_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => other.with_context(what),
    }
}
