//! A directory as a remote: a disk that several machines mount, or a test's.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, linkat};
use rustix::io::Errno;

use super::{Listed, Remote};
use crate::error::{Context, Result, anyhow};
use crate::files;
use crate::http::TooLong;
use crate::units::Bytes;

/// A remote in a directory.
pub(super) struct Directory {
    directory: PathBuf,
}

impl Directory {
    /// The directory at `directory`, which may not exist until something is put into it.
    pub fn new(directory: PathBuf) -> Directory {
        Directory { directory }
    }
}

impl Remote for Directory {
    fn get(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let path = self.directory.join(name);
        let what = || format!("reading {}", path.display());
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(what),
        };
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes).with_context(what)?;
        if bytes.len() as u64 > most {
            return Err(TooLong::than(most)).with_context(what);
        }
        Ok(Some(bytes))
    }

    fn part(&self, name: &str, at: u64, length: u64) -> Result<Option<Vec<u8>>> {
        let path = self.directory.join(name);
        let what = || format!("reading {}", path.display());
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(what),
        };
        file.seek(SeekFrom::Start(at)).with_context(what)?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes).with_context(what)?;
        Ok(Some(bytes))
    }

    /// Written to a file without a name, which gets its name when it is whole and synced: no reader sees
    /// a partial file, and a killed process leaves none. One that replaces another has a name beside that
    /// first, always the same, so that the next attempt takes what a killed process left. Where files
    /// cannot be without a name, as on NFS, it has a random one first.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.directory.join(name);
        let what = || format!("writing {}", path.display());
        let directory =
            path.parent().ok_or_else(|| anyhow!("{} has no directory", path.display()))?;
        files::make_directory(directory)?;
        let fill = |mut file: &File| -> std::io::Result<()> {
            file.write_all(bytes)?;
            file.set_permissions(PermissionsExt::from_mode(0o644))?;
            file.sync_all()
        };
        let file = tempfile::tempfile_in(directory).with_context(what)?;
        fill(&file).with_context(what)?;
        let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
        let link = |to: &Path| linkat(CWD, &unnamed, CWD, to, AtFlags::SYMLINK_FOLLOW);
        let linked = match link(&path) {
            Err(Errno::EXIST) => {
                let mut aside = path.clone().into_os_string();
                aside.push(".aside");
                let aside = Path::new(&aside);
                let _ = std::fs::remove_file(aside);
                // Another process may do the same with the same bytes; then this one goes the other way.
                link(aside).is_ok() && std::fs::rename(aside, &path).is_ok()
            }
            outcome => outcome.is_ok(),
        };
        if !linked {
            let file = tempfile::NamedTempFile::new_in(directory).with_context(what)?;
            fill(file.as_file()).with_context(what)?;
            file.persist(&path).with_context(what)?;
        }
        files::sync(directory)
    }

    fn has(&self, name: &str) -> Result<bool> {
        let path = self.directory.join(name);
        path.try_exists().with_context(|| format!("looking for {}", path.display()))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let (mut found, mut open) = (Vec::new(), vec![prefix.trim_end_matches('/').to_string()]);
        while let Some(name) = open.pop() {
            let path = self.directory.join(&name);
            let what = || format!("reading {}", path.display());
            let entries = match std::fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(what),
            };
            for entry in entries {
                let entry = entry.with_context(what)?;
                let metadata = entry.metadata().with_context(what)?;
                let name = format!("{name}/{}", entry.file_name().to_string_lossy());
                match metadata.is_dir() {
                    true => open.push(name),
                    false => found.push(Listed {
                        name,
                        size: Bytes(metadata.len()),
                        written: metadata.modified().ok(),
                    }),
                }
            }
        }
        Ok(found)
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.directory.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            outcome => outcome.with_context(|| format!("removing {}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_stored_and_limits_are_enforced() {
        let directory = tempfile::tempdir().unwrap();
        let remote = Directory::new(directory.path().join("new"));
        assert!(!remote.has("a/b").unwrap() && remote.get("a/b", 9).unwrap().is_none());
        remote.put("a/b", b"abc").unwrap();
        assert!(remote.has("a/b").unwrap());
        assert_eq!(remote.get("a/b", 3).unwrap().unwrap(), b"abc");
        assert!(remote.get("a/b", 2).is_err());
        // Replaced, with what a killed process left beside it.
        std::fs::write(directory.path().join("new/a/b.aside"), "left").unwrap();
        remote.put("a/b", b"abd").unwrap();
        assert_eq!(remote.get("a/b", 3).unwrap().unwrap(), b"abd");
        assert_eq!(remote.list("a/").unwrap().len(), 1);
        remote.put("a/b", b"abc").unwrap();
        assert_eq!(remote.part("a/b", 1, 1).unwrap().unwrap(), b"b");
        assert_eq!(remote.part("a/b", 1, 9).unwrap().unwrap(), b"bc");
        assert_eq!(remote.part("a/b", 9, 9).unwrap().unwrap(), b"");
        assert!(remote.part("a/c", 0, 9).unwrap().is_none());
    }
}
