//! Words for the machines a driver is to make: what they are made of, and what from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use crate::artifact::Firmware;
use crate::digest::Digest;
use crate::format::vbox::Settings;
use crate::units::Bytes;

use super::{Forward, Identity, Nic};

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
    /// Video memory in MiB.
    #[serde(default = "default_vram")]
    pub vram: u64,
    /// Sizes of empty disks beside the first, in bytes.
    #[serde(default)]
    pub disks: Vec<u64>,
    /// Network cards, in order.
    #[serde(default, rename = "nic")]
    pub nics: Vec<Nic>,
    /// Ports of the host that lead to ports of the machine, by its first `nat` card.
    #[serde(default, rename = "forward", skip_serializing_if = "Vec::is_empty")]
    pub forwards: Vec<Forward>,
}

/// Video memory in MiB where nothing is said: enough for a text console of any size.
pub const VRAM: u64 = 33;

fn default_vram() -> u64 {
    VRAM
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

/// What a machine is registered from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A disk.
    Disk(Disk),
    /// The disk of a machine of VirtualBox's, and the settings that it had there.
    Machine(Disk, Settings),
}

impl Source {
    /// The disk.
    pub fn disk(&self) -> &Disk {
        match self {
            Source::Disk(disk) | Source::Machine(disk, _) => disk,
        }
    }
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
