//! A machine as the files around a disk describe it, and the XML they are written in. It knows no
//! file: `ovf` and `vbox` do.

use super::Fault;
use crate::units::Bytes;

/// A machine with one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appliance {
    /// Its name; see [`Appliance::check`].
    pub name: String,
    /// How many processors.
    pub cpus: u32,
    /// Its memory, in whole MiB.
    pub memory: Bytes,
    /// Its video memory in MiB.
    pub vram: u64,
    /// What starts it.
    pub firmware: Firmware,
    /// Its network cards, in order.
    pub cards: Vec<Card>,
    /// The size of its disk.
    pub disk: Bytes,
}

/// What starts a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// The PC's.
    Bios,
    /// EFI.
    Uefi,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// What it is plugged into.
    pub plug: Plug,
    /// Its address.
    pub mac: [u8; 6],
}

/// What a card is plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plug {
    /// Outwards through the host.
    Nat,
    /// The host and its machines, by this adapter.
    HostOnly(Option<String>),
    /// Machines alone, by this name.
    Internal(String),
    /// The network of this adapter.
    Bridged(String),
    /// A network that several machines share.
    NatNetwork(String),
}

/// Cards that VirtualBox's default chip set has room for.
pub const MOST_CARDS: usize = 8;

impl Appliance {
    /// Refuses what cannot stand in the files: the name becomes a file name and a word of
    /// manifests.
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

/// Whether a machine can have this name in every one of these files, and the files too.
pub fn is_legal_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    (1..=80).contains(&name.len()) && !name.starts_with(['.', '-']) && name.chars().all(plain)
}

/// Text as it stands in XML, between tags and in attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
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

    #[test]
    fn xml_is_escaped() {
        assert_eq!(escaped("a<b> & \"c\""), "a&lt;b&gt; &amp; &quot;c&quot;");
    }
}
