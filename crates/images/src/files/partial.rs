//! A file while it is written beside the one that it replaces: in a directory of the user's, where
//! nothing sweeps what a killed process leaves.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::is_at;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Result, anyhow};

/// The longest name that gets an ending and still is a name, in bytes.
const LONGEST: usize = 240;

/// A hidden file, locked against other processes. Its name is always the same, so that the next run
/// overwrites what a killed one left.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    /// What is written to; empty at first.
    pub file: File,
}

impl Partial {
    /// The file beside `path`. Waits while another process has it.
    pub fn lock(path: &Path, cancel: &Cancel) -> Result<Partial> {
        let name = path.file_name().ok_or_else(|| anyhow!("{} has no name", path.display()))?;
        let mut hidden = OsString::from(".");
        match name.len() <= LONGEST {
            true => hidden.push(name),
            false => hidden.push(Digest::of(name.as_bytes()).short()),
        }
        hidden.push(".partial");
        let path = path.with_file_name(hidden);
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            match file.try_lock() {
                // Its owner may have renamed it meanwhile.
                Ok(()) if is_at(&file, &path) => {
                    file.set_len(0)?;
                    return Ok(Partial { path, file });
                }
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
                // Some shared directories know no locks; two builds at once are rare there.
                Err(TryLockError::Error(_)) => {
                    file.set_len(0)?;
                    return Ok(Partial { path, file });
                }
            }
            cancel.check()?;
        }
    }

    /// Syncs it and renames it to `path`.
    pub fn publish(&self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.path, path)
    }

    /// Removes it. What cannot be removed is overwritten by the next run.
    pub fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
