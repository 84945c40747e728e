//! The machine that an export describes, for the formats that do.

use crate::artifact::Artifact;
use crate::error::Result;
use crate::format::appliance::{Appliance, Card, Firmware, MOST_CARDS, Plug};
use crate::machine::{self, Network, Nic};
use crate::pipeline::{Fault, Fields};
use crate::recipe::Recipe;
use crate::stage::clone::read_networks;
use crate::stage::register::{Shape, check_firmware};

/// The keys that only these formats have.
const KEYS: [&str; 5] = ["cpus", "memory", "firmware", "vram", "nics"];

/// The machine, as the pipeline describes it.
#[derive(Clone, Debug)]
pub struct Machine {
    shape: Shape,
    /// Whether the pipeline chose the firmware.
    chosen: bool,
    networks: Vec<Network>,
}

impl Machine {
    /// Reads it, and returns which of its keys is present, for a fault where the format has no machine.
    pub(super) fn read(fields: &mut Fields<'_>) -> (Machine, Option<&'static str>) {
        let written = KEYS.into_iter().find(|key| fields.key_span(key).is_some());
        let chosen = fields.key_span("firmware").is_some();
        let networks = match fields.has("nics") {
            true => read_networks(fields),
            false => vec![Network::Nat],
        };
        if networks.len() > MOST_CARDS
            && let Some(span) = fields.key_span("nics")
        {
            let message = format!("{} network cards", networks.len());
            fields.fault(Fault::new(span, message).hint(format!("at most {MOST_CARDS}")));
        }
        (Machine { shape: Shape::read(fields), chosen, networks }, written)
    }

    /// One processor, 1 GiB of memory, a network card on NAT.
    pub fn ordinary() -> Machine {
        Machine { shape: Shape::ORDINARY, chosen: false, networks: vec![Network::Nat] }
    }

    /// Writes it into the recipe.
    pub(super) fn describe(&self, recipe: &mut Recipe) {
        self.shape.describe(recipe);
        recipe.value("firmware chosen", self.chosen);
        recipe.list("nic", &self.networks);
    }

    /// The appliance with `disk`.
    pub(super) fn around(&self, disk: &Artifact, name: &str) -> Result<Appliance> {
        let only_uefi =
            disk.facts.disk().is_some_and(|facts| facts.firmware == [machine::Firmware::Uefi]);
        let firmware = match (self.chosen, only_uefi) {
            (false, true) => machine::Firmware::Uefi,
            _ => self.shape.firmware,
        };
        check_firmware(disk, firmware)?;
        let card = |nic: Nic| Card { plug: plug(&nic.network), mac: nic.mac.0 };
        Ok(Appliance {
            name: name.to_string(),
            cpus: self.shape.cpus,
            memory: self.shape.memory,
            vram: self.shape.vram,
            firmware: match firmware {
                machine::Firmware::Bios => Firmware::Bios,
                machine::Firmware::Uefi => Firmware::Uefi,
            },
            cards: Nic::all(name, &self.networks).into_iter().map(card).collect(),
            disk: crate::units::Bytes(disk.size),
        })
    }
}

fn plug(network: &Network) -> Plug {
    match network.clone() {
        Network::Nat => Plug::Nat,
        Network::HostOnly(adapter) => Plug::HostOnly(adapter),
        Network::Internal(name) => Plug::Internal(name),
        Network::Bridged(adapter) => Plug::Bridged(adapter),
        Network::NatNetwork(name) => Plug::NatNetwork(name),
    }
}
