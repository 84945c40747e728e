//! A virtual machine as [`ovf`](crate::ovf) and [`vbox`](crate::vbox) describe it.

use super::Fault;
use crate::units::Bytes;

/// A machine with one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appliance {
    /// Its name; see [`Appliance::check`].
    pub name: String,
    /// The number of processors.
    pub cpus: u32,
    /// Its memory, in whole MiB.
    pub memory: Bytes,
    /// Its video memory in MiB.
    pub vram: u64,
    /// Its firmware.
    pub firmware: Firmware,
    /// Its network cards, in order.
    pub cards: Vec<Card>,
    /// The size of its disk.
    pub disk: Bytes,
}

/// The firmware of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// PC BIOS.
    Bios,
    /// EFI.
    Uefi,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its network.
    pub plug: Plug,
    /// Its MAC address.
    pub mac: [u8; 6],
}

/// The network of a card, by VirtualBox's modes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plug {
    /// NAT through the host.
    Nat,
    /// Host-only, by this adapter of the host; `None` for the first one.
    HostOnly(Option<String>),
    /// An internal network of this name.
    Internal(String),
    /// Bridged to this adapter of the host.
    Bridged(String),
    /// The NAT network of this name, which machines share.
    NatNetwork(String),
}

/// The most network cards of VirtualBox's default chipset.
pub const MOST_CARDS: usize = 8;

impl Appliance {
    /// Refuses an illegal name, which becomes a file name and a word of manifests, and too many cards.
    pub fn check(&self, format: &'static str) -> Result<(), Fault> {
        Fault::unless(is_legal_name(&self.name), format, || {
            let name = self.name.escape_default();
            format!("`{name}` cannot be the name of a machine's files")
        })?;
        Fault::unless(self.cards.len() <= MOST_CARDS, format, || {
            format!("{} network cards, there is room for {MOST_CARDS}", self.cards.len())
        })
    }
}

/// Whether a machine and its files can have this name: 1 to 80 characters of letters, digits and
/// `._-+`, the first neither a dot nor a dash.
pub fn is_legal_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    (1..=80).contains(&name.len()) && !name.starts_with(['.', '-']) && name.chars().all(plain)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn appliance() -> Appliance {
        let card = |plug, last| Card { plug, mac: [0x52, 0x54, 0, 1, 2, last] };
        Appliance {
            name: "web-1".into(),
            cpus: 2,
            memory: Bytes::mib(640),
            vram: 33,
            firmware: Firmware::Bios,
            cards: vec![
                card(Plug::Nat, 1),
                card(Plug::Internal("mast".into()), 2),
                card(Plug::HostOnly(None), 3),
                card(Plug::Bridged("en0: Wi-Fi \"5\" & <x>".into()), 4),
            ],
            disk: Bytes::gib(28),
        }
    }

    #[test]
    fn names_that_would_do_harm_are_refused() {
        appliance().check("ova").unwrap();
        for name in ["", "a/b", ".a", "-a", "a b", "a\n", "ä"] {
            let other = Appliance { name: name.into(), ..appliance() };
            other.check("ova").unwrap_err();
        }
        let cards = [appliance().cards, appliance().cards, appliance().cards].concat();
        Appliance { cards, ..appliance() }.check("ova").unwrap_err();
    }
}
