//! What this host's network is looked at and changed by: a hypervisor's host-only adapters, iproute2
//! and dnsmasq.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::Cidr;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::process::Command;

/// How long one command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A host-only adapter of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// `vboxnet0`.
    pub name: String,
    /// Its address, if it has one.
    pub address: Option<Cidr>,
}

/// The host-only adapters of a hypervisor.
pub trait Adapters {
    /// The adapters there are.
    fn list(&self) -> Result<Vec<Adapter>>;

    /// Makes an adapter besides those called `before`; its name.
    fn create(&self, before: &[String]) -> Result<String>;

    /// Gives an adapter its address.
    fn set_address(&self, name: &str, address: &Cidr) -> Result<()>;

    /// Removes an adapter.
    fn remove(&self, name: &str) -> Result<()>;

    /// The commands that a person would type to make the adapter `name` with an address.
    fn lines_to_create(&self, name: &str, address: &Cidr) -> [String; 2];

    /// The command that a person would type to remove an adapter.
    fn line_to_remove(&self, name: &str) -> String;
}

/// The tools of this host.
pub struct Tools<'a> {
    /// The host-only adapters.
    pub adapters: &'a dyn Adapters,
    /// The file that the output of commands goes to.
    pub log: PathBuf,
    /// Set when the user wants to stop.
    pub cancel: Cancel,
}

impl Tools<'_> {
    /// Runs iproute2's `ip`.
    pub fn ip(&self, words: &[&str]) -> Result<String> {
        self.run(Command::new("ip").args(words))
    }

    /// Lets dnsmasq, where it runs, read its files again.
    pub fn restart_dnsmasq(&self) -> Result<()> {
        self.run(Command::new("systemctl").args(RESTART)).map(|_| ())
    }

    fn run(&self, command: Command) -> Result<String> {
        let output = command.time_limit(LIMIT).run(&self.log, &self.cancel)?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// The gateways of the routes to exactly `network`; `None` for one without.
    pub fn routes(&self, network: &Cidr) -> Result<Vec<Option<Ipv4Addr>>> {
        Ok(routes(&self.ip(&["-4", "route", "show", &network.to_string()])?))
    }
}

/// What has dnsmasq read its files again.
pub const RESTART: [&str; 2] = ["try-restart", "dnsmasq.service"];

/// A command as a person would type it.
pub fn line(program: &str, words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| crate::process::quote(word)).collect();
    format!("{program} {}", words.join(" "))
}

/// The answer of `ip route show NETWORK`, a route a line.
fn routes(text: &str) -> Vec<Option<Ipv4Addr>> {
    let route = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        words.find(|word| *word == "via").and_then(|_| words.next()?.parse().ok())
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_have_a_gateway_or_none() {
        let text = "192.168.1.0/24 via 192.168.254.254 dev vboxnet0 \n\
                    192.168.1.0/24 dev eth0 proto kernel scope link src 192.168.1.5 metric 100\n";
        assert_eq!(routes(text), [Some(Ipv4Addr::new(192, 168, 254, 254)), None]);
        assert_eq!(routes("\n"), []);
    }
}
