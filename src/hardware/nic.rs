//! Words for network cards: what one is plugged into, and the address kuth gives it. The same
//! on every hypervisor, so a seed that matches cards by address is the same everywhere too.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Hasher;

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address of card `index` (from 0) of `machine`: always the same for the same name, in
    /// the range that KVM guests use (52:54:00), which VirtualBox takes as well.
    pub fn derived(machine: &str, index: usize) -> Mac {
        let mut hasher = Hasher::default();
        hasher.update(b"kuth-mac-1\n");
        hasher.update(machine.as_bytes());
        hasher.update(format!("\n{index}").as_bytes());
        let digest = hasher.finish().0;
        Mac([0x52, 0x54, 0x00, digest[0], digest[1], digest[2]])
    }
}

/// `52:54:00:12:34:56`.
impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Mac, &'static str> {
        const WANTED: &str = "a MAC address is six pairs of hexadecimal digits";
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(WANTED)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| WANTED)?;
        }
        if parts.next().is_some() { Err(WANTED) } else { Ok(Mac(bytes)) }
    }
}

/// What a network card is plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// Outwards through the host's address.
    Nat,
    /// A network between the host and its machines; by this adapter of the host, else by the
    /// first there is.
    HostOnly(Option<String>),
    /// A network of this name between machines alone.
    Internal(String),
    /// The network that this adapter of the host is on.
    Bridged(String),
    /// A network of this name that several machines share, and that leads outwards.
    NatNetwork(String),
}

/// As a pipeline writes it: `nat`, `host-only`, `internal:NAME` ...
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::Nat => f.write_str("nat"),
            Network::HostOnly(None) => f.write_str("host-only"),
            Network::HostOnly(Some(adapter)) => write!(f, "host-only:{adapter}"),
            Network::Internal(name) => write!(f, "internal:{name}"),
            Network::Bridged(adapter) => write!(f, "bridged:{adapter}"),
            Network::NatNetwork(name) => write!(f, "nat-network:{name}"),
        }
    }
}

/// Why a text names no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotANetwork;

impl fmt::Display for NotANetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a network is `nat`, `host-only`, `host-only:ADAPTER`, `internal:NAME`, `bridged:ADAPTER` \
             or `nat-network:NAME`",
        )
    }
}

impl std::error::Error for NotANetwork {}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Network, NotANetwork> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let Some((kind, name)) = text.split_once(':') else {
            return match text {
                "nat" => Ok(Network::Nat),
                "host-only" => Ok(Network::HostOnly(None)),
                _ => Err(NotANetwork),
            };
        };
        // An adapter's name may be a sentence: "Intel(R) Ethernet", "en0: Wi-Fi".
        let is_adapter = !name.is_empty() && !name.contains(|c: char| c.is_control() || c == ',');
        let is_word = !name.is_empty() && name.chars().all(word);
        let name = name.to_string();
        match kind {
            "internal" if is_word => Ok(Network::Internal(name)),
            "nat-network" if is_word => Ok(Network::NatNetwork(name)),
            "host-only" if is_adapter => Ok(Network::HostOnly(Some(name))),
            "bridged" if is_adapter => Ok(Network::Bridged(name)),
            _ => Err(NotANetwork),
        }
    }
}

/// One network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// What it is plugged into.
    #[serde(with = "text")]
    pub network: Network,
    /// Its address.
    #[serde(with = "text")]
    pub mac: Mac,
}

impl Nic {
    /// The cards of `machine` on `networks`, in their order.
    pub fn all(machine: &str, networks: &[Network]) -> Vec<Nic> {
        let nic = |(index, network): (usize, &Network)| Nic {
            network: network.clone(),
            mac: Mac::derived(machine, index),
        };
        networks.iter().enumerate().map(nic).collect()
    }
}

/// The card that this host reaches a machine through, by forwarded ports.
pub fn reached(nics: &[Nic]) -> Option<usize> {
    let position = |is: fn(&Network) -> bool| nics.iter().position(|nic| is(&nic.network));
    position(|it| *it == Network::Nat).or_else(|| position(|it| matches!(it, Network::HostOnly(_))))
}

/// The port of this host that a machine's SSH server prefers: from its name, above what systems
/// hand out on their own, so that a machine keeps its port and two seldom want the same one.
pub fn preferred_port(name: &str) -> u16 {
    let digest = crate::digest::Digest::of(format!("kuth-port-1\n{name}")).0;
    20_000 + u16::from_be_bytes([digest[0], digest[1]]) % 10_000
}

/// A port of 127.0.0.1 that leads to a port of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// The host's port.
    pub host: u16,
    /// The machine's port.
    pub guest: u16,
    /// UDP rather than TCP.
    pub udp: bool,
}

/// Why a text names no forwarded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAForward;

impl fmt::Display for NotAForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write `HOST:GUEST`, two ports, as in `8080:80` or `8053:53/udp`")
    }
}

impl std::error::Error for NotAForward {}

/// `8080:80`, `8053:53/udp`.
impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}{}", self.host, self.guest, if self.udp { "/udp" } else { "" })
    }
}

impl FromStr for Forward {
    type Err = NotAForward;

    fn from_str(text: &str) -> Result<Forward, NotAForward> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let udp = match protocol {
            "tcp" => false,
            "udp" => true,
            _ => return Err(NotAForward),
        };
        let (host, guest) = ports.split_once(':').ok_or(NotAForward)?;
        let port = |text: &str| text.parse().ok().filter(|port| *port > 0).ok_or(NotAForward);
        Ok(Forward { host: port(host)?, guest: port(guest)?, udp })
    }
}

/// Values kept as the text they print.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(from: D) -> Result<T, D::Error>
    where
        T::Err: Display,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_read_and_print() {
        let words =
            ["nat", "host-only", "host-only:vboxnet1", "internal:dmz", "bridged:en0: Wi-Fi"];
        for text in words.into_iter().chain(["nat-network:lab"]) {
            assert_eq!(text.parse::<Network>().map(|it| it.to_string()), Ok(text.to_string()));
        }
        for text in
            ["", "bridge", "internal", "internal:", "internal:a,b", "nat:x", "NAT", "bridged:"]
        {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork), "{text}");
        }
    }

    #[test]
    fn forwards_read_and_print() {
        for text in ["8080:80", "53:53/udp"] {
            assert_eq!(text.parse::<Forward>().map(|it| it.to_string()), Ok(text.to_string()));
        }
        for text in ["", "80", "0:80", "80:70000", "1:2:3", "1:2/icmp"] {
            assert_eq!(text.parse::<Forward>(), Err(NotAForward), "{text}");
        }
    }

    /// Seeds match cards by these addresses: a change here renames every card of every machine.
    #[test]
    fn addresses_are_pinned_and_differ_by_name_and_card() {
        let mac = Mac::derived("gate-node01", 0);
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert_eq!(mac.to_string(), "52:54:00:de:16:21");
        assert_ne!(mac, Mac::derived("gate-node01", 1));
        assert_ne!(mac, Mac::derived("gate-node02", 0));
        assert!("52:54:00:ca:6f".parse::<Mac>().is_err());
    }
}
