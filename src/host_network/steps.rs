//! What is still to be done on the host so that it has the network a pipeline describes, from what
//! it has already. Pure: somebody looked before, and somebody acts later.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::tools::RESTART;
use super::{Adapter, Adapters, Cidr, Plan, line};
use crate::error::{Hint, Result, anyhow};

/// What the host has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostState {
    /// Its host-only adapters.
    pub adapters: Vec<Adapter>,
    /// The gateways of the routes to each network of the plan, in its order.
    pub routes: Vec<Vec<Option<Ipv4Addr>>>,
    /// What the file for dnsmasq holds.
    pub names: Option<String>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An adapter with this address.
    Adapter {
        /// The name it will most likely get.
        name: String,
        /// Its address.
        address: Cidr,
    },
    /// A route.
    Route {
        /// Where to.
        network: Cidr,
        /// By which machine.
        gateway: Ipv4Addr,
    },
    /// A file that has dnsmasq ask the gateway.
    Names {
        /// The file.
        file: PathBuf,
        /// Its text.
        text: String,
    },
}

impl Step {
    /// The commands that a person would type.
    pub fn lines(&self, adapters: &dyn Adapters) -> Vec<String> {
        match self {
            Step::Adapter { name, address } => adapters.lines_to_create(name, address).into(),
            Step::Route { network, gateway } => {
                let words = route_words("add", network, gateway);
                vec![line("ip", &words.each_ref().map(String::as_str))]
            }
            Step::Names { file, text } => {
                let file = crate::process::quote(&file.display().to_string());
                let text = crate::process::quote(text.trim_end());
                vec![format!("echo {text} >{file}"), line("systemctl", &RESTART)]
            }
        }
    }

    /// Whether only root can do it.
    pub fn needs_root(&self) -> bool {
        !matches!(self, Step::Adapter { .. })
    }
}

/// The words that add or delete (`del`) a route.
pub fn route_words(action: &str, network: &Cidr, gateway: &Ipv4Addr) -> [String; 5] {
    ["route", action, &network.to_string(), "via", &gateway.to_string()].map(str::to_string)
}

/// The line that has dnsmasq ask the gateway for the names of the domain.
pub fn server_line(plan: &Plan) -> Option<String> {
    let (domain, gateway) = (plan.domain.as_ref()?, plan.gateway?);
    Some(format!("server=/{domain}/{gateway}\n"))
}

/// The steps that are left. Fails where the host has something else in the place.
pub fn steps(plan: &Plan, found: &HostState, names: Option<&Path>) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let has = |adapter: &&Adapter| adapter.address == Some(plan.host);
    if !found.adapters.iter().any(|adapter| has(&adapter)) {
        let overlaps = |it: &&Adapter| it.address.is_some_and(|it| it.overlaps(&plan.host));
        if let Some(Adapter { name, address: Some(address) }) = found.adapters.iter().find(overlaps)
        {
            return Err(anyhow!(
                "the adapter {name} has the network {address}, which overlaps {}",
                plan.host
            ))
            .hint(format!(
                "take another `host`, or remove that one: `VBoxManage hostonlyif remove {name}`"
            ));
        }
        steps.push(Step::Adapter { name: next_name(&found.adapters), address: plan.host });
    }
    if let Some(gateway) = plan.gateway {
        for (network, there) in plan.routes.iter().zip(&found.routes) {
            match there.first() {
                None => steps.push(Step::Route { network: *network, gateway }),
                Some(_) if there.contains(&Some(gateway)) => {}
                Some(other) => {
                    let by = other.map_or_else(
                        || "is a network of this host itself".to_string(),
                        |other| format!("is routed by {other} already"),
                    );
                    return Err(anyhow!("{network} {by}")).hint(format!(
                        "see `ip route show {network}`; two networks cannot have one address"
                    ));
                }
            }
        }
    }
    if let (Some(file), Some(text)) = (names, server_line(plan)) {
        match &found.names {
            Some(there) if *there == text => {}
            Some(_) => {
                return Err(anyhow!("{} is there already, with other text", file.display()))
                    .hint("move it away, or take its line out of the pipeline: `domain`");
            }
            None => steps.push(Step::Names { file: file.to_path_buf(), text }),
        }
    }
    Ok(steps)
}

/// The kernel takes the first number that is free.
fn next_name(adapters: &[Adapter]) -> String {
    let taken = |name: &String| adapters.iter().any(|adapter| adapter.name == *name);
    let mut names = (0..).map(|number: u32| format!("vboxnet{number}"));
    names.find(|name| !taken(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            host: "192.168.254.1/24".parse().unwrap(),
            gateway: Some(Ipv4Addr::new(192, 168, 254, 254)),
            routes: vec!["192.168.1.0/24".parse().unwrap(), "192.168.2.0/24".parse().unwrap()],
            domain: Some("kube.local".into()),
        }
    }

    fn seen(adapters: &[(&str, &str)]) -> HostState {
        let adapter = |(name, address): &(&str, &str)| Adapter {
            name: name.to_string(),
            address: address.parse().ok(),
        };
        let adapters = adapters.iter().map(adapter).collect();
        HostState { adapters, routes: vec![vec![], vec![]], names: None }
    }

    /// Adapters of which the commands alone matter.
    struct Typed;

    impl Adapters for Typed {
        fn list(&self) -> Result<Vec<Adapter>> {
            Ok(Vec::new())
        }

        fn create(&self, _before: &[String]) -> Result<String> {
            Err(anyhow!("nothing is made here"))
        }

        fn set_address(&self, _name: &str, _address: &Cidr) -> Result<()> {
            Ok(())
        }

        fn remove(&self, _name: &str) -> Result<()> {
            Ok(())
        }

        fn lines_to_create(&self, name: &str, address: &Cidr) -> [String; 2] {
            [format!("create {name}"), format!("set {name} {address}")]
        }

        fn line_to_remove(&self, name: &str) -> String {
            format!("remove {name}")
        }
    }

    fn lines(found: &HostState) -> Vec<String> {
        let steps = steps(&plan(), found, Some(Path::new("/etc/dnsmasq.d/kuth-a.conf"))).unwrap();
        steps.iter().flat_map(|step| step.lines(&Typed)).collect()
    }

    const NAMES: [&str; 2] = [
        "echo server=/kube.local/192.168.254.254 >/etc/dnsmasq.d/kuth-a.conf",
        "systemctl try-restart dnsmasq.service",
    ];

    #[test]
    fn all_of_it_on_a_bare_host() {
        let expected = [
            "create vboxnet1",
            "set vboxnet1 192.168.254.1/24",
            "ip route add 192.168.1.0/24 via 192.168.254.254",
            "ip route add 192.168.2.0/24 via 192.168.254.254",
            NAMES[0],
            NAMES[1],
        ];
        assert_eq!(lines(&seen(&[("vboxnet0", "192.168.56.1/24")])), expected);
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let mut found = seen(&[("vboxnet0", "192.168.254.1/24")]);
        found.routes[0] = vec![Some(Ipv4Addr::new(192, 168, 254, 254))];
        let expected = ["ip route add 192.168.2.0/24 via 192.168.254.254", NAMES[0], NAMES[1]];
        assert_eq!(lines(&found), expected);
        found.routes[1] = found.routes[0].clone();
        found.names = Some("server=/kube.local/192.168.254.254\n".into());
        assert_eq!(lines(&found), [""; 0]);
    }

    #[test]
    fn what_is_in_the_way_is_reported() {
        let refused = |found: &HostState| {
            steps(&plan(), found, Some(Path::new("/n"))).unwrap_err().to_string()
        };
        assert_eq!(
            refused(&seen(&[("vboxnet0", "192.168.254.1/16")])),
            "the adapter vboxnet0 has the network 192.168.254.1/16, which overlaps 192.168.254.1/24"
        );
        let mut other = seen(&[]);
        other.routes[1] = vec![Some(Ipv4Addr::new(10, 0, 0, 1))];
        assert_eq!(refused(&other), "192.168.2.0/24 is routed by 10.0.0.1 already");
        other.routes[1] = vec![None];
        assert_eq!(refused(&other), "192.168.2.0/24 is a network of this host itself");
        let mut named = seen(&[]);
        named.names = Some("server=8.8.8.8\n".into());
        assert_eq!(refused(&named), "/n is there already, with other text");
    }
}
