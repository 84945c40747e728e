//! Addresses that a machine's dnsmasq has given out, and the lines of /etc/hosts that come of
//! addresses. Text goes in and comes out; who asks whom, the command line knows.
//!
//! Source: dnsmasq's lease file: the time it ends, the card's address, the IP address, the
//! machine's name or `*`, its client id or `*`; lines of DHCPv6 follow a line `duid …`.

use std::net::Ipv4Addr;

use super::{Address, Network, Nic};

/// The leases in the text of a lease file. What is not a lease of IPv4 is left out.
pub fn parse(text: &str) -> Vec<Address> {
    let of_ipv4 = text.lines().take_while(|line| !line.starts_with("duid "));
    let lease = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        words.next()?.parse::<u64>().ok()?;
        // A card that is not Ethernet has its type before the address: `06-…`.
        let mac = words.next()?.parse().ok()?;
        Some(Address { mac, ip: words.next()?.parse().ok()? })
    };
    of_ipv4.filter_map(lease).collect()
}

/// The address by which others reach a machine with these cards: the host's network before one
/// between machines, and never the hypervisor's own NAT, where all have the same one.
pub fn best(nics: &[Nic], known: &[Address]) -> Option<Ipv4Addr> {
    let rank = |network: &Network| match network {
        Network::HostOnly(_) => Some(0),
        Network::Bridged(_) => Some(1),
        Network::NatNetwork(_) => Some(2),
        Network::Internal(_) => Some(3),
        Network::Nat => None,
    };
    let of = |nic: &Nic| known.iter().find(|it| it.mac == nic.mac).map(|it| it.ip);
    let found = nics.iter().filter_map(|nic| Some((rank(&nic.network)?, of(nic)?)));
    found.min_by_key(|(rank, _)| *rank).map(|(_, ip)| ip)
}

/// A line of /etc/hosts: `192.168.4.130  gate.kube.local gate`.
pub fn hosts_line(ip: Ipv4Addr, name: &str, domain: Option<&str>) -> String {
    match domain {
        Some(domain) => format!("{ip}\t{name}.{domain} {name}\n"),
        None => format!("{ip}\t{name}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Mac;

    const LEASES: &str = "\
1767268800 52:54:00:aa:bb:01 192.168.4.131 hapx-node01 ff:b5:5e:67:ff:00:02
0 52:54:00:aa:bb:02 192.168.1.10 * *
soon 52:54:00:aa:bb:03 192.168.1.11 x *
1767268800 06-52:54:00:aa:bb:04 192.168.1.12 x *
duid 00:01:00:01:2c
1767268800 52:54:00:aa:bb:05 192.168.1.13 x *
";

    #[test]
    fn leases_are_read_by_card() {
        let found = parse(LEASES);
        let shown: Vec<String> = found.iter().map(|it| format!("{} {}", it.mac, it.ip)).collect();
        let expected = ["52:54:00:aa:bb:01 192.168.4.131", "52:54:00:aa:bb:02 192.168.1.10"];
        assert_eq!(shown, expected);
        assert_eq!(parse(""), []);
    }

    #[test]
    fn the_hosts_own_network_goes_first_and_nat_says_nothing() {
        let networks = ["nat", "internal:dmz", "host-only"].map(|it| it.parse().unwrap());
        let nics = Nic::all("gate", &networks);
        let at = |nic: usize, last: u8| Address {
            mac: nics[nic].mac,
            ip: Ipv4Addr::new(10, 0, 0, last),
        };
        let best = |known: &[Address]| best(&nics, known).map(|ip| ip.octets()[3]);
        assert_eq!(best(&[at(0, 1), at(1, 2), at(2, 3)]), Some(3));
        assert_eq!(best(&[at(0, 1), at(1, 2)]), Some(2));
        assert_eq!(best(&[at(0, 1)]), None);
        let stranger = Address { mac: Mac([0; 6]), ip: Ipv4Addr::LOCALHOST };
        assert_eq!(best(&[stranger]), None);
    }

    #[test]
    fn a_line_has_the_whole_name_first() {
        let ip = Ipv4Addr::new(192, 168, 4, 131);
        let line = hosts_line(ip, "hapx-node01", Some("kube.local"));
        assert_eq!(line, "192.168.4.131\thapx-node01.kube.local hapx-node01\n");
        assert_eq!(hosts_line(ip, "hapx-node01", None), "192.168.4.131\thapx-node01\n");
    }
}
