//! Writes that a reader sees as a whole or not at all, also after a crash: to another name first, then
//! renamed.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

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

/// Renames `file` to `place`, whose directory is made where it is missing and synced afterwards, so
/// that the new name survives a crash. Both must be on one file system.
pub fn rename_into(file: &Path, place: &Path) -> Result<()> {
    let what = || format!("storing {}", place.display());
    let directory =
        place.parent().ok_or_else(|| anyhow!("{} has no directory", place.display()))?;
    std::fs::create_dir_all(directory).with_context(what)?;
    std::fs::rename(file, place).with_context(what)?;
    File::open(directory).and_then(|directory| directory.sync_all()).with_context(what)
}
