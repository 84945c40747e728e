//! Machines on a hypervisor, at the level of intent: register a disk as a machine, freeze it as
//! a snapshot, clone that, and let people start, stop and remove what came of it. A driver is
//! one directory (or file) here and one row of [`DRIVERS`]; nothing outside knows which one runs.
//!
//! Machines hold people's data. So a driver never deletes what kuth did not make, never replaces
//! a machine that runs, nor one that was started unless it was told to, and makes a machine aside
//! and puts it in its place in one step, so that a killed run leaves none or a whole one.

use std::path::PathBuf;

use crate::error::{Hint, Result, anyhow};
use crate::units::Bytes;

pub mod boot;
pub mod console;
pub mod directory;
pub mod host;
pub mod identity;
pub mod journal;
pub mod leases;
pub mod network;
pub mod nic;
pub mod post_config;
pub mod probe;
pub mod qemu;
pub mod seed;
pub mod shape;
pub mod ssh;
pub mod virtualbox;

pub use host::{Host, Replace};
pub use identity::{Address, Base, Found, Identity, Leftover, Listed, Owner, State, Stopped};
pub use nic::{Forward, Mac, Network, Nic};
pub use shape::{Cloning, Copying, Disk, Firmware, Hardware, Source, Wanted};

/// What a driver must be able to do.
pub trait Driver: Send + Sync {
    /// Why it cannot be used here, if it cannot.
    fn unavailable(&self, host: &Host) -> Option<String>;

    /// Refuses a network between the host and its machines that it cannot have here.
    fn check_network(&self, _host: &Host, _network: &network::Plan) -> Result<()> {
        Ok(())
    }

    /// Makes a machine of a disk.
    fn register(&self, host: &Host, wanted: &Wanted, source: &Source) -> Result<Identity>;

    /// Freezes the disk of a machine under `name`.
    fn snapshot(&self, host: &Host, machine: &Identity, name: &str) -> Result<Identity>;

    /// The machine of this name as one to make clones of: one that kuth made, or any other that
    /// the hypervisor knows, which stays as it is. `None` when there is none.
    fn base(&self, host: &Host, name: &str) -> Result<Option<Base>>;

    /// Makes a machine from a snapshot; from the disk as it is now where `from` names none, which
    /// is how a machine that kuth did not make is copied.
    fn clone_snapshot(&self, host: &Host, wanted: &Wanted, from: &Cloning<'_>) -> Result<Identity>;

    /// Whether what was made is still there as it was made.
    fn find(&self, host: &Host, identity: &Identity) -> Result<Found>;

    /// Finishes or undoes what a killed run left when it had begun what `left` says.
    fn recover(&self, host: &Host, left: &journal::Entry) -> Result<()>;

    /// What may be left over where what `left` says is given up instead of recovered; a sentence.
    fn remains(&self, left: &journal::Entry) -> String;

    /// Every machine kuth made, by name.
    fn list(&self, host: &Host) -> Result<Vec<Listed>>;

    /// Starts a machine in the background.
    fn start(&self, host: &Host, name: &str) -> Result<Listed>;

    /// Asks a machine to power off, and ends it when it does not.
    fn stop(&self, host: &Host, name: &str) -> Result<Stopped>;

    /// Removes a machine and its own disks. Refuses while it runs or others rest on it.
    fn remove(&self, host: &Host, name: &str) -> Result<()>;

    /// Removes disks that no machine rests on any more and what killed runs left; says which and
    /// how large.
    fn clean(&self, host: &Host) -> Result<Vec<(PathBuf, Bytes)>>;

    /// The file that the machine's serial console is kept in.
    fn console(&self, host: &Host, name: &str) -> Result<PathBuf>;

    /// The arguments for `ssh` that reach a running machine.
    fn ssh(&self, host: &Host, name: &str) -> Result<Vec<String>>;

    /// The addresses that a running machine has told the hypervisor; none where machines tell
    /// nothing.
    fn addresses(&self, _host: &Host, _name: &str) -> Result<Vec<Address>> {
        Ok(Vec::new())
    }

    /// What runs before left behind, without touching it; [`Driver::clean`] takes it away.
    fn leftovers(&self, _host: &Host) -> Result<Vec<Leftover>> {
        Ok(Vec::new())
    }
}

/// One row of the table of drivers.
pub struct Row {
    /// The word after `driver =`.
    pub name: &'static str,
    /// The driver.
    pub driver: &'static dyn Driver,
}

/// Every driver; `auto` is the first that is available. A new one is one row.
pub const DRIVERS: &[Row] = &[
    Row { name: "virtualbox", driver: &virtualbox::VirtualBox },
    Row { name: "qemu", driver: &qemu::Qemu },
];

/// The words a pipeline may write after `driver =`.
pub const DRIVER_WORDS: &[&str] = &["auto", "virtualbox", "qemu"];

/// The drivers that can be used here.
pub fn usable(host: &Host) -> impl Iterator<Item = &'static Row> {
    DRIVERS.iter().filter(|row| row.driver.unavailable(host).is_none())
}

/// The driver for `word`: a name, or `auto` for the first that can be used here.
pub fn choose(word: &str, host: &Host) -> Result<&'static Row> {
    if word == "auto" {
        return usable(host).next().ok_or_else(|| anyhow!("no driver can be used on this host"));
    }
    let names = || DRIVERS.iter().map(|row| row.name).collect::<Vec<_>>().join("`, `");
    let row = DRIVERS.iter().find(|row| row.name == word);
    let row = row
        .ok_or_else(|| anyhow!("this kuth has no driver `{word}`"))
        .hint(format!("choose `auto` or one of `{}`, with `--driver`", names()))?;
    match row.driver.unavailable(host) {
        None => Ok(row),
        Some(why) => Err(anyhow!("the driver `{word}` cannot be used here: {why}"))
            .hint("use another one with `--driver`, or `driver = \"auto\"`"),
    }
}

/// Whether `name` can be a machine's name and host name: letters, digits and inner `-`, at most
/// 63, in lower case.
pub fn is_legal_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(word)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name != qemu::directory::BASES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_found_by_name_or_chosen() {
        let host = Host::at("/m".as_ref(), Some("/none/VBoxManage".into()), Default::default());
        let name = |word| choose(word, &host).map(|row| row.name);
        assert_eq!(name("auto").unwrap(), "qemu");
        assert_eq!(name("qemu").unwrap(), "qemu");
        let error = name("virtualbox").unwrap_err();
        let why =
            "the driver `virtualbox` cannot be used here: `/none/VBoxManage --version` failed";
        assert!(error.to_string().starts_with(why), "{error}");
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
}
