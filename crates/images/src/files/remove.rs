//! Removing directories that resist: without write permission, or with immutable files.

use std::path::Path;

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
    use std::fs::File;

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
