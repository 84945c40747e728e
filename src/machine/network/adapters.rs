//! VirtualBox's host-only adapters and the host's routes: the commands that show and change them,
//! and what they answer.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Cidr, allowed};
use crate::cancel::Cancel;
use crate::error::{Context, Error, Hint, Result, anyhow};
pub use crate::machine::virtualbox::answers::Adapter;
use crate::machine::virtualbox::answers::adapters;
use crate::machine::virtualbox::command::Caller;
use crate::machine::virtualbox::options::Version;
use crate::process::Command;

/// How long one command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The commands of this host.
#[derive(Clone, Debug)]
pub struct Tools {
    /// VBoxManage's command line, where it is not found by itself.
    pub vboxmanage: Option<String>,
    /// The file that the output of commands goes to.
    pub log: PathBuf,
    /// Set when the user wants to stop.
    pub cancel: Cancel,
}

impl Tools {
    /// VBoxManage as a person would type it.
    pub fn shown(&self) -> &str {
        self.vboxmanage.as_deref().unwrap_or("VBoxManage")
    }

    fn caller(&self) -> Result<Caller<'_>> {
        let given = self.vboxmanage.as_deref();
        Caller::find(given, &self.log, &self.cancel).map_err(Error::msg)
    }

    /// Runs VBoxManage to change something; `is_done` observes whether it did.
    fn change(
        &self,
        words: &[&str],
        is_done: impl Fn(&[Adapter]) -> bool,
    ) -> Result<Option<String>> {
        let answer = self.caller()?.run_or_observe(words, || Ok(is_done(&self.adapters()?)));
        answer.with_context(|| format!("running `{}`", line(self.shown(), words)))
    }

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

    /// Whether this VirtualBox holds adapters to a list; one that does not say does.
    pub fn is_restricted(&self) -> bool {
        let answer = self.caller().and_then(|caller| caller.query(["--version"]));
        let version = answer.ok().and_then(|text| Version::of_answer(&text));
        version.is_none_or(|version| version >= allowed::SINCE)
    }

    /// The adapters there are.
    pub fn adapters(&self) -> Result<Vec<Adapter>> {
        Ok(adapters(&self.caller()?.query(["list", "hostonlyifs"])?))
    }

    /// Makes an adapter besides those called `before`; its name.
    pub fn create_adapter(&self, before: &[String]) -> Result<String> {
        let is_new = |adapter: &&Adapter| !before.contains(&adapter.name);
        let answer = self
            .change(&["hostonlyif", "create"], |adapters| adapters.iter().any(|it| is_new(&it)))
            .hint("the kernel module vboxnetadp makes adapters; is it loaded?")?;
        match answer {
            Some(answer) => created(&answer)
                .ok_or_else(|| anyhow!("VBoxManage did not name the adapter: {answer}")),
            None => self
                .adapters()?
                .into_iter()
                .find(|it| is_new(&it))
                .map(|adapter| adapter.name)
                .ok_or_else(|| anyhow!("the new adapter is not there any more")),
        }
    }

    /// Gives an adapter its address.
    pub fn set_address(&self, name: &str, address: &Cidr) -> Result<()> {
        let words = address_words(name, address);
        let has_it = |it: &Adapter| it.name == name && it.address == Some(*address);
        let is_done = |adapters: &[Adapter]| adapters.iter().any(has_it);
        self.change(&words.each_ref().map(String::as_str), is_done).map(|_| ())
    }

    /// Removes an adapter.
    pub fn remove_adapter(&self, name: &str) -> Result<()> {
        let is_done = |adapters: &[Adapter]| adapters.iter().all(|it| it.name != name);
        self.change(&remove_words(name), is_done).map(|_| ())
    }

    /// The gateways of the routes to exactly `network`; `None` for one without.
    pub fn routes(&self, network: &Cidr) -> Result<Vec<Option<Ipv4Addr>>> {
        Ok(routes(&self.ip(&["-4", "route", "show", &network.to_string()])?))
    }
}

/// What has dnsmasq read its files again.
pub const RESTART: [&str; 2] = ["try-restart", "dnsmasq.service"];

/// The words that give an adapter its address.
pub fn address_words(name: &str, address: &Cidr) -> [String; 7] {
    let (ip, mask) = (address.ip().to_string(), address.mask().to_string());
    ["hostonlyif", "ipconfig", name, "--ip", &ip, "--netmask", &mask].map(str::to_string)
}

/// The words that remove an adapter.
pub fn remove_words(name: &str) -> [&str; 3] {
    ["hostonlyif", "remove", name]
}

/// A command as a person would type it.
pub fn line(program: &str, words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| crate::process::quote(word)).collect();
    format!("{program} {}", words.join(" "))
}

/// The name in `Interface 'vboxnet0' was successfully created`.
fn created(text: &str) -> Option<String> {
    let name = text.split_once("Interface '")?.1.split_once('\'')?.0;
    Some(name.to_string())
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
    fn a_new_adapter_is_named_behind_the_progress() {
        let text = "0%...10%...100%\nInterface 'vboxnet3' was successfully created\n";
        assert_eq!(created(text).unwrap(), "vboxnet3");
        assert_eq!(created("0%..."), None);
    }

    #[test]
    fn routes_have_a_gateway_or_none() {
        let text = "192.168.1.0/24 via 192.168.254.254 dev vboxnet0 \n\
                    192.168.1.0/24 dev eth0 proto kernel scope link src 192.168.1.5 metric 100\n";
        assert_eq!(routes(text), [Some(Ipv4Addr::new(192, 168, 254, 254)), None]);
        assert_eq!(routes("\n"), []);
    }
}
