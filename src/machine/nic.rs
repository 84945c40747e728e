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
    /// A network between the host and its machines.
    HostOnly,
    /// A network of this name between machines alone.
    Internal(String),
}

/// As a pipeline writes it: `nat`, `host-only`, `internal:NAME`.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::Nat => f.write_str("nat"),
            Network::HostOnly => f.write_str("host-only"),
            Network::Internal(name) => write!(f, "internal:{name}"),
        }
    }
}

/// Why a text names no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotANetwork;

impl fmt::Display for NotANetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a network is `nat`, `host-only` or `internal:NAME`")
    }
}

impl std::error::Error for NotANetwork {}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Network, NotANetwork> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        match text.split_once(':') {
            None if text == "nat" => Ok(Network::Nat),
            None if text == "host-only" => Ok(Network::HostOnly),
            Some(("internal", name)) if !name.is_empty() && name.chars().all(word) => {
                Ok(Network::Internal(name.to_string()))
            }
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
        for text in ["nat", "host-only", "internal:dmz"] {
            assert_eq!(text.parse::<Network>().map(|it| it.to_string()), Ok(text.to_string()));
        }
        for text in ["", "bridge", "internal", "internal:", "internal:a,b", "nat:x", "NAT"] {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork), "{text}");
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
