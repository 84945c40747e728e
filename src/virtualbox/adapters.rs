//! VirtualBox's host-only adapters: the commands that show and change them, and what they answer.

use std::path::PathBuf;

use crate::cancel::Cancel;
use crate::error::{Context, Error, Hint, Result, anyhow};
use crate::host_network::{Adapter, Adapters, Cidr, line};

use super::allowed;
use super::answers::adapters;
use super::command::Caller;
use super::options::Version;

/// The host-only adapters of this host.
#[derive(Clone, Debug)]
pub struct HostOnly {
    /// VBoxManage's command line, where it is not found by itself.
    pub command: Option<String>,
    /// The file that the output of commands goes to.
    pub log: PathBuf,
    /// Set when the user wants to stop.
    pub cancel: Cancel,
}

impl HostOnly {
    /// VBoxManage as a person would type it.
    fn shown(&self) -> &str {
        self.command.as_deref().unwrap_or("VBoxManage")
    }

    fn caller(&self) -> Result<Caller<'_>> {
        Caller::find(self.command.as_deref(), &self.log, &self.cancel).map_err(Error::msg)
    }

    /// Runs VBoxManage to change something; `is_done` observes whether it did.
    fn change(
        &self,
        words: &[&str],
        is_done: impl Fn(&[Adapter]) -> bool,
    ) -> Result<Option<String>> {
        let answer = self.caller()?.run_or_observe(words, || Ok(is_done(&self.list()?)));
        answer.with_context(|| format!("running `{}`", line(self.shown(), words)))
    }

    /// Whether this VirtualBox holds adapters to a list of addresses; one that does not say does.
    pub fn is_restricted(&self) -> bool {
        let answer = self.caller().and_then(|caller| caller.query(["--version"]));
        let version = answer.ok().and_then(|text| Version::of_answer(&text));
        version.is_none_or(|version| version >= allowed::SINCE)
    }
}

impl Adapters for HostOnly {
    fn list(&self) -> Result<Vec<Adapter>> {
        Ok(adapters(&self.caller()?.query(["list", "hostonlyifs"])?))
    }

    fn create(&self, before: &[String]) -> Result<String> {
        let is_new = |adapter: &&Adapter| !before.contains(&adapter.name);
        let answer = self
            .change(&CREATE, |adapters| adapters.iter().any(|it| is_new(&it)))
            .hint("the kernel module vboxnetadp makes adapters; is it loaded?")?;
        match answer {
            Some(answer) => created(&answer)
                .ok_or_else(|| anyhow!("VBoxManage did not name the adapter: {answer}")),
            None => self
                .list()?
                .into_iter()
                .find(|it| is_new(&it))
                .map(|adapter| adapter.name)
                .ok_or_else(|| anyhow!("the new adapter is not there any more")),
        }
    }

    fn set_address(&self, name: &str, address: &Cidr) -> Result<()> {
        let words = address_words(name, address);
        let has_it = |it: &Adapter| it.name == name && it.address == Some(*address);
        let is_done = |adapters: &[Adapter]| adapters.iter().any(has_it);
        self.change(&words.each_ref().map(String::as_str), is_done).map(|_| ())
    }

    fn remove(&self, name: &str) -> Result<()> {
        let is_done = |adapters: &[Adapter]| adapters.iter().all(|it| it.name != name);
        self.change(&remove_words(name), is_done).map(|_| ())
    }

    fn lines_to_create(&self, name: &str, address: &Cidr) -> [String; 2] {
        let set = address_words(name, address);
        let set = set.each_ref().map(String::as_str);
        [line(self.shown(), &CREATE), line(self.shown(), &set)]
    }

    fn line_to_remove(&self, name: &str) -> String {
        line(self.shown(), &remove_words(name))
    }
}

/// The words that make an adapter.
const CREATE: [&str; 2] = ["hostonlyif", "create"];

/// The words that give an adapter its address.
fn address_words(name: &str, address: &Cidr) -> [String; 7] {
    let (ip, mask) = (address.ip().to_string(), address.mask().to_string());
    ["hostonlyif", "ipconfig", name, "--ip", &ip, "--netmask", &mask].map(str::to_string)
}

/// The words that remove an adapter.
fn remove_words(name: &str) -> [&str; 3] {
    ["hostonlyif", "remove", name]
}

/// The name in `Interface 'vboxnet0' was successfully created`.
fn created(text: &str) -> Option<String> {
    let name = text.split_once("Interface '")?.1.split_once('\'')?.0;
    Some(name.to_string())
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
}
