//! The journal: what is about to be made outside the cache, written down before it is begun and
//! struck out when it is done. It says to the next start that something was left, where, and by
//! which driver; how to finish or undo it, the driver knows.
//!
//! An entry concerns one machine of one driver in one directory of machines, and holds up nothing
//! else: [`recover`] is asked for the machine that is about to be used. The driver of an entry may
//! be gone from this host, or known to a later kuth alone; such entries stay until somebody drops
//! them.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Context, Error, Result, anyhow, with_hint};
use crate::hypervisor::{Access, Host, Row, is_legal_name, row};

/// What an entry's `action` may be.
const ACTIONS: [&str; 3] = ["register", "snapshot", "clone"];

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
    /// The directory of machines it is made in.
    pub machines: PathBuf,
}

/// A file of the journal that a killed or failed run left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What it says.
    pub content: Content,
}

/// What a file of the journal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// What was begun.
    Entry(Entry),
    /// Nothing yet: it was cut short while it was written, so nothing had been made.
    Torn,
    /// Nothing that this kuth can read, and why.
    Unreadable(String),
}

/// An entry of the journal; struck out when the work is [`Open::done`]. Dropping it
/// otherwise leaves it for [`recover`].
#[derive(Debug)]
#[must_use]
pub struct Open {
    path: Option<PathBuf>,
}

impl Entry {
    /// Writes down, in the host's journal, what `driver` is about to do to `machine`. To be called
    /// once the driver could begin: an entry of a driver that cannot be used has nothing to finish.
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
            machines: std::path::absolute(&host.machines)
                .context("finding the working directory")?,
        };
        entry.open(host.journal.as_deref())
    }

    /// Writes the entry down, synced, before anything is made.
    pub fn open(&self, journal: Option<&Path>) -> Result<Open> {
        let Some(journal) = journal else { return Ok(Open { path: None }) };
        let what = || format!("writing the journal in {}", journal.display());
        crate::files::make_directory(journal)?;
        let path = journal.join(self.file_name());
        // Not written aside: a torn entry says that nothing had been made yet.
        let text = serde_json::to_vec_pretty(self).with_context(what)?;
        let mut file = File::create(&path).with_context(what)?;
        file.write_all(&text).with_context(what)?;
        file.sync_all().with_context(what)?;
        crate::files::sync(journal)?;
        Ok(Open { path: Some(path) })
    }

    fn file_name(&self) -> String {
        format!("{}-{}-{}.json", self.driver, self.machine, self.origin.short())
    }

    /// The driver that can finish it, if this kuth has that and knows what was done.
    fn row(&self, host: &Host) -> Result<&'static Row> {
        let row = row(host, &self.driver)?;
        match ACTIONS.contains(&self.action.as_str()) {
            true => Ok(row),
            false => Err(anyhow!("this kuth does not know the action `{}`", self.action)),
        }
    }

    /// Where it was made.
    fn there(&self, host: &Host) -> Host {
        Host { machines: self.machines.clone(), ..host.clone() }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { driver, action, machine, machines, .. } = self;
        write!(f, "`{action}` of the machine `{machine}` ({driver}, in {})", machines.display())
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

impl JournalFile {
    fn read(path: PathBuf) -> JournalFile {
        let content = match std::fs::read(&path) {
            // The name of a file comes before its content: a power failure may leave it empty, or
            // of zeros.
            Ok(bytes) if bytes.iter().all(|byte| *byte == 0) => Content::Torn,
            Ok(bytes) => match serde_json::from_slice::<Entry>(&bytes) {
                // It becomes part of paths.
                Ok(entry) if !is_legal_name(&entry.machine) => {
                    Content::Unreadable(format!("`{}` is not a machine's name", entry.machine))
                }
                Ok(entry) => Content::Entry(entry),
                Err(error) if error.is_eof() => Content::Torn,
                Err(error) => Content::Unreadable(error.to_string()),
            },
            Err(error) => Content::Unreadable(error.to_string()),
        };
        JournalFile { path, content }
    }

    /// Whether it is of this machine of this driver in this directory of machines; or may be, where
    /// only its name says so.
    fn concerns(&self, driver: &str, machine: &str, machines: &Path) -> bool {
        match &self.content {
            Content::Entry(entry) => {
                entry.driver == driver
                    && entry.machine == machine
                    && is_same(&entry.machines, machines)
            }
            Content::Torn | Content::Unreadable(_) => {
                let name = self.path.file_name().unwrap_or_default().to_string_lossy();
                let origin = name
                    .strip_prefix(&format!("{driver}-{machine}-"))
                    .and_then(|rest| rest.strip_suffix(".json"));
                // Names of machines may have a `-` too.
                origin.is_some_and(|origin| origin.chars().all(|c| c.is_ascii_hexdigit()))
            }
        }
    }

    /// Why it cannot be finished or undone on this host, if it cannot. Asks its driver, and changes
    /// nothing.
    pub fn obstacle(&self, host: &Host) -> Option<String> {
        let entry = match &self.content {
            Content::Entry(entry) => entry,
            Content::Torn => return None,
            Content::Unreadable(_) => return Some("it cannot be read".to_string()),
        };
        let row = match entry.row(host) {
            Ok(row) => row,
            Err(error) => return Some(error.to_string()),
        };
        let there = entry.there(host);
        let list = || row.driver.open(&there, Access::Look)?.all();
        let fails = || list().err().map(|error| format!("{error:#}"));
        let why = row.driver.unavailable(&there).or_else(fails)?;
        // A failed command is reported on several lines.
        Some(why.lines().map(str::trim).collect::<Vec<_>>().join(", "))
    }

    /// Finishes or undoes what it describes, and strikes it out.
    pub fn finish(&self, host: &Host) -> Result<()> {
        match &self.content {
            Content::Entry(entry) => {
                let Entry { action, machine, origin, .. } = entry;
                let there = entry.there(host);
                let finish = |row: &Row| row.driver.recover(&there, action, machine, origin);
                entry
                    .row(host)
                    .and_then(finish)
                    .with_context(|| format!("finishing the {entry} that an earlier run began"))?;
            }
            Content::Torn => {}
            Content::Unreadable(why) => {
                return Err(anyhow!("{why}")).with_context(|| {
                    format!("reading what an earlier run began, in {}", self.path.display())
                });
            }
        }
        self.strike()
    }

    /// Strikes it out, whatever it describes.
    pub fn strike(&self) -> Result<()> {
        strike(&self.path)
    }

    /// What may be left over once it is struck out without having been finished; a sentence.
    pub fn remains(&self, host: &Host) -> String {
        match &self.content {
            Content::Entry(entry) => match entry.row(host) {
                Ok(row) => row.driver.remains(&entry.machines, &entry.machine),
                Err(_) => format!(
                    "what `{}` had made of the machine `{}` in {} stays as it is",
                    entry.driver,
                    entry.machine,
                    entry.machines.display()
                ),
            },
            Content::Torn => "nothing had been made yet".to_string(),
            Content::Unreadable(_) => "what it described, if anything, stays as it is".to_string(),
        }
    }

    /// What `machine doctor` takes for its name: the machine, where that is known.
    pub fn name(&self) -> String {
        match &self.content {
            Content::Entry(entry) => entry.machine.clone(),
            Content::Torn | Content::Unreadable(_) => {
                self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
            }
        }
    }

    /// What to do where it cannot be finished.
    fn hint(&self) -> String {
        let name = self.name();
        format!("make that work again, or give it up: `kuth machine doctor --drop {name}`")
    }
}

impl fmt::Display for JournalFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Entry(entry) => write!(f, "{entry} did not end"),
            Content::Torn => write!(f, "an entry that was cut short, before anything was made"),
            Content::Unreadable(why) => write!(f, "no entry that this kuth can read: {why}"),
        }
    }
}

/// Whether two paths lead to one directory.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other
        || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// The files that killed or failed runs left in a journal, by name; none where it is not there.
pub fn files(journal: &Path) -> Result<Vec<JournalFile>> {
    let files = match std::fs::read_dir(journal) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", journal.display())),
    };
    let mut paths: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    Ok(paths.into_iter().map(JournalFile::read).collect())
}

fn of_machine(host: &Host, driver: &str, machine: &str) -> Result<Vec<JournalFile>> {
    let Some(journal) = &host.journal else { return Ok(Vec::new()) };
    let mut files = files(journal)?;
    files.retain(|file| file.concerns(driver, machine, &host.machines));
    Ok(files)
}

/// Finishes or undoes what killed runs left of `machine`, which is `driver`'s and in the host's
/// directory of machines, and strikes it out; gives how much that was. To be called before the
/// machine is looked at to be used. An error says what cannot be finished.
pub fn recover(host: &Host, driver: &str, machine: &str) -> Result<usize> {
    let left = of_machine(host, driver, machine)?;
    for file in &left {
        file.finish(host).map_err(|error| with_hint(error, file.hint()))?;
    }
    Ok(left.len())
}

/// `error`, for which `driver` cannot be used, with what it left of `machine` if it did.
pub fn explain(error: Error, host: &Host, driver: &str, machine: &str) -> Error {
    let left = of_machine(host, driver, machine).unwrap_or_default();
    match left.first() {
        None => error,
        Some(file) => {
            let what = match &file.content {
                Content::Entry(entry) => entry.to_string(),
                _ => file.path.display().to_string(),
            };
            let what = format!("finishing what an earlier run began, {what}");
            with_hint(error.context(what), file.hint())
        }
    }
}

#[cfg(test)]
mod tests;
