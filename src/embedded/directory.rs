//! How machines lie on disk, and the record in each that says kuth made it.
//!
//! ```text
//! machines/.lock                one kuth at a time changes anything here
//! machines/bases/DIGEST.raw     base disks, read-only, shared; by the digest of their content
//! machines/bases/frozen-….qcow2 what a machine had written when a snapshot froze it
//! machines/NAME/machine.toml    the record
//! machines/NAME/disk.qcow2      what the machine writes, over a base
//! machines/NAME/disk1.raw …     its further disks
//! machines/NAME/seed.iso        its seed
//! machines/NAME/run             starts it
//! machines/NAME/snapshots/S.toml
//! machines/NAME/started         it was started: it holds state
//! machines/.networks/N/         the sockets of the internal network N
//! machines/.making-NAME-…       being made; what a killed run left here is taken away
//! ```
//!
//! Names of backing files are relative (`../bases/…`), so that the whole directory can be moved or
//! mounted elsewhere; a single machine without its base would be no good anyway.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Context, Result, anyhow};
use crate::files::sparse;
use crate::hardware::Hardware;

/// The directory of base disks.
pub const BASES: &str = "bases";
/// The directory of internal networks.
pub const NETWORKS: &str = ".networks";
/// Beginnings of the names of directories that are not machines yet, or any more.
pub const MAKING: &str = ".making-";
/// A replaced machine, where the file system cannot swap two directories in one step.
pub const OLD: &str = ".old-";
/// The record's file.
pub const RECORD: &str = "machine.toml";
/// What the run script leaves.
pub const STARTED: &str = "started";
/// Says that a directory whose record is not written yet is kuth's.
pub const MARKER: &str = ".kuth";
/// The directory of a machine's snapshots.
pub const SNAPSHOTS: &str = "snapshots";
/// The file that the machine writes.
pub const DISK: &str = "disk.qcow2";
/// A new overlay that is about to take that file's place.
pub const NEW_DISK: &str = ".disk-new.qcow2";
/// The name of a full clone's disk.
pub const FULL_DISK: &str = "disk.raw";
/// The end of a name under which a record is written before it gets its own.
pub const ASIDE: &str = ".new";
/// What `made-by` says.
const MADE_BY: &str = "kuth";

/// What a machine came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A disk, registered.
    Base,
    /// A snapshot.
    Clone,
}

/// A file as it was when kuth had made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Fresh {
    /// The tree hash of its content.
    pub digest: Digest,
    /// Inode, length, and both times in nanoseconds: while all are the same, so is the content.
    pub stat: String,
}

impl Fresh {
    /// Takes down how `path` is now.
    pub fn of(path: &Path) -> Result<Fresh> {
        let what = || format!("hashing {}", path.display());
        let file = File::open(path).with_context(what)?;
        let digest = sparse::tree_hash(&file).with_context(what)?;
        Ok(Fresh { digest, stat: stat(&file.metadata().with_context(what)?) })
    }

    /// Whether `path` still has that content. Times alone prove no change (a backup sets them),
    /// but an unchanged time of change proves that there was none.
    pub fn is_unchanged(&self, path: &Path) -> Result<bool> {
        let what = || format!("looking at {}", path.display());
        let metadata = path.metadata().with_context(what)?;
        Ok(stat(&metadata) == self.stat || Fresh::of(path)?.digest == self.digest)
    }
}

fn stat(metadata: &std::fs::Metadata) -> String {
    format!(
        "{} {} {}.{:09} {}.{:09}",
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec()
    )
}

/// The record of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// `kuth`: nothing without this is ever touched.
    pub made_by: String,
    /// The machine's name.
    pub name: String,
    /// Base or clone.
    pub kind: Kind,
    /// What shaped it.
    pub origin: Digest,
    /// The pipeline that owns it.
    pub pipeline: String,
    /// The file below its disk, relative to the directory of machines; none under a full clone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing: Option<String>,
    /// Every file of `bases/` it depends on.
    pub bases: Vec<String>,
    /// The snapshot it was cloned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Parent>,
    /// Who logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The port it prefers for SSH.
    pub ssh_port: u16,
    /// Its disk as kuth made it.
    pub fresh: Fresh,
    /// What it is made of.
    pub hardware: Hardware,
}

/// Where a clone came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The machine.
    pub machine: String,
    /// Its snapshot.
    pub name: String,
}

/// The record of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SnapshotRecord {
    /// `kuth`.
    pub made_by: String,
    /// Its name.
    pub name: String,
    /// The file a clone depends on, relative to the directory of machines.
    pub disk: String,
    /// Every file of `bases/` that one depends on, itself included.
    pub bases: Vec<String>,
}

impl SnapshotRecord {
    /// A snapshot that kuth took.
    pub fn new(name: &str, disk: &str, bases: Vec<String>) -> SnapshotRecord {
        let (made_by, name, disk) = (MADE_BY.to_string(), name.to_string(), disk.to_string());
        SnapshotRecord { made_by, name, disk, bases }
    }

    /// Reads the record in `file`. `None` where there is none, or none of kuth's.
    pub fn read(file: &Path) -> Result<Option<SnapshotRecord>> {
        let Some(text) = read_text(file)? else { return Ok(None) };
        Ok(toml::from_str(&text).ok().filter(|it: &SnapshotRecord| it.made_by == MADE_BY))
    }
}

impl Record {
    /// Marks the record as kuth's.
    pub fn made_by() -> String {
        MADE_BY.to_string()
    }

    /// Reads the record in `directory`. `None` where there is none, or none of kuth's.
    pub fn read(directory: &Path) -> Result<Option<Record>> {
        let path = directory.join(RECORD);
        let Some(text) = read_text(&path)? else { return Ok(None) };
        Ok(toml::from_str(&text).ok().filter(|record: &Record| record.made_by == MADE_BY))
    }

    /// What is written.
    pub fn to_text(&self) -> Result<String> {
        toml::to_string(self).context("writing a machine's record down")
    }

    /// Writes the record into `directory`, the old one or the new one whatever happens.
    pub fn write(&self, directory: &Path) -> Result<()> {
        write_toml(&directory.join(RECORD), self)
    }
}

/// The snapshots of the machine in `directory`, by name.
pub fn snapshots(directory: &Path) -> Result<Vec<SnapshotRecord>> {
    let mut found: Vec<SnapshotRecord> = Vec::new();
    for path in entries(&directory.join(SNAPSHOTS))? {
        // A hidden one is being written, or a killed run wrote it: it is none yet.
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        if !is_hidden {
            found.extend(SnapshotRecord::read(&path)?);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The file of a snapshot's record.
pub fn snapshot_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(SNAPSHOTS).join(format!("{name}.toml"))
}

/// Writes `value` aside and renames, so that a reader sees the old text or the new.
pub fn write_toml(path: &Path, value: &impl Serialize) -> Result<()> {
    let what = || format!("writing {}", path.display());
    let text = toml::to_string(value).with_context(what)?;
    let directory = path.parent().ok_or_else(|| anyhow!("{} has no directory", path.display()))?;
    std::fs::create_dir_all(directory).with_context(what)?;
    // The lock is held, so one name will do; a kill leaves it to be overwritten.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = directory.join(format!(".{name}{ASIDE}"));
    let mut file = File::create(&aside).with_context(what)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).with_context(what)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o644)).with_context(what)?;
    file.sync_all().with_context(what)?;
    std::fs::rename(&aside, path).with_context(what)?;
    sync_directory(directory)
}

/// Makes what was renamed in `directory` survive a crash.
pub fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .with_context(|| format!("syncing {}", directory.display()))
}

/// The text of a file, `None` where there is none.
pub fn read_text(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        // A directory of somebody's that has our file's name, or a file among the machines'
        // directories.
        Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// What lies in `directory`, sorted; nothing where there is no directory.
pub fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("reading {}", directory.display()));
        }
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// Every machine of kuth's in `machines`, by name.
pub fn machines(machines: &Path) -> Result<Vec<(PathBuf, Record)>> {
    let mut found = Vec::new();
    for path in entries(machines)? {
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && let Some(record) = Record::read(&path)? {
            found.push((path, record));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_unchanged_by_content_whatever_its_times() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        std::fs::write(&path, "abc").unwrap();
        let fresh = Fresh::of(&path).unwrap();
        assert!(fresh.is_unchanged(&path).unwrap());
        let past = std::time::SystemTime::UNIX_EPOCH;
        File::options().write(true).open(&path).unwrap().set_modified(past).unwrap();
        assert!(fresh.is_unchanged(&path).unwrap());
        std::fs::write(&path, "abd").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(past).unwrap();
        assert!(!fresh.is_unchanged(&path).unwrap());
    }

    #[test]
    fn what_kuth_did_not_write_is_no_record() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(directory.path()).unwrap(), None);
        std::fs::write(directory.path().join(RECORD), "made-by = \"me\"\n").unwrap();
        assert_eq!(Record::read(directory.path()).unwrap(), None);
        std::fs::write(directory.path().join(RECORD), b"\xff\xfe").unwrap();
        assert_eq!(Record::read(directory.path()).unwrap(), None);
        assert_eq!(Record::read(&directory.path().join(RECORD)).unwrap(), None, "a file");
        assert_eq!(machines(directory.path()).unwrap(), []);
    }
}
