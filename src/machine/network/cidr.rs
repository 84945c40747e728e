//! IPv4 addresses with the length of their network: `192.168.254.1/24`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An address and how many of its bits name the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address.
    pub ip: Ipv4Addr,
    /// 0 to 32.
    pub length: u8,
}

impl Cidr {
    /// The bits of the network.
    pub fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0))
    }

    /// The first address of the network.
    pub fn network(&self) -> Cidr {
        Cidr { ip: Ipv4Addr::from_bits(self.ip.to_bits() & self.mask().to_bits()), ..*self }
    }

    /// Whether `ip` is in the network.
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        Cidr { ip, ..*self }.network() == self.network()
    }

    /// Whether the two networks share an address.
    pub fn overlaps(&self, other: &Cidr) -> bool {
        self.contains(other.network().ip) || other.contains(self.network().ip)
    }

    /// Whether the address is neither the network's first nor its last.
    pub fn is_host(&self) -> bool {
        let last = self.network().ip.to_bits() | !self.mask().to_bits();
        self.ip != self.network().ip && self.ip.to_bits() != last
    }

    /// The same address in the largest network, of whole bytes, that has nothing to do with
    /// `others`; `None` if that would be no network of hosts.
    pub fn narrowed(&self, others: &[Cidr]) -> Option<Cidr> {
        let longer = [8, 16, 24].into_iter().filter(|length| *length > self.length);
        let mut smaller = longer.map(|length| Cidr { length, ..*self });
        smaller.find(|it| it.is_host() && !others.iter().any(|other| other.overlaps(it)))
    }

    /// The network whose bits `mask` has; `None` if they are not the first ones.
    pub fn with_mask(ip: Ipv4Addr, mask: Ipv4Addr) -> Option<Cidr> {
        let length = mask.to_bits().leading_ones();
        let cidr = Cidr { ip, length: u8::try_from(length).ok()? };
        (cidr.mask() == mask).then_some(cidr)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.length)
    }
}

/// Why a text is no address with a length.
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
        let (ip, length) = text.split_once('/').ok_or(NotACidr)?;
        let digits = length.chars().all(|c| c.is_ascii_digit());
        let length = length.parse().ok().filter(|it| digits && (0..=32).contains(it));
        Ok(Cidr { ip: ip.parse().map_err(|_| NotACidr)?, length: length.ok_or(NotACidr)? })
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
        assert_eq!(with("255.255.0.0").unwrap().length, 16);
        assert_eq!(with("255.0.255.0"), None);
    }

    #[test]
    fn a_network_is_narrowed_past_others() {
        let host = cidr("192.168.254.1/16");
        assert_eq!(host.narrowed(&[cidr("192.168.1.0/24")]), Some(cidr("192.168.254.1/24")));
        assert_eq!(host.narrowed(&[cidr("192.168.254.0/25")]), None);
    }
}
