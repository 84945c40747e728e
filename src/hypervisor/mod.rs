//! What a driver of a hypervisor must be able to do, and the values it is asked with. A driver only
//! finds, makes and removes machines; what is done with what it finds (what may be replaced, what is
//! refused, what is journalled) is decided in `machine/`, once for all drivers.
//!
//! Machines hold people's data. So a driver never removes what kuth did not make, and makes a
//! machine so that a killed run leaves none, a whole one, or one that [`Hypervisor::recover`] knows.

use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{Result, anyhow};
use crate::units::Bytes;

mod host;
mod identity;
pub mod refusal;
mod spec;
pub mod ssh;

pub use crate::run_state::RunState;
pub use host::{Host, Replace};
pub use identity::{
    Address, Base, Identity, Leftover, Listed, Location, Owner, State, Stopped, is_legal_name,
};
pub use spec::{CloneSpec, Controller, CopyMode, Disk, MachineSpec, Source, Storage};

/// A driver.
pub trait Hypervisor: Send + Sync {
    /// The word after `driver =`.
    fn name(&self) -> &'static str;

    /// Why it cannot be used on this host, if it cannot.
    fn unavailable(&self, host: &Host) -> Option<String>;

    /// Refuses a machine that it cannot make.
    fn check(&self, _spec: &MachineSpec) -> Result<()> {
        Ok(())
    }

    /// Opens its machines, and waits for other processes as long as `access` has to.
    fn open<'h>(&self, host: &'h Host, access: Access) -> Result<Box<dyn Inventory + 'h>>;

    /// Finishes or undoes what a killed run left when it had begun `action` with the machine `name`
    /// of `origin`.
    fn recover(&self, host: &Host, action: &str, name: &str, origin: &Digest) -> Result<()>;

    /// What may be left over of the machine `name` in the directory of machines `machines` where it
    /// is given up instead of recovered; a sentence.
    fn remains(&self, machines: &Path, name: &str) -> String;

    /// What runs before left behind, without touching it; [`Hypervisor::clean`] takes it away.
    fn leftovers(&self, _host: &Host) -> Result<Vec<Leftover>> {
        Ok(Vec::new())
    }

    /// Removes disks that no machine uses any more and what killed runs left; says which, and
    /// how much that freed.
    fn clean(&self, host: &Host) -> Result<Vec<(PathBuf, Bytes)>>;
}

/// A row of a table of drivers.
#[derive(Clone, Copy)]
pub struct Row {
    /// The word after `driver =`.
    pub name: &'static str,
    /// The driver.
    pub driver: &'static dyn Hypervisor,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The driver called `name`, among a host's.
pub fn row(host: &Host, name: &str) -> Result<&'static Row> {
    let row = host.drivers.iter().find(|row| row.name == name);
    row.ok_or_else(|| anyhow!("this kuth has no driver `{name}`"))
}

/// What machines are opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing is changed.
    Look,
    /// A machine is powered off.
    PowerOff,
    /// A clone is made, perhaps beside others.
    Clone,
    /// Anything is changed.
    Change,
}

/// What is found under the name of a machine.
#[derive(Debug)]
pub enum Lookup {
    /// Nothing.
    Absent,
    /// The machine itself.
    Same {
        /// Where it lies.
        path: PathBuf,
        /// Its snapshots: the name, and the disk that a clone would rest on where the driver names
        /// disks.
        snapshots: Vec<(String, Option<String>)>,
    },
    /// The machine itself, which is not whole, not finished or not as it was made.
    Damaged {
        /// In what.
        damage: String,
        /// The machine, where it had been finished.
        machine: Option<Box<Listed>>,
    },
    /// Another machine of kuth's.
    Other(Box<Listed>),
}

/// The machines of a hypervisor, opened.
pub trait Inventory {
    /// What is found under the name of the machine `name` of `origin`. An error where that is nothing of
    /// kuth's.
    fn lookup(&self, name: &str, origin: &Digest) -> Result<Lookup>;

    /// The machine of kuth's called `name`; an error where there is none.
    fn get(&self, name: &str) -> Result<Listed>;

    /// Every machine of kuth's, by name.
    fn all(&self) -> Result<Vec<Listed>>;

    /// The machine called `name` as one to make clones of: one of kuth's, or any other that the
    /// hypervisor knows, which stays as it is. `None` when there is none.
    fn base(&self, name: &str) -> Result<Option<Base>>;

    /// Keeps a disk for clones, whether or not a machine is made of it; the driver's name for it.
    fn keep_disk(&self, _disk: &Disk) -> Result<Option<String>> {
        Ok(None)
    }

    /// Whether a disk that an identity names is there.
    fn has_disk(&self, _name: &str) -> bool {
        true
    }

    /// Whether a base that must stay can give its name to the one that [`Inventory::add_base`] makes
    /// in its place.
    fn can_set_bases_aside(&self) -> bool {
        false
    }

    /// Makes a machine of a disk, in the place of `replaced` or of what an unfinished one left.
    fn add_base(
        &mut self,
        spec: &MachineSpec,
        source: &Source,
        replaced: Option<&Listed>,
    ) -> Result<()>;

    /// Makes a machine of a snapshot, likewise; of the disk as it is now where `from` names no
    /// snapshot, which is how a machine that kuth did not make is copied.
    fn add_clone(
        &mut self,
        spec: &MachineSpec,
        from: &CloneSpec<'_>,
        replaced: Option<&Listed>,
    ) -> Result<()>;

    /// The driver's name for the disk of a clone of `snapshot`, where it names disks.
    fn disk_of_clone(&self, _snapshot: &Identity) -> Option<String> {
        None
    }

    /// Freezes the disk of a machine that is off under `snapshot`; the driver's name for that disk.
    fn take_snapshot(&self, name: &str, origin: &Digest, snapshot: &str) -> Result<Option<String>>;

    /// Where the machine that `listed` is lies.
    fn path(&self, listed: &Listed) -> PathBuf {
        listed.directory.clone()
    }

    /// Where the snapshot of a machine at `path` lies.
    fn snapshot_path(&self, path: PathBuf, _snapshot: &str) -> PathBuf {
        path
    }

    /// The machines that rest on this one, which therefore stays.
    fn clones_of(&self, machine: &Listed) -> Result<Vec<String>>;

    /// Refuses to remove or replace a machine with which files lie that neither kuth nor the
    /// hypervisor made: those no option gives up.
    fn check_removable(&self, _machine: &Listed) -> Result<()> {
        Ok(())
    }

    /// Removes a machine that is off with its own disks, once [`Inventory::check_removable`] lets
    /// it.
    fn remove(&self, machine: &Listed) -> Result<()>;

    /// Starts a machine in the background; sees to what a running one needs.
    fn start(&self, machine: &Listed) -> Result<()>;

    /// Whether a machine runs.
    fn is_running(&self, machine: &Listed) -> Result<bool>;

    /// Asks the guest to power off.
    fn press_power_button(&self, machine: &Listed) -> Result<()>;

    /// Ends a machine.
    fn power_off(&self, machine: &Listed) -> Result<()>;

    /// The file that a machine's serial console is kept in.
    fn console(&self, machine: &Listed) -> PathBuf;

    /// The arguments for `ssh` that reach a running machine.
    fn ssh(&self, machine: &Listed) -> Result<Vec<String>>;

    /// The addresses that a running machine has reported to the hypervisor.
    fn addresses(&self, _machine: &Listed) -> Result<Vec<Address>> {
        Ok(Vec::new())
    }
}
