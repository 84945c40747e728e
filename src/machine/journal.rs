//! The journal: what is about to be made outside the cache, written down before it is begun and
//! struck out when it is done. It tells the next start that something was left, where, and by
//! which driver; how to finish or undo it, the driver knows.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Context, Result};

use super::{DRIVERS, Host};

/// One thing about to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which driver makes it.
    pub driver: String,
    /// `register`, `snapshot` or `clone`.
    pub action: String,
    /// The machine.
    pub machine: String,
    /// What shapes it.
    pub origin: Digest,
    /// The folder of machines it is made in.
    pub machines: PathBuf,
}

/// An entry that stands in the journal; struck out when the work is [`Open::done`]. Dropping it
/// otherwise leaves it for [`recover`].
#[derive(Debug)]
#[must_use]
pub struct Open {
    path: Option<PathBuf>,
}

impl Entry {
    /// Writes down, in the host's journal, what `driver` is about to do to `machine`.
    pub fn begin(
        host: &Host,
        driver: &str,
        action: &str,
        machine: &str,
        origin: Digest,
    ) -> Result<Open> {
        let entry = Entry {
            driver: driver.to_string(),
            action: action.to_string(),
            machine: machine.to_string(),
            origin,
            machines: host.machines.clone(),
        };
        entry.open(host.journal.as_deref())
    }

    /// Writes the entry down, synced, before anything is made.
    pub fn open(&self, journal: Option<&Path>) -> Result<Open> {
        let Some(journal) = journal else { return Ok(Open { path: None }) };
        let what = || format!("writing the journal in {}", journal.display());
        std::fs::create_dir_all(journal).with_context(what)?;
        let name = format!("{}-{}-{}.json", self.driver, self.machine, self.origin.short());
        let path = journal.join(name);
        // Not written aside: a torn entry says that nothing had been made yet.
        let text = serde_json::to_vec_pretty(self).with_context(what)?;
        let mut file = File::create(&path).with_context(what)?;
        file.write_all(&text).with_context(what)?;
        file.sync_all().with_context(what)?;
        Ok(Open { path: Some(path) })
    }
}

impl Open {
    /// Strikes the entry out.
    pub fn done(self) -> Result<()> {
        self.path.as_deref().map_or(Ok(()), strike)
    }
}

fn strike(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The entries that killed runs left; `None` for one that was cut short while it was written.
pub fn entries(journal: &Path) -> Result<Vec<(PathBuf, Option<Entry>)>> {
    let files = match std::fs::read_dir(journal) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", journal.display())),
    };
    let mut found = Vec::new();
    for path in files.flatten().map(|file| file.path()) {
        if path.extension().is_some_and(|extension| extension == "json") {
            let entry = std::fs::read(&path).ok();
            found.push((path, entry.and_then(|text| serde_json::from_slice(&text).ok())));
        }
    }
    found.sort_by(|a: &(PathBuf, Option<Entry>), b| a.0.cmp(&b.0));
    Ok(found)
}

/// Finishes or undoes what killed runs left, everywhere the journal names, and strikes it out.
/// To be called when a build starts; it costs one look at an empty folder.
pub fn recover(host: &Host) -> Result<usize> {
    let Some(journal) = &host.journal else { return Ok(0) };
    let left = entries(journal)?;
    for (path, entry) in &left {
        if let Some(entry) = entry {
            // An entry of a newer kuth's driver waits for that one.
            let row = DRIVERS.iter().find(|row| row.name == entry.driver);
            let Some(row) = row else { continue };
            let host = Host { machines: entry.machines.clone(), ..host.clone() };
            row.driver.recover(&host, entry)?;
        }
        strike(path)?;
    }
    Ok(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_stands_until_it_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let entry = Entry {
            driver: "qemu".into(),
            action: "clone".into(),
            machine: "a".into(),
            origin: Digest([1; 32]),
            machines: "/m".into(),
        };
        let open = entry.open(Some(folder.path())).unwrap();
        let left = entries(folder.path()).unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].1, Some(entry));
        open.done().unwrap();
        assert_eq!(entries(folder.path()).unwrap(), []);
    }
}
