//! `kuth machine hosts`: by which address each running machine is reached, as /etc/hosts has it.
//! Addresses come from the hypervisor, where machines report theirs, else from a machine that
//! serves DHCP to the others and is reached by `ssh`.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Located, everywhere};
use crate::cli::screen;
use crate::error::Result;
use crate::host_network::is_domain;
use crate::machine::{Address, Driver, Host, Listed, State, leases};
use crate::process::Command;

/// How long a machine may take to answer.
const LIMIT: Duration = Duration::from_secs(20);

/// Prints the machine's domain on the first line, and then its leases, if it has any.
const ASK: &str = "echo \"$(hostname --domain 2>/dev/null)\"; \
                   cat /var/lib/misc/dnsmasq.leases 2>/dev/null || true";

#[derive(clap::Args, Debug)]
pub struct Args {
    /// The domain of the names [default: that of the
    /// machine that gives addresses out]
    #[arg(long, value_name = "DOMAIN", verbatim_doc_comment)]
    domain: Option<String>,
}

/// What is known of the running machines.
#[derive(Default)]
struct Known {
    domain: Option<String>,
    leases: Vec<Address>,
}

/// Prints the lines.
pub fn run(host: &Host, args: &Args) -> Result<()> {
    let machines = everywhere(host)?;
    let running: Vec<&Located> =
        machines.iter().filter(|(_, listed)| listed.state == State::Running).collect();
    let mut reported = Vec::new();
    for (driver, listed) in &running {
        reported.push(driver.addresses(host, &listed.name)?);
    }
    let mut known = Known { domain: args.domain.clone(), leases: Vec::new() };
    let lacks = |listed: &Listed, reported: &[Address]| {
        let nics = &listed.hardware.nics;
        !nics.is_empty() && leases::best(nics, reported).is_none()
    };
    let somebody_lacks =
        running.iter().zip(&reported).any(|((_, listed), reported)| lacks(listed, reported));
    if somebody_lacks || known.domain.is_none() {
        for (driver, listed) in running.iter().filter(|(_, listed)| may_serve(listed)) {
            match ask(host, &driver.ssh(host, &listed.name)?) {
                Ok(answer) => known.add(&answer),
                Err(error) => screen::talk(&format!(
                    "{}: could not be asked for its leases: {}",
                    listed.name,
                    first_line(&error.to_string())
                )),
            }
        }
    }
    let lines = running
        .iter()
        .zip(&reported)
        .filter_map(|((_, listed), reported)| line(listed, reported, &known));
    screen::data(&lines.collect::<String>())
}

/// Only a machine between networks gives out addresses.
fn may_serve(listed: &Listed) -> bool {
    listed.ssh_port.is_some() && listed.hardware.nics.len() > 1
}

fn ask(host: &Host, arguments: &[String]) -> Result<String> {
    let command = Command::new("ssh")
        .inherit(&["HOME", "SSH_AUTH_SOCK"])
        .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=5"])
        .args(arguments)
        .arg(ASK)
        .time_limit(LIMIT);
    Ok(String::from_utf8_lossy(&command.run(&host.log, &host.cancel)?).into_owned())
}

impl Known {
    /// Takes in what a machine answered.
    fn add(&mut self, answer: &str) {
        let (domain, text) = answer.split_once('\n').unwrap_or((answer, ""));
        let leases = leases::parse(text);
        if !leases.is_empty() && self.domain.is_none() && is_domain(domain.trim()) {
            self.domain = Some(domain.trim().to_string());
        }
        self.leases.extend(leases);
    }
}

/// The line of a running machine: its own address, else the port of this host that leads to it.
fn line(listed: &Listed, reported: &[Address], known: &Known) -> Option<String> {
    let nics = &listed.hardware.nics;
    let ip = leases::best(nics, reported).or_else(|| leases::best(nics, &known.leases));
    let (ip, port) = match (ip, listed.ssh_port) {
        (Some(ip), _) => (ip, None),
        (None, Some(port)) => (Ipv4Addr::LOCALHOST, Some(port)),
        (None, None) => return None,
    };
    let line = leases::hosts_line(ip, &listed.name, known.domain.as_deref());
    Some(match port {
        None => line,
        Some(port) => format!("{}\t# ssh port {port}\n", line.trim_end()),
    })
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::tests::listed;
    use super::*;
    use crate::machine::{Nic, State};

    fn on(networks: &[&str], ssh_port: Option<u16>) -> Listed {
        let networks: Vec<_> = networks.iter().map(|it| it.parse().unwrap()).collect();
        let mut listed = listed(State::Running, ssh_port);
        listed.hardware.nics = Nic::all(&listed.name, &networks);
        listed
    }

    #[test]
    fn a_machine_has_its_own_address_or_a_port_or_no_line() {
        let gate = on(&["nat", "internal:dmz"], Some(2201));
        let inner = on(&["internal:dmz"], None);
        let mut known = Known::default();
        assert_eq!(line(&gate, &[], &known).unwrap(), "127.0.0.1\tgate-node01\t# ssh port 2201\n");
        assert_eq!(line(&inner, &[], &known), None);
        let mac = inner.hardware.nics[0].mac;
        known.add(&format!("kube.local\n0 {mac} 192.168.4.131 x *\n"));
        assert_eq!(
            line(&inner, &[], &known).unwrap(),
            "192.168.4.131\tgate-node01.kube.local gate-node01\n"
        );
        let reported = [Address { mac, ip: Ipv4Addr::new(192, 168, 4, 7) }];
        assert!(line(&inner, &reported, &known).unwrap().starts_with("192.168.4.7\t"));
        assert_eq!(
            line(&gate, &[], &known).unwrap(),
            "127.0.0.1\tgate-node01.kube.local gate-node01\t# ssh port 2201\n"
        );
    }

    #[test]
    fn the_domain_is_that_of_who_gives_addresses_out() {
        let mut known = Known::default();
        known.add("other.local\n");
        assert_eq!(known.domain, None);
        known.add("\n0 52:54:00:aa:bb:02 192.168.1.10 * *\n");
        assert_eq!((known.domain.as_deref(), known.leases.len()), (None, 1));
        known.add("kube.local\n0 52:54:00:aa:bb:03 192.168.1.11 * *\n");
        assert_eq!((known.domain.as_deref(), known.leases.len()), (Some("kube.local"), 2));
    }
}
