//! The file of a lock, shared by the threads of a build. It is written whole, aside and renamed,
//! and only when its content changes.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::{Entries, LockEntry, parse};
use crate::cancel::Cancel;
use crate::error::{Context, Hint, Result, with_hint};
use crate::files;

/// When a new entry is written to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    /// At once.
    Immediate,
    /// When [`LockFile::save`] is called.
    Deferred,
}

/// An open lock, shared by the threads of a build.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    stages: Mutex<Entries>,
    writing: Writing,
}

impl LockFile {
    /// The path of the lock of the pipeline at `path`: `debian.toml` -> `debian.lock`.
    pub fn beside(path: &Path) -> PathBuf {
        path.with_extension("lock")
    }

    /// Reads the lock, empty where there is none.
    pub fn open(path: &Path) -> Result<LockFile> {
        let what = || format!("reading the lock {}", path.display());
        let stages = match std::fs::read_to_string(path) {
            Ok(text) => parse::read(&text).with_context(what).map_err(|error| {
                with_hint(error, format!("remove it to resolve anew: `rm {}`", path.display()))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Entries::new(),
            Err(error) => return Err(error).with_context(what),
        };
        Ok(LockFile {
            path: path.to_path_buf(),
            stages: Mutex::new(stages),
            writing: Writing::Immediate,
        })
    }

    /// A lock of the same file with `entries`, which is not written before it is saved.
    pub fn draft(&self, entries: Entries) -> LockFile {
        LockFile {
            path: self.path.clone(),
            stages: Mutex::new(entries),
            writing: Writing::Deferred,
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All entries, by stage.
    pub fn entries(&self) -> Entries {
        self.stages().clone()
    }

    /// Replaces all entries of `stage`.
    pub fn replace(&self, stage: &str, entries: Vec<LockEntry>) {
        match entries.is_empty() {
            true => self.stages().remove(stage),
            false => self.stages().insert(stage.to_string(), entries),
        };
    }

    /// Writes all of it.
    pub fn save(&self) -> Result<()> {
        self.write(&parse::write(&self.stages())?)
    }

    /// The entries of `stage`.
    pub fn stage(&self, stage: &str) -> Vec<LockEntry> {
        self.stages().get(stage).cloned().unwrap_or_default()
    }

    /// The entries of all stages.
    pub fn all(&self) -> Vec<LockEntry> {
        self.stages().values().flatten().cloned().collect()
    }

    fn stages(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.stages.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Records what `stage` resolved. It replaces the entry of the same question; another suite
    /// (`--var suite=bookworm`) has an entry of its own.
    pub fn record(&self, stage: &str, entry: &LockEntry) -> Result<()> {
        let mut stages = self.stages();
        let entries = stages.entry(stage.to_string()).or_default();
        if entries.contains(entry) {
            return Ok(());
        }
        entries.retain(|other| other.question() != entry.question());
        entries.push(entry.clone());
        // The order in which things were resolved is not a change.
        entries.sort_by_key(LockEntry::question);
        match self.writing {
            // Still under the mutex: the file must not lose what another thread noted meanwhile.
            Writing::Immediate => self.write(&parse::write(&stages)?),
            Writing::Deferred => Ok(()),
        }
    }

    fn write(&self, text: &str) -> Result<()> {
        files::replace(&self.path, text.as_bytes(), &Cancel::default())
            .with_context(|| format!("writing the lock {}", self.path.display()))
            .hint("the lock lies beside the pipeline; make that directory writable")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LockedPackages, Package, Part};
    use super::*;
    use crate::digest::Digest;
    use crate::recipe::Key;

    fn entry(suite: &str, version: &str) -> LockEntry {
        LockEntry::Packages(LockedPackages {
            part: Part::Packages,
            request: Key(Digest::of("request")),
            suite: suite.into(),
            architecture: "amd64".into(),
            release: Digest::of("release"),
            date: None,
            asked: None,
            components: None,
            medium: None,
            suites: Vec::new(),
            packages: vec![Package {
                name: "a+b".into(),
                version: version.into(),
                architecture: "all".into(),
                sha256: Digest::of(version),
                size: 1,
                path: "pool/a".into(),
                essential: false,
                suite: None,
                repository: None,
                file: false,
            }],
        })
    }

    #[test]
    fn recorded_entries_are_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = LockFile::beside(&directory.path().join("x.toml"));
        let lock = LockFile::open(&path).unwrap();
        lock.record("nodes/a", &entry("trixie", "1")).unwrap();
        lock.record("base", &entry("trixie", "2")).unwrap();
        lock.record("base", &entry("bookworm", "1")).unwrap();
        lock.record("base", &entry("trixie", "3")).unwrap();
        let lock = LockFile::open(&path).unwrap();
        assert_eq!(lock.stage("base"), [entry("bookworm", "1"), entry("trixie", "3")]);
        assert_eq!(lock.stage("nodes/a"), [entry("trixie", "1")]);
        assert!(lock.stage("other").is_empty());
        let text = std::fs::read_to_string(&path).unwrap();
        let line = format!(
            "\n  {{ architecture = \"all\", name = \"a+b\", path = \"pool/a\", sha256 = \"{}\", \
             size = 1, version = \"3\" }},\n",
            Digest::of("3")
        );
        assert!(text.contains(&line), "{text}");
    }

    #[test]
    fn a_lock_of_another_version_is_refused_with_a_way_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.lock");
        std::fs::write(&path, "version = 3\n").unwrap();
        let error = LockFile::open(&path).unwrap_err();
        assert!(format!("{error:#}").contains("it has version 3, this kuth knows 2"));
        assert_eq!(crate::error::hints(&error).len(), 1);
    }
}
