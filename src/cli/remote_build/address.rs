//! `ssh://[user@]host[:port]`, and the command that reaches it.

use std::str::FromStr;

use crate::error::{Error, Misuse, Result};
use crate::process::Command;

/// Where a machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `host` or `user@host`, as ssh takes it.
    who: String,
    port: Option<u16>,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let wrong = || "expected ssh://[user@]host[:port]".to_string();
        let rest = text.strip_prefix("ssh://").ok_or_else(wrong)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // The colons of an address in brackets are not those of a port.
        let (who, port) = match rest.rsplit_once(':') {
            Some((who, port)) if !port.contains(']') => {
                (who, Some(port.parse().map_err(|_| format!("`{port}` is no port"))?))
            }
            _ => (rest, None),
        };
        // What begins with `-` would be an option.
        let is_host = !who.is_empty()
            && !who.starts_with('-')
            && who.chars().all(|c| c.is_ascii_alphanumeric() || "._-@[]:%".contains(c));
        match is_host {
            true => Ok(Address { who: who.replace(['[', ']'], ""), port }),
            false => Err(wrong()),
        }
    }
}

impl Address {
    /// For people.
    pub fn name(&self) -> &str {
        &self.who
    }

    /// The command, up to what is to be run there. `given` is ssh's own command line.
    pub fn ssh(&self, given: Option<&str>) -> Result<Command> {
        let words = shlex::split(given.unwrap_or("ssh")).filter(|words| !words.is_empty());
        let Some(words) = words else {
            let text = format!("the command line of ssh cannot be split: {}", given.unwrap_or(""));
            return Err(Error::new(Misuse(text)));
        };
        let mut command = Command::new(&words[0]).args(&words[1..]);
        command = command.inherit(&["HOME", "USER", "LOGNAME", "SSH_*"]);
        // Nobody is asked: kuth's screen is in use. A silent peer is noticed within a minute.
        for option in ["BatchMode=yes", "ServerAliveInterval=15", "ServerAliveCountMax=3"] {
            command = command.args(["-o", option]);
        }
        command = command.arg("-T");
        if let Some(port) = self.port {
            command = command.args(["-p", &port.to_string()]);
        }
        Ok(command.args(["--", &self.who]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let command = |text: &str, ssh| {
            let address: Address = text.parse().unwrap();
            address.ssh(ssh).unwrap().to_string().replace("-o BatchMode=yes -o ServerAlive", "…")
        };
        let options = "…Interval=15 -o ServerAliveCountMax=3 -T";
        assert_eq!(command("ssh://big", None), format!("ssh {options} -- big"));
        assert_eq!(
            command("ssh://me@big:2222/", Some("ssh -i 'a key'")),
            format!("ssh -i 'a key' {options} -p 2222 -- me@big")
        );
        assert_eq!(command("ssh://[::1]:22", None), format!("ssh {options} -p 22 -- ::1"));
        for wrong in
            ["big", "ssh://", "ssh://-oProxyCommand=x", "ssh://a b", "ssh://a:b", "ssh://a;b"]
        {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}
