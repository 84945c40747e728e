//! Locks between kuth processes, and scratch directories that a killed process cannot leave behind
//! for good. A lock is an advisory lock on a file, so the kernel drops it with the process.

use std::fs::{File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Context, Result};
use crate::process::Cancel;

/// A held lock; dropped with the value.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
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

/// Whether `path` still names the open file.
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), path.metadata()) {
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

/// A scratch directory, removed when dropped. It is locked while it lives, so that a later process
/// can tell what a killed one left.
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
                return Ok(Scratch { directory, lock, _lock: Lock { _file: file } });
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

/// Removes a directory, also where directories in it lack write permission or files are immutable.
pub fn remove_tree(directory: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            open_up(directory)?;
            std::fs::remove_dir_all(directory)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Takes what keeps files in `directory` from being removed: modes of directories, and the flags
/// that `chattr +i` and `chattr +a` set, which bind root too.
fn open_up(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    clear_flags(directory);
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            open_up(&entry.path())?;
        } else if kind.is_file() {
            clear_flags(&entry.path());
        }
    }
    Ok(())
}

/// What cannot be cleared shows when the file is removed.
fn clear_flags(path: &Path) {
    use rustix::fs::{IFlags, Mode, OFlags};
    let how = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path, how, Mode::empty()) else { return };
    let kept = IFlags::IMMUTABLE | IFlags::APPEND;
    if let Ok(flags) = rustix::fs::ioctl_getflags(&file)
        && flags.intersects(kept)
    {
        let _ = rustix::fs::ioctl_setflags(&file, flags - kept);
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

    #[test]
    fn what_may_not_be_written_is_removed_all_the_same() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let tree = parent.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        for name in ["a/file", "a/b/log"] {
            std::fs::write(tree.join(name), "x").unwrap();
        }
        std::fs::set_permissions(tree.join("a"), PermissionsExt::from_mode(0o500)).unwrap();
        // Root alone may set these, and file systems without them have nothing to clear.
        use rustix::fs::IFlags;
        for (name, flag) in [
            ("a/file", IFlags::IMMUTABLE),
            ("a/b/log", IFlags::APPEND),
            ("a/b", IFlags::IMMUTABLE),
            ("a", IFlags::APPEND),
        ] {
            let file = File::open(tree.join(name)).unwrap();
            if let Ok(flags) = rustix::fs::ioctl_getflags(&file)
                && rustix::process::geteuid().is_root()
            {
                rustix::fs::ioctl_setflags(&file, flags | flag).unwrap();
            }
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}
