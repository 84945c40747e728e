//! The judges, and bytes laid into files for them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kuth::format::{Guid, Pieces};
use kuth::units::Bytes;

pub use kuth_test_support::judge::{missing, tool, verdict};

/// A sparse file of `size` that holds `pieces`.
pub fn lay(dir: &Path, name: &str, size: Bytes, pieces: &Pieces) -> PathBuf {
    let path = dir.join(name);
    let file = File::create(&path).unwrap();
    file.set_len(size.0).unwrap();
    for (at, bytes) in pieces {
        file.write_all_at(bytes, at.0).unwrap();
    }
    path
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn id(label: &str) -> Guid {
    Guid::derived("judged", label)
}
