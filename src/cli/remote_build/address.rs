//! `ssh://[user@]host[:port]`, and the ssh command that connects to it.

use std::str::FromStr;

use crate::error::{Error, Misuse, Result};
use crate::process::Command;

/// The address of a build host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `host` or `user@host`, as an argument of ssh.
    destination: String,
    port: Option<u16>,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let wrong = || "expected ssh://[user@]host[:port]".to_string();
        let rest = text.strip_prefix("ssh://").ok_or_else(wrong)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // A colon inside brackets does not begin a port.
        let (who, port) = match rest.rsplit_once(':') {
            Some((who, port)) if !port.contains(']') => {
                (who, Some(port.parse().map_err(|_| format!("`{port}` is not a port"))?))
            }
            _ => (rest, None),
        };
        // A leading `-` would be an option.
        let is_host = !who.is_empty()
            && !who.starts_with('-')
            && who.chars().all(|c| c.is_ascii_alphanumeric() || "._-@[]:%".contains(c));
        match is_host {
            true => Ok(Address { destination: who.replace(['[', ']'], ""), port }),
            false => Err(wrong()),
        }
    }
}

impl Address {
    /// The name in messages.
    pub fn name(&self) -> &str {
        &self.destination
    }

    /// The ssh command, without the command to run on the host. `given` is the value of `--ssh`.
    pub fn ssh(&self, given: Option<&str>) -> Result<Command> {
        let words = shlex::split(given.unwrap_or("ssh")).filter(|words| !words.is_empty());
        let Some(words) = words else {
            let text = format!("the command line of ssh cannot be split: {}", given.unwrap_or(""));
            return Err(Error::new(Misuse(text)));
        };
        let mut command = Command::new(&words[0]).args(&words[1..]);
        command = command.inherit(&["HOME", "USER", "LOGNAME", "SSH_*"]);
        // No questions, because the terminal is in use. A dead connection is noticed within a minute.
        for option in ["BatchMode=yes", "ServerAliveInterval=15", "ServerAliveCountMax=3"] {
            command = command.args(["-o", option]);
        }
        command = command.arg("-T");
        if let Some(port) = self.port {
            command = command.args(["-p", &port.to_string()]);
        }
        Ok(command.args(["--", &self.destination]))
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
