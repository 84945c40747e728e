//! Writes that a reader sees as a whole or not at all, also after a crash: to another name first, then
//! renamed.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Partial;
use crate::cancel::Cancel;
use crate::error::{Context, Result, anyhow};

/// Replaces the file `path` by one of mode 0644 with these bytes, synced. It is written in the
/// directory `aside` of the same file system first.
pub fn write_aside(aside: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let what = || format!("writing {}", path.display());
    let mut file = tempfile::NamedTempFile::new_in(aside).with_context(what)?;
    file.write_all(bytes).with_context(what)?;
    file.as_file().set_permissions(Permissions::from_mode(0o644)).with_context(what)?;
    file.as_file().sync_all().with_context(what)?;
    let (_, temporary) = file.keep().with_context(what)?;
    rename_into(&temporary, path)
}

/// Replaces the file `path` by one of mode 0644 with these bytes, synced, where no other directory of
/// its file system is at hand. It is written beside it first.
pub fn replace(path: &Path, bytes: &[u8], cancel: &Cancel) -> Result<()> {
    let what = || format!("writing {}", path.display());
    let partial = Partial::lock(path, cancel).with_context(what)?;
    let written = (&partial.file)
        .write_all(bytes)
        .and_then(|()| partial.file.set_permissions(Permissions::from_mode(0o644)))
        .and_then(|()| partial.publish(path));
    if written.is_err() {
        partial.remove();
    }
    written.with_context(what)
}

/// Renames `file` to `place`, whose directory is made where it is missing and synced afterwards, so
/// that the new name survives a crash. Both must be on one file system.
pub fn rename_into(file: &Path, place: &Path) -> Result<()> {
    let what = || format!("storing {}", place.display());
    let directory =
        place.parent().ok_or_else(|| anyhow!("{} has no directory", place.display()))?;
    make_directory(directory)?;
    std::fs::rename(file, place).with_context(what)?;
    sync(directory)
}

/// Makes a directory, and those above it, where they are missing, so that they survive a crash: what is
/// synced in a directory is lost with the name of the directory.
pub fn make_directory(directory: &Path) -> Result<()> {
    let is_missing = |it: &&Path| !it.as_os_str().is_empty() && !it.is_dir();
    let missing: Vec<&Path> = directory.ancestors().take_while(is_missing).collect();
    std::fs::create_dir_all(directory)
        .with_context(|| format!("making {}", directory.display()))?;
    missing.iter().try_for_each(|made| match made.parent() {
        Some(above) if !above.as_os_str().is_empty() => sync(above),
        _ => sync(Path::new(".")),
    })
}

/// Syncs a file or a directory.
pub fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .with_context(|| format!("syncing {}", path.display()))
}
