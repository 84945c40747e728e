//! A directory to work in, kuth's way to unpack, and how two unpacked directories are compared.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use kuth::archive::{self, Options, Unpacked};
use kuth::cancel::Cancel;
use kuth::digest::Digest;
use kuth::error::Result;
use kuth::units::Bytes;
use kuth_test_support::judge::tool_in;

pub const EPOCH: u64 = 2_000_000_000;

pub struct Bench {
    pub directory: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Bench {
        Bench { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Unpacks `archive` into the new tar `name`.
    pub fn unpack(&self, archive: &Path, name: &str, limit: Option<Bytes>) -> Result<Unpacked> {
        self.unpack_with(archive, name, limit, 2)
    }

    pub fn unpack_with(
        &self,
        archive: &Path,
        name: &str,
        limit: Option<Bytes>,
        threads: usize,
    ) -> Result<Unpacked> {
        let work = self.directory.path();
        let cancel = &Cancel::default();
        let options = Options { limit, threads, epoch: EPOCH, work, cancel, report: &|_, _| () };
        archive::unpack(archive, &self.path(name), &options)
    }

    /// What kuth makes of `archive`, in the file system.
    pub fn unpacked(&self, archive: &Path) -> BTreeMap<PathBuf, String> {
        let _ = std::fs::remove_file(self.path("kept.tar"));
        let _ = std::fs::remove_dir_all(self.path("kuth"));
        self.unpack(archive, "kept.tar", None)
            .unwrap_or_else(|error| panic!("{}: {error:#}", archive.display()));
        archive::extract::extract(&self.path("kept.tar"), &self.path("kuth"), &Cancel::default())
            .unwrap();
        listed(&self.path("kuth"))
    }

    /// What a command makes in an empty directory; `None` where it is not installed.
    pub fn made_by(&self, program: &str, args: &[&str]) -> Option<BTreeMap<PathBuf, String>> {
        let directory = self.path("tool");
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir(&directory).unwrap();
        tool_in(&directory, program, args)?;
        Some(listed(&directory))
    }
}

/// Every name below `root`, and all of it that a directory keeps.
pub fn listed(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_path_buf();
            let metadata = path.symlink_metadata().unwrap();
            let mode = metadata.mode() & 0o777;
            let time = metadata.mtime();
            let text = if metadata.is_symlink() {
                format!("link to {}", path.read_link().unwrap().display())
            } else if metadata.is_dir() {
                directories.push(path);
                format!("directory {mode:o}")
            } else {
                assert!(!metadata.file_type().is_fifo());
                let (size, links) = (metadata.len(), metadata.nlink());
                let digest = Digest::of(std::fs::read(&path).unwrap()).short();
                format!("file {mode:o} {time} {links} {size} {digest}")
            };
            found.insert(name, text);
        }
    }
    found
}
