//! Free disk space: checked before a stage starts, and explained when a stage fails for lack of it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result, with_hint};
use crate::units::{Bytes, Human};

/// There is too little free space in a directory.
#[derive(Debug)]
pub struct NoSpace {
    /// The directory.
    pub directory: PathBuf,
    /// Bytes needed, where known.
    pub need: Option<Bytes>,
    /// Bytes free.
    pub free: Bytes,
}

impl fmt::Display for NoSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no space left in {}: ", self.directory.display())?;
        match self.need {
            Some(need) if need > self.free => {
                write!(f, "this stage needs about {}, {} are free", Human(need), Human(self.free))
            }
            // The estimate was too low, and the room that the stage took is free again.
            Some(need) => write!(f, "this stage needs more than {}", Human(need)),
            None => write!(f, "{} are free", Human(self.free)),
        }
    }
}

impl std::error::Error for NoSpace {}

/// Bytes an ordinary user may still write in the file system of `directory`; as many as there can be where
/// the file system has no size.
pub fn free(directory: &Path) -> Result<Bytes> {
    let stat = rustix::fs::statvfs(directory)
        .with_context(|| format!("asking for the free space of {}", directory.display()))?;
    // A ramfs does not say: it grows until memory ends.
    if stat.f_blocks == 0 {
        return Ok(Bytes(u64::MAX));
    }
    Ok(Bytes(stat.f_bavail * stat.f_frsize))
}

/// Refuses when `directory` has less than `need` free.
pub fn require(directory: &Path, need: Bytes) -> Result<()> {
    let free = free(directory)?;
    if free >= need {
        return Ok(());
    }
    let error = NoSpace { directory: directory.to_path_buf(), need: Some(need), free };
    Err(with_hint(Error::new(error), HINT))
}

const HINT: &str = "free some with `kuth cache clean`, or use another directory with `--cache DIR`; \
    finished stages are kept";

/// Turns an error that comes from a full file system into one that names the directory, the need
/// and what is free. Commands and sandboxes report a full disk in words alone, so these count too.
pub fn explain(error: Error, directory: &Path, need: Bytes) -> Error {
    let by_code = error.chain().any(|link| {
        link.downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull)
    });
    let by_words = error.chain().any(|link| link.to_string().contains("No space left on device"));
    if !by_code && !by_words {
        return error;
    }
    let free = free(directory).unwrap_or_default();
    let need = (need > Bytes(0)).then_some(need);
    let full = NoSpace { directory: directory.to_path_buf(), need, free };
    with_hint(error.context(full), HINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_space_names_directory_need_and_free() {
        let error = require(Path::new("/"), Bytes(u64::MAX)).unwrap_err();
        assert!(error.to_string().starts_with("no space left in /: this stage needs about"));
        assert!(require(Path::new("/"), Bytes(1)).is_ok());
    }

    #[test]
    fn only_a_full_disk_is_explained() {
        let full = Error::new(std::io::Error::from(std::io::ErrorKind::StorageFull)).context("x");
        let explained = explain(full, Path::new("/"), Bytes(5));
        assert!(explained.to_string().starts_with("no space left in /"));
        let other = explain(crate::error::anyhow!("x"), Path::new("/"), Bytes(5));
        assert_eq!(other.to_string(), "x");
    }
}
