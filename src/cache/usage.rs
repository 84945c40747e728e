//! When a file of the store was last used: its own time, which means nothing else here.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Cache, Record};
use crate::digest::Digest;
use crate::error::Result;
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

    /// Whether that package is here at its full length, which is a use of it.
    pub fn has_package(&self, sha256: &Digest, size: u64) -> bool {
        let file = self.package(sha256);
        let there = file.metadata().is_ok_and(|found| found.len() == size);
        if there {
            touch(&file);
        }
        there
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
