//! The network between the host and its machines: a host-only adapter, the routes through the
//! machine that is the gateway, the names it serves. What a pipeline says of it, and what is wrong
//! with that as far as arithmetic goes; [`tools`], [`steps`] and [`applied`] deal with the host.

use std::net::Ipv4Addr;

pub mod applied;
mod cidr;
pub mod steps;
pub mod tools;

pub use cidr::Cidr;
pub use tools::{Adapter, Adapters, Tools, line};

/// What a pipeline says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The host's address, and how large the network is.
    pub host: Cidr,
    /// The machine that leads to the others.
    pub gateway: Option<Ipv4Addr>,
    /// Networks behind it.
    pub routes: Vec<Cidr>,
    /// The domain whose names it serves.
    pub domain: Option<String>,
}

/// Which value a fault is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `host`.
    Host,
    /// `gateway`.
    Gateway,
    /// One of `routes`.
    Route(usize),
    /// `domain`.
    Domain,
}

/// What is wrong with one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanFault {
    /// Which.
    pub part: Part,
    /// What.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl Plan {
    /// Everything that cannot be.
    pub fn faults(&self) -> Vec<PlanFault> {
        let mut faults = Vec::new();
        let mut add = |part, message: String, hint: String| {
            faults.push(PlanFault { part, message, hint });
        };
        let host = self.host;
        if !(8..=30).contains(&host.length()) || !host.is_host() {
            let message = format!("`{host}` is not an address of a host in its network");
            add(Part::Host, message, "as in \"192.168.56.1/24\"".to_string());
        }
        if let Some(gateway) = self.gateway {
            let inside = host.has_host(gateway);
            if !inside {
                let message =
                    format!("`{gateway}` is not in the host's network {}", host.network());
                let hint = "the gateway is a machine on the host's own network".to_string();
                add(Part::Gateway, message, hint);
            } else if gateway == host.ip() {
                let message = format!("`{gateway}` is the host itself");
                let hint = "give the address of the machine that leads to the others".to_string();
                add(Part::Gateway, message, hint);
            }
        }
        for (at, route) in self.routes.iter().enumerate() {
            let part = Part::Route(at);
            let earlier = self.routes[..at].iter().find(|other| other.overlaps(route));
            if route.ip() != route.network().ip() {
                let message = format!("`{route}` is an address, not a network");
                add(part, message, format!("the network is \"{}\"", route.network()));
            } else if route.overlaps(&host) {
                let message =
                    format!("`{route}` lies in the host's own network {}", host.network());
                let hint = match host.narrowed(&self.routes) {
                    Some(narrow) => format!("make the host's network smaller: \"{narrow}\""),
                    None => "the host would not send it through the gateway".to_string(),
                };
                add(part, message, hint);
            } else if let Some(earlier) = earlier {
                let message = format!("`{route}` and `{earlier}` overlap");
                add(part, message, "name each network once".to_string());
            }
        }
        if let Some(domain) = &self.domain
            && !is_domain(domain)
        {
            let message = format!("`{domain}` cannot be a domain");
            add(Part::Domain, message, "as in \"kube.local\"".to_string());
        }
        faults
    }
}

/// Whether `text` is a name that DNS can have.
pub fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(host: &str, gateway: &str, routes: &[&str]) -> Plan {
        Plan {
            host: host.parse().unwrap(),
            gateway: Some(gateway.parse().unwrap()),
            routes: routes.iter().map(|route| route.parse().unwrap()).collect(),
            domain: Some("kube.local".into()),
        }
    }

    fn reported(plan: &Plan) -> Vec<String> {
        let one = |it: PlanFault| format!("{:?}: {} ({})", it.part, it.message, it.hint);
        plan.faults().into_iter().map(one).collect()
    }

    #[test]
    fn a_sound_network_has_no_faults() {
        let routes = ["192.168.1.0/24", "192.168.2.0/24", "192.168.3.0/24", "192.168.4.0/24"];
        assert_eq!(reported(&plan("192.168.254.1/24", "192.168.254.254", &routes)), [""; 0]);
    }

    #[test]
    fn what_cannot_be_is_reported() {
        for (host, gateway, routes, expected) in [
            (
                "192.168.254.1/16",
                "192.168.254.254",
                &["192.168.1.0/24"][..],
                "Route(0): `192.168.1.0/24` lies in the host's own network 192.168.0.0/16 \
                 (make the host's network smaller: \"192.168.254.1/24\")",
            ),
            (
                "192.168.254.0/24",
                "192.168.254.254",
                &[],
                "Host: `192.168.254.0/24` is not an address of a host in its network \
                 (as in \"192.168.56.1/24\")",
            ),
            (
                "192.168.254.1/24",
                "192.168.1.254",
                &[],
                "Gateway: `192.168.1.254` is not in the host's network 192.168.254.0/24 \
                 (the gateway is a machine on the host's own network)",
            ),
            (
                "192.168.254.1/24",
                "192.168.254.255",
                &[],
                "Gateway: `192.168.254.255` is not in the host's network 192.168.254.0/24 \
                 (the gateway is a machine on the host's own network)",
            ),
            (
                "192.168.254.1/24",
                "192.168.254.1",
                &[],
                "Gateway: `192.168.254.1` is the host itself \
                 (give the address of the machine that leads to the others)",
            ),
            (
                "192.168.254.1/24",
                "192.168.254.254",
                &["192.168.1.7/24"],
                "Route(0): `192.168.1.7/24` is an address, not a network \
                 (the network is \"192.168.1.0/24\")",
            ),
            (
                "192.168.254.1/24",
                "192.168.254.254",
                &["192.168.0.0/22", "192.168.1.0/24"],
                "Route(1): `192.168.1.0/24` and `192.168.0.0/22` overlap (name each network once)",
            ),
        ] {
            assert_eq!(reported(&plan(host, gateway, routes)), [expected], "{host} {gateway}");
        }
    }

    #[test]
    fn domains() {
        for good in ["kube.local", "a", "x-1.example.org"] {
            assert!(is_domain(good), "{good}");
        }
        for bad in ["", ".", "a..b", "-a.b", "a b", "a/b", "kube.local."] {
            assert!(!is_domain(bad), "{bad}");
        }
    }
}
