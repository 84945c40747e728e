//! The directory of machines, locked: making machines aside and putting them in place in one step,
//! telling whether a machine is whole and holds state, and taking away only what is kuth's.
//!
//! What a kill leaves: before the last rename a `.making-…` directory, which the next one who holds
//! the lock takes away; after it a whole machine. Where two directories cannot be swapped in one
//! step the old one waits under `.old-…` and comes back if the new one never arrived.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::files::{Lock, sparse};
use crate::hypervisor::{Disk, Host};
use crate::threads;
use crate::units::Bytes;

use super::directory::{
    self, BASES, DISK, FULL_DISK, MAKING, MARKER, OLD, RECORD, Record, SNAPSHOTS, STARTED,
};
use super::{files, process};

/// The directory of machines, to which nobody else has access meanwhile.
pub struct Store<'a> {
    /// Where and for whom.
    pub host: &'a Host,
    _lock: Lock,
}

impl<'a> Store<'a> {
    /// Waits for the lock, then takes away what killed runs left.
    pub fn open(host: &'a Host) -> Result<Store<'a>> {
        let bases = host.machines.join(BASES);
        crate::files::make_directory(&bases)?;
        let lock = Lock::exclusive(&host.machines.join(".lock"), &host.cancel)?;
        let store = Store { host, _lock: lock };
        store.sweep()?;
        Ok(store)
    }

    fn sweep(&self) -> Result<()> {
        for path in directory::entries(&self.host.machines)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(machine) = name.strip_prefix(OLD) {
                let place = self.host.machines.join(machine);
                match place.symlink_metadata().is_err() {
                    true => rename(&path, &place)?,
                    false => remove_machine(&path)?,
                }
            } else if name.starts_with(MAKING) && is_ours(&path)? {
                remove_machine(&path)?;
            }
        }
        for path in directory::entries(&self.host.machines.join(BASES))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(MAKING) {
                remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Puts a disk among the bases, as the same file where it can be one; gives its name there.
    pub fn put_base(&self, disk: &Disk) -> Result<String> {
        let name = base_name(&disk.digest);
        let place = self.host.machines.join(&name);
        if place.metadata().is_ok_and(|found| found.len() == disk.size.0) {
            return Ok(name);
        }
        let aside = self.host.machines.join(BASES).join(format!("{MAKING}{}", disk.digest));
        if std::fs::hard_link(&disk.file, &aside).is_err() {
            sparse::copy_file(&disk.file, &aside)?;
            let what = || format!("storing {}", aside.display());
            let copy = File::open(&aside).with_context(what)?;
            copy.set_permissions(Permissions::from_mode(0o444)).with_context(what)?;
            copy.sync_all().with_context(what)?;
        }
        rename(&aside, &place)?;
        directory::sync_directory(&self.host.machines.join(BASES))?;
        Ok(name)
    }

    /// An empty directory for a machine that is being made.
    pub fn begin(&self, name: &str, origin: &Digest) -> Result<PathBuf> {
        let making = self.host.machines.join(format!("{MAKING}{name}-{}", origin.short()));
        std::fs::create_dir(&making).with_context(|| format!("making {}", making.display()))?;
        put(&making.join(MARKER), b"being made by kuth\n", 0o644)?;
        Ok(making)
    }

    /// Puts a finished machine in its place, and takes the old one away.
    pub fn finish(&self, making: &Path, name: &str) -> Result<PathBuf> {
        // The mark goes once the record is certain: after a loss of power the directory is known by one
        // of them, and taken away.
        sync_whole(making)?;
        remove_file(&making.join(MARKER))?;
        directory::sync_directory(making)?;
        let place = self.host.machines.join(name);
        if place.symlink_metadata().is_err() {
            rename(making, &place)?;
        } else if renameat_with(CWD, making, CWD, &place, RenameFlags::EXCHANGE).is_ok() {
            directory::sync_directory(&self.host.machines)?;
            remove_machine(making)?;
        } else {
            let old = self.host.machines.join(format!("{OLD}{name}"));
            rename(&place, &old)?;
            rename(making, &place)?;
            remove_machine(&old)?;
        }
        directory::sync_directory(&self.host.machines)?;
        Ok(place)
    }
}

/// The name of a base disk, relative to the directory of machines.
pub fn base_name(digest: &Digest) -> String {
    format!("{BASES}/{digest}.raw")
}

/// Why a machine holds state, if it does.
pub fn state(place: &Path, record: &Record) -> Result<Option<String>> {
    if process::pid(place, &record.name).is_some() {
        return Ok(Some("it is running".into()));
    }
    if place.join(STARTED).exists() {
        return Ok(Some("it has been started".into()));
    }
    let disk = disk(place);
    if disk.exists() && !record.fresh.is_unchanged(&disk)? {
        return Ok(Some("its disk has been written to".into()));
    }
    let foreign_files = files::foreign_files(place, Some(record))?;
    Ok(match foreign_files.is_empty() {
        true => None,
        false => Some(format!("its directory has other files ({})", foreign_files.join(", "))),
    })
}

/// The first file a machine cannot do without that is not there.
pub fn missing(machines: &Path, place: &Path, record: &Record) -> Option<String> {
    let own = [disk(place), place.join("run")];
    let bases = record.bases.iter().map(|base| machines.join(base));
    let mut files = own.into_iter().chain(bases);
    files.find(|file| !file.is_file()).map(|file| file.display().to_string())
}

/// The disk of the machine in `place`.
pub fn disk(place: &Path) -> PathBuf {
    let full = place.join(FULL_DISK);
    if full.exists() { full } else { place.join(DISK) }
}

/// Whether a directory that is not a machine was kuth's work: marked, or a record, or still empty.
pub fn is_ours(path: &Path) -> Result<bool> {
    Ok(path.join(MARKER).exists()
        || Record::read(path)?.is_some()
        || directory::entries(path)?.is_empty())
}

/// Takes a machine away, unless its directory has files that kuth did not make.
pub fn remove_machine(place: &Path) -> Result<()> {
    files::refuse_foreign_files(place, Record::read(place)?.as_ref())?;
    // The record goes last: as long as it is there the directory can be recognised.
    for path in directory::entries(place)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match &*name {
            RECORD | MARKER => {}
            SNAPSHOTS => {
                directory::entries(&path)?.iter().try_for_each(|record| remove_file(record))?;
                remove_directory(&path)?;
            }
            _ => remove_file(&path)?,
        }
    }
    remove_file(&place.join(MARKER))?;
    remove_file(&place.join(RECORD))?;
    remove_directory(place)
}

fn remove_directory(path: &Path) -> Result<()> {
    std::fs::remove_dir(path).with_context(|| format!("removing {}", path.display()))
}

/// Removes a file that may be gone already.
pub fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Renames `from`.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to)
        .with_context(|| format!("renaming {} to {}", from.display(), to.display()))
}

/// Writes a new file, synced.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    put(path, bytes, mode)?;
    sync(path)
}

/// Writes a new file of a machine that is being made, which is synced when it is whole.
pub fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let what = || format!("writing {}", path.display());
    let mut file = File::create(path).with_context(what)?;
    file.write_all(bytes).with_context(what)?;
    file.set_permissions(Permissions::from_mode(mode)).with_context(what)
}

/// Syncs a directory and the files in it, all at once: so a file system writes its journal once or
/// twice, and not for each of them.
fn sync_whole(directory: &Path) -> Result<()> {
    let mut paths = directory::entries(directory)?;
    paths.push(directory.to_path_buf());
    threads::for_each(&paths, paths.len(), |path| sync(path))
}

fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .with_context(|| format!("syncing {}", path.display()))
}

/// Removes base disks that no record names; says which, and what that freed.
pub fn clean(store: &Store<'_>) -> Result<Vec<(PathBuf, Bytes)>> {
    let unused = unused_bases(&store.host.machines)?;
    unused.iter().try_for_each(|(path, _)| remove_file(path))?;
    Ok(unused)
}

/// Base disks that no record names, and what each takes. Files whose names are not of kuth's
/// making do not count.
pub fn unused_bases(machines: &Path) -> Result<Vec<(PathBuf, Bytes)>> {
    let mut named = Vec::new();
    for (place, record) in directory::machines(machines)? {
        named.extend(record.bases);
        named.extend(directory::snapshots(&place)?.into_iter().flat_map(|snapshot| snapshot.bases));
    }
    let mut unused = Vec::new();
    for path in directory::entries(&machines.join(BASES))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let digest = name
            .strip_suffix(".raw")
            .or_else(|| name.strip_prefix("frozen-").and_then(|name| name.strip_suffix(".qcow2")));
        let ours = digest.is_some_and(|digest| digest.parse::<Digest>().is_ok());
        if !ours || named.contains(&format!("{BASES}/{name}")) {
            continue;
        }
        let metadata = path.metadata().with_context(|| format!("looking at {}", path.display()))?;
        // Another name of the same file (the cache's) keeps its blocks.
        let bytes = if metadata.nlink() > 1 { 0 } else { metadata.blocks() * 512 };
        unused.push((path, Bytes(bytes)));
    }
    Ok(unused)
}
