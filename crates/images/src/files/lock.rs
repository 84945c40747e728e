//! Locks between kuth processes: advisory locks on files, so that the kernel drops them with the
//! process.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::error::{Context, Result};

/// A held lock; dropped with the value.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// The lock that `file` holds already.
    pub(super) fn held(file: File) -> Lock {
        Lock { _file: file }
    }

    /// Waits for the lock that nobody else may hold.
    pub fn exclusive(path: &Path, cancel: &Cancel) -> Result<Lock> {
        wait(path, cancel, File::try_lock)
    }

    /// Waits for the lock that others may hold too.
    pub fn shared(path: &Path, cancel: &Cancel) -> Result<Lock> {
        wait(path, cancel, File::try_lock_shared)
    }

    /// The exclusive lock if nobody holds it now.
    pub fn try_exclusive(path: &Path) -> Result<Option<Lock>> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking {}", path.display()))
            }
        }
    }
}

/// Whether `path` still names the open `file`.
pub fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

fn open(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("opening the lock {}", path.display()))
}

/// Polls, because a blocking lock could not be cancelled.
fn wait(
    path: &Path,
    cancel: &Cancel,
    attempt: fn(&File) -> std::result::Result<(), TryLockError>,
) -> Result<Lock> {
    let file = open(path)?;
    let mut pause = Duration::from_millis(1);
    loop {
        match attempt(&file) {
            Ok(()) => return Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => {
                cancel.check()?;
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(100));
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("locking {}", path.display()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exclusive_lock_excludes_and_a_shared_one_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let held = Lock::shared(&path, &Cancel::default()).unwrap();
        let _also = Lock::shared(&path, &Cancel::default()).unwrap();
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        drop((held, _also));
        assert!(Lock::try_exclusive(&path).unwrap().is_some());
    }

    #[test]
    fn waiting_for_a_lock_can_be_cancelled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let _held = Lock::exclusive(&path, &Cancel::default()).unwrap();
        let cancel = Cancel::default();
        cancel.cancel();
        assert!(Lock::exclusive(&path, &cancel).is_err());
    }
}
