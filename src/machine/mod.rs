//! Machines on a hypervisor, at the level of intent: register a disk as a machine, freeze it as
//! a snapshot, clone that, and let people start, stop and remove what came of it. A driver is
//! one folder (or file) here and one row of [`DRIVERS`]; nothing outside knows which one runs.
//!
//! Machines hold people's data. So a driver never deletes what kuth did not make, never replaces
//! a machine that was started unless it was told to, and makes a machine aside and puts it in its
//! place in one step, so that a killed run leaves none or a whole one.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Hint, Result, anyhow};
use crate::process::Cancel;
use crate::site::Site;
use crate::units::Bytes;

pub mod base64;
pub mod boot;
pub mod console;
pub mod journal;
pub mod nic;
pub mod probe;
pub mod qemu;
pub mod seed;

pub use nic::{Mac, Network, Nic};

/// What a driver must be able to do.
pub trait Driver: Send + Sync {
    /// Makes `disk` known as a machine.
    fn register(&self, host: &Host, wanted: &Wanted, disk: &Disk) -> Result<Identity>;

    /// Freezes the disk of a machine under `name`.
    fn snapshot(&self, host: &Host, machine: &Identity, name: &str) -> Result<Identity>;

    /// Makes a machine from a snapshot.
    fn clone_snapshot(&self, host: &Host, wanted: &Wanted, from: &Cloning<'_>) -> Result<Identity>;

    /// Whether what was made is still there as it was made.
    fn find(&self, host: &Host, identity: &Identity) -> Result<Found>;

    /// Finishes or undoes what killed runs left.
    fn recover(&self, host: &Host) -> Result<()>;

    /// Every machine kuth made, by name.
    fn list(&self, host: &Host) -> Result<Vec<Listed>>;

    /// Starts a machine in the background.
    fn start(&self, host: &Host, name: &str) -> Result<Listed>;

    /// Asks a machine to power off, and ends it when it does not.
    fn stop(&self, host: &Host, name: &str) -> Result<Stopped>;

    /// Removes a machine and its own disks. Refuses while it runs or others rest on it.
    fn remove(&self, host: &Host, name: &str) -> Result<()>;

    /// Removes disks that no machine rests on any more, and says which and how large.
    fn clean(&self, host: &Host) -> Result<Vec<(PathBuf, Bytes)>>;

    /// The file that the machine's serial console is kept in.
    fn console(&self, host: &Host, name: &str) -> Result<PathBuf>;

    /// The arguments for `ssh` that reach a running machine.
    fn ssh(&self, host: &Host, name: &str) -> Result<Vec<String>>;
}

/// One row of the table of drivers.
pub struct Row {
    /// The word after `driver =`.
    pub name: &'static str,
    /// Why it cannot be used here, if it cannot.
    pub unavailable: fn() -> Option<String>,
    /// The driver.
    pub driver: &'static dyn Driver,
}

/// Every driver; `auto` is the first that is available. A new one is one row.
pub const DRIVERS: &[Row] = &[Row { name: "qemu", unavailable: || None, driver: &qemu::Qemu }];

/// The words a pipeline may write after `driver =`.
pub const DRIVER_WORDS: &[&str] = &["auto", "virtualbox", "qemu"];

/// The driver for `word`: a name, or `auto` for the first that can be used here.
pub fn choose(word: &str) -> Result<&'static Row> {
    if word == "auto" {
        let usable = DRIVERS.iter().find(|row| (row.unavailable)().is_none());
        return usable.ok_or_else(|| anyhow!("no driver can be used on this host"));
    }
    let names = || DRIVERS.iter().map(|row| row.name).collect::<Vec<_>>().join("`, `");
    let row = DRIVERS.iter().find(|row| row.name == word);
    let row = row
        .ok_or_else(|| anyhow!("this kuth has no driver `{word}`"))
        .hint(format!("choose `auto` or one of `{}`, with `--driver`", names()))?;
    match (row.unavailable)() {
        None => Ok(row),
        Some(why) => Err(anyhow!("the driver `{word}` cannot be used here: {why}"))
            .hint("use another one with `--driver`, or `driver = \"auto\"`"),
    }
}

/// Whether a machine that holds state may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// It stays; the build says so.
    Never,
    /// It goes, with all it holds.
    Always,
}

/// Where a driver works.
#[derive(Clone, Debug)]
pub struct Host {
    /// The folder that the embedded driver keeps machines in.
    pub machines: PathBuf,
    /// The folder of the journal; without one (`kuth machine …`) nothing is made.
    pub journal: Option<PathBuf>,
    /// The file that the output of commands goes to.
    pub log: PathBuf,
    /// The pipeline that builds, which owns what is made.
    pub pipeline: String,
    /// Clamps times in what is made.
    pub epoch: u64,
    /// What to do with machines that hold state.
    pub replace: Replace,
    /// Set when the user wants to stop.
    pub cancel: Cancel,
}

impl Host {
    /// The host as a stage sees it.
    pub fn of(site: &Site, replace: Replace) -> Host {
        let replace = if site.settings.replace { Replace::Always } else { replace };
        Host {
            machines: site.settings.machines.clone(),
            journal: Some(site.cache.journal()),
            log: site.log.clone(),
            pipeline: site.settings.pipeline.clone(),
            epoch: site.settings.epoch,
            replace,
            cancel: site.cancel.clone(),
        }
    }

    /// The host as a person at the command line sees it; logs go to the machines' folder.
    pub fn at(machines: &Path, cancel: Cancel) -> Host {
        Host {
            machines: machines.to_path_buf(),
            journal: None,
            log: machines.join("kuth.log"),
            pipeline: String::new(),
            epoch: 0,
            replace: Replace::Never,
            cancel,
        }
    }
}

/// Which firmware starts a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// The PC's old one.
    Bios,
    /// UEFI without Secure Boot.
    Uefi,
}

impl Firmware {
    /// As a pipeline writes it.
    pub fn word(self) -> &'static str {
        match self {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
        }
    }
}

/// What a machine is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Hardware {
    /// Debian's word for it: `amd64`, `arm64`.
    pub architecture: String,
    /// How many processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u64,
    /// What starts it.
    pub firmware: Firmware,
    /// Sizes of empty disks beside the first, in bytes.
    #[serde(default)]
    pub disks: Vec<u64>,
    /// Network cards, in order.
    #[serde(default, rename = "nic")]
    pub nics: Vec<Nic>,
}

/// A machine to make.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name on the hypervisor, and its host name.
    pub name: String,
    /// The digest of everything that shapes it: two machines of one origin are the same machine.
    pub origin: Digest,
    /// What it is made of.
    pub hardware: Hardware,
    /// Who `ssh` logs in as.
    pub user: Option<String>,
}

/// The disk that a machine is registered with.
#[derive(Clone, Debug)]
pub struct Disk {
    /// A raw image, perhaps sparse.
    pub file: PathBuf,
    /// Names its content.
    pub digest: Digest,
    /// Its length.
    pub size: Bytes,
}

/// How a clone comes from its snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Cloning<'a> {
    /// The snapshot.
    pub snapshot: &'a Identity,
    /// What it shares with it.
    pub copy: Copying,
    /// The image of its seed.
    pub seed: &'a [u8],
}

/// What a clone shares with its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copying {
    /// Only what changes is its own.
    Linked,
    /// Nothing.
    Full,
}

/// What a driver made, as an artifact keeps it. Nothing of this host is in it: the same recipe
/// gives the same identity everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Identity {
    /// The driver's name.
    pub driver: String,
    /// The machine's name.
    pub machine: String,
    /// [`Wanted::origin`] of the machine.
    pub origin: Digest,
    /// The snapshot's name, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The driver's name for the disk that a clone would rest on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
}

impl Identity {
    /// The row of the driver that made it.
    pub fn row(&self) -> Result<&'static Row> {
        choose(&self.driver)
    }

    /// The text an artifact is.
    pub fn to_text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// Where something a driver made is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There, as it was made or used since.
    Here(PathBuf),
    /// Not there any more, or not as it was made, and why.
    Gone(String),
    /// Another of kuth's own is in its place, which holds no state, and why.
    Replaced(String),
    /// Another one is in its place, which holds state and must stay; and why.
    Kept(PathBuf, String),
}

/// A machine as `list` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Where it lies.
    pub folder: PathBuf,
    /// The pipeline that made it.
    pub pipeline: String,
    /// The snapshots taken of it.
    pub snapshots: Vec<String>,
    /// The machine it was cloned from.
    pub cloned_from: Option<String>,
    /// How it is.
    pub state: State,
    /// What it is made of.
    pub hardware: Hardware,
    /// Who `ssh` logs in as.
    pub user: Option<String>,
    /// The port of 127.0.0.1 that leads to its SSH server, while it runs.
    pub ssh_port: Option<u16>,
}

/// How a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As kuth made it.
    Ready,
    /// Powered off, and holding state.
    Used,
    /// Running, as this process.
    Running(u32),
}

/// How a machine was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It did not run.
    Already,
    /// It powered off.
    PoweredOff,
    /// It did not power off in time and was ended.
    Ended,
}

/// Whether `name` can be a machine's name and host name: letters, digits and inner `-`, at most
/// 63, in lower case.
pub fn is_legal_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(word)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name != qemu::folder::BASES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_found_by_name_or_chosen() {
        assert_eq!(choose("auto").map(|row| row.name).unwrap(), "qemu");
        assert_eq!(choose("qemu").map(|row| row.name).unwrap(), "qemu");
        let error = choose("virtualbox").map(|row| row.name).unwrap_err();
        assert_eq!(error.to_string(), "this kuth has no driver `virtualbox`");
    }

    #[test]
    fn names_are_host_names() {
        for name in ["gate-node01", "a", "0"] {
            assert!(is_legal_name(name), "{name}");
        }
        for name in ["", "-a", "a-", "a.b", "A", "a/b", "bases", "..", &"x".repeat(64)] {
            assert!(!is_legal_name(name), "{name}");
        }
    }

    #[test]
    fn an_identity_is_pinned_text() {
        let identity = Identity {
            driver: "qemu".into(),
            machine: "base".into(),
            origin: Digest([0; 32]),
            snapshot: None,
            disk: Some("bases/x.raw".into()),
        };
        let text = identity.to_text().unwrap();
        let zeros = "0".repeat(64);
        assert_eq!(
            text,
            format!(
                "{{\n  \"driver\": \"qemu\",\n  \"machine\": \"base\",\n  \"origin\": \"{zeros}\",\n  \
                 \"disk\": \"bases/x.raw\"\n}}\n"
            )
        );
        assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), identity);
    }
}
