//! When a file of the store was last used: its own time, which means nothing else here.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Cache, Record};
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::recipe::Key;

/// So exact is what is known of the last use of a file; more would be a write for each look.
const LATELY: Duration = Duration::from_secs(600);

impl Cache {
    /// What is recorded under `key`, if it is `wanted`; that is a use of it.
    pub(super) fn in_use(
        &self,
        key: &Key,
        wanted: impl Fn(&Record) -> bool,
    ) -> Result<Option<Record>> {
        let record = self.recorded(key)?.filter(wanted);
        record.iter().for_each(|_| touch(&self.record(key)));
        Ok(record)
    }

    /// How the file of that package is here: read to its end and compared with its name, which is
    /// a use of it. One that is not what it must be is removed.
    pub fn stored_package(&self, sha256: &Digest, size: u64) -> Result<StoredPackage> {
        let path = self.package(sha256);
        let what = || format!("reading {}", path.display());
        let found = match File::open(&path) {
            Ok(file) => crate::digest::of_reader(file).with_context(what)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(StoredPackage::Missing),
            Err(error) => return Err(error).with_context(what),
        };
        if found == (*sha256, size) {
            touch(&path);
            return Ok(StoredPackage::Whole);
        }
        std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        Ok(StoredPackage::Damaged)
    }
}

/// The file of a package in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredPackage {
    /// It is what its name says.
    Whole,
    /// There is none.
    Missing,
    /// There was one of other bytes, which was removed.
    Damaged,
}

impl StoredPackage {
    /// Whether it is what its name says.
    pub fn is_whole(self) -> bool {
        self == StoredPackage::Whole
    }

    /// Whether it was removed for other bytes.
    pub fn is_damaged(self) -> bool {
        self == StoredPackage::Damaged
    }
}

/// Notes in the time of `file` that it was used. Where that cannot be, it goes somewhat earlier.
fn touch(file: &Path) {
    let now = SystemTime::now();
    let modified = file.metadata().and_then(|it| it.modified());
    let lately = modified.is_ok_and(|it| now.duration_since(it).is_ok_and(|age| age < LATELY));
    if !lately && let Ok(file) = File::options().append(true).open(file) {
        let _ = file.set_modified(now);
    }
}

/// When a file was last used.
pub fn used(path: &Path) -> SystemTime {
    path.metadata().and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}
