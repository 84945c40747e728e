//! IPv4 addresses with the length of their network: `192.168.254.1/24`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An address and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr(Ipv4Net);

impl Cidr {
    /// The address.
    pub fn ip(&self) -> Ipv4Addr {
        self.0.addr()
    }

    /// The length of the prefix, from 0 to 32.
    pub fn length(&self) -> u8 {
        self.0.prefix_len()
    }

    /// The network mask.
    pub fn mask(&self) -> Ipv4Addr {
        self.0.netmask()
    }

    /// The network, by its first address.
    pub fn network(&self) -> Cidr {
        Cidr(self.0.trunc())
    }

    /// Whether `ip` is in the network.
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        self.0.contains(&ip)
    }

    /// Whether the two networks share an address.
    pub fn overlaps(&self, other: &Cidr) -> bool {
        self.contains(other.0.network()) || other.contains(self.0.network())
    }

    /// Whether `ip` is in the network, and neither its first nor its last address.
    pub fn has_host(&self, ip: Ipv4Addr) -> bool {
        self.contains(ip) && ip != self.0.network() && ip != self.0.broadcast()
    }

    /// Whether the address is neither the network's first nor its last.
    pub fn is_host(&self) -> bool {
        self.has_host(self.ip())
    }

    /// The same address in the largest network, of whole bytes, that has nothing to do with
    /// `others`; `None` if that would be no network of hosts.
    pub fn narrowed(&self, others: &[Cidr]) -> Option<Cidr> {
        let longer = [8, 16, 24].into_iter().filter(|length| *length > self.length());
        let mut smaller =
            longer.filter_map(|length| Ipv4Net::new(self.ip(), length).ok().map(Cidr));
        smaller.find(|it| it.is_host() && !others.iter().any(|other| other.overlaps(it)))
    }

    /// The network with this mask; `None` if its bits are not the first ones.
    pub fn with_mask(ip: Ipv4Addr, mask: Ipv4Addr) -> Option<Cidr> {
        Ipv4Net::with_netmask(ip, mask).ok().map(Cidr)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not an address with a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACidr;

impl fmt::Display for NotACidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write four numbers and a length, as in \"192.168.254.1/24\"")
    }
}

impl std::error::Error for NotACidr {}

impl FromStr for Cidr {
    type Err = NotACidr;

    fn from_str(text: &str) -> Result<Cidr, NotACidr> {
        // Not by `Ipv4Net`, which takes numbers with a leading zero for decimal ones.
        let (ip, length) = text.split_once('/').ok_or(NotACidr)?;
        let digits = length.chars().all(|c| c.is_ascii_digit());
        let length = length.parse().ok().filter(|_| digits).ok_or(NotACidr)?;
        let net = Ipv4Net::new(ip.parse().map_err(|_| NotACidr)?, length);
        net.map(Cidr).map_err(|_| NotACidr)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Cidr, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn texts() {
        for text in ["192.168.254.1/24", "0.0.0.0/0", "10.0.0.1/32"] {
            assert_eq!(cidr(text).to_string(), text);
        }
        for text in ["", "192.168.1.1", "192.168.1/24", "192.168.1.1/33", "1.2.3.4/+8", "::/8"] {
            assert_eq!(text.parse::<Cidr>(), Err(NotACidr), "{text}");
        }
    }

    #[test]
    fn arithmetic() {
        assert_eq!(cidr("192.168.254.1/22").mask().to_string(), "255.255.252.0");
        assert_eq!(cidr("192.168.254.1/22").network(), cidr("192.168.252.0/22"));
        assert_eq!(cidr("1.2.3.4/0").mask().to_string(), "0.0.0.0");
        assert_eq!(cidr("1.2.3.4/32").mask().to_string(), "255.255.255.255");
        assert!(cidr("192.168.254.1/16").overlaps(&cidr("192.168.1.0/24")));
        assert!(cidr("192.168.1.0/24").overlaps(&cidr("192.168.254.1/16")));
        assert!(!cidr("192.168.254.1/24").overlaps(&cidr("192.168.1.0/24")));
        assert!(!cidr("10.0.0.255/24").is_host() && cidr("10.0.0.254/24").is_host());
        let with = |mask: &str| Cidr::with_mask(Ipv4Addr::LOCALHOST, mask.parse().unwrap());
        assert_eq!(with("255.255.0.0").unwrap().length(), 16);
        assert_eq!(with("255.0.255.0"), None);
    }

    #[test]
    fn a_network_is_narrowed_past_others() {
        let host = cidr("192.168.254.1/16");
        assert_eq!(host.narrowed(&[cidr("192.168.1.0/24")]), Some(cidr("192.168.254.1/24")));
        assert_eq!(host.narrowed(&[cidr("192.168.254.0/25")]), None);
    }
}
