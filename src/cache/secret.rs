//! A secret key in a file that only its owner may read. The first process that needs it makes it; all
//! others read it.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{Context, Hint, Result, anyhow};

/// The key in `path`, made if it is not there; `aside` is a directory of the same file system.
pub fn key(path: &Path, aside: &Path) -> Result<[u8; 32]> {
    let what = || format!("reading the key {}", path.display());
    let found = match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make(path, aside).with_context(|| format!("making the key {}", path.display()))?;
            std::fs::read(path)
        }
        found => found,
    };
    let key = <[u8; 32]>::try_from(found.with_context(what)?);
    key.map_err(|_| anyhow!("{} is not 32 bytes long", path.display()))
        .hint("remove it; another key is made, and what depends on it with it")
}

fn make(path: &Path, aside: &Path) -> std::io::Result<()> {
    let mut key = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    // Readable by its owner alone, as all temporary files are.
    let mut file = NamedTempFile::new_in(aside)?;
    file.write_all(&key)?;
    file.as_file().sync_all()?;
    // Of several processes the first one wins; all read its key.
    match file.persist_noclobber(path) {
        Err(lost) if lost.error.kind() != ErrorKind::AlreadyExists => return Err(lost.error),
        _ => {}
    }
    // What is made with it must not survive it.
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_readable_by_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let first = key(&path, directory.path()).unwrap();
        assert_eq!(key(&path, directory.path()).unwrap(), first);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let other = key(&directory.path().join("other"), directory.path()).unwrap();
        assert_ne!(first, other);
        std::fs::write(&path, "short").unwrap();
        assert!(key(&path, directory.path()).is_err());
    }
}
