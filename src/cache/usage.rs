//! When a file of the store was last used: its own time, which means nothing else here.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// So exact is what is known of the last use of a file; more would be a write for each look.
const LATELY: Duration = Duration::from_secs(600);

/// Notes in the time of `file` that it was used. Where that cannot be, it goes somewhat earlier.
pub fn touch(file: &Path) {
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
