//! What a machine is made of, in words that are the same for every hypervisor.

use serde::{Deserialize, Serialize};

pub mod nic;

pub use crate::artifact::Firmware;
pub use nic::{Forward, Mac, Network, Nic};

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
