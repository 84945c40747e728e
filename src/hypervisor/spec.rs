//! The machines that a driver is to make, and what they are made from.

use std::path::PathBuf;

use crate::digest::Digest;
use crate::hardware::Hardware;
use crate::units::Bytes;

use super::Identity;

/// A machine to make.
#[derive(Clone, Debug)]
pub struct MachineSpec {
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

/// What a machine is registered from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The disk.
    pub disk: Disk,
    /// How the machine that it comes from had attached it, for drivers that can do the same.
    pub storage: Option<Storage>,
}

impl From<Disk> for Source {
    fn from(disk: Disk) -> Source {
        Source { disk, storage: None }
    }
}

/// How a machine has its first disk attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Which system the machine was set up for, in the hypervisor's word, as `Debian_64`.
    pub system: String,
    /// Its controllers of disks.
    pub controllers: Vec<Controller>,
    /// Which of them the disk is on, counted from 0.
    pub controller: usize,
    /// The disk's port and device there.
    pub at: (u32, u32),
}

/// A controller of disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Its name in the machine.
    pub name: String,
    /// The bus: `sata`, `ide`, `scsi` ...
    pub bus: &'static str,
    /// The chip: `IntelAhci`, `PIIX4` ...
    pub chip: &'static str,
    /// How many ports it has.
    pub ports: u32,
}

/// How a clone comes from its snapshot.
#[derive(Clone, Copy, Debug)]
pub struct CloneSpec<'a> {
    /// The snapshot.
    pub snapshot: &'a Identity,
    /// What it shares with it.
    pub copy: CopyMode,
    /// The size of its first disk in whole MiB, no less than the snapshot's; `None`: the same.
    pub size: Option<Bytes>,
    /// The image of its seed.
    pub seed: &'a [u8],
}

/// What a clone shares with its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyMode {
    /// Only what changes is its own.
    Linked,
    /// Nothing.
    Full,
}
