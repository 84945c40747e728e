//! Scratch directories that a killed process cannot leave behind for good.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::lock::{Lock, is_at};
use super::remove_tree;
use crate::error::{Context, Result};

/// A scratch directory, removed when dropped. It is locked while it lives, so that a later process
/// can recognise what a killed one left.
#[derive(Debug)]
pub struct Scratch {
    directory: PathBuf,
    lock: PathBuf,
    _lock: Lock,
}

impl Scratch {
    /// A new directory in `parent`.
    pub fn new(parent: &Path) -> Result<Scratch> {
        let what = || format!("making a scratch directory in {}", parent.display());
        loop {
            // The lock comes first, so that a sweep never finds a directory without one. One that
            // swept the lock away before it was held is noticed, and a new one is made.
            let file = tempfile::Builder::new().prefix("run-").suffix(".lock").tempfile_in(parent);
            let (file, lock) = file.with_context(what)?.keep().with_context(what)?;
            let held = file.try_lock().is_ok();
            if held && is_at(&file, &lock) {
                let directory = lock.with_extension("");
                // A set-id file of a tree must not serve the other users of this host.
                let mut private = std::fs::DirBuilder::new();
                private.mode(0o700).create(&directory).with_context(what)?;
                return Ok(Scratch { directory, lock, _lock: Lock::held(file) });
            }
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Leaves the directory where it is, for somebody to look at and remove.
    pub fn keep(self) -> PathBuf {
        let directory = self.directory.clone();
        // The lock file goes, so that no sweep finds the directory.
        let _ = std::fs::remove_file(&self.lock);
        std::mem::forget(self);
        directory
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next `sweep`.
        if remove_tree(&self.directory).is_ok() {
            let _ = std::fs::remove_file(&self.lock);
        }
    }
}

/// Removes what killed processes left in the directory of scratch directories, with `remove` for
/// those that hold files of other users of a namespace. Gives how many.
pub fn sweep(parent: &Path, remove: impl Fn(&Path) -> std::io::Result<()>) -> Result<usize> {
    let mut swept = 0;
    let entries =
        std::fs::read_dir(parent).with_context(|| format!("reading {}", parent.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let is_lock = path.extension().is_some_and(|extension| extension == "lock");
        if is_lock
            && let Ok(Some(_held)) = Lock::try_exclusive(&path)
            && remove(&path.with_extension("")).is_ok()
        {
            let _ = std::fs::remove_file(&path);
            swept += 1;
        }
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scratch_directories_without_an_owner_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let alive = Scratch::new(parent.path()).unwrap();
        let dead = parent.path().join("run-dead");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.with_extension("lock"), "").unwrap();
        assert_eq!(sweep(parent.path(), remove_tree).unwrap(), 1);
        assert!(!dead.exists() && alive.path().exists());
    }

    #[test]
    fn a_scratch_directory_is_closed_to_others() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(parent.path()).unwrap();
        let mode = scratch.path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
