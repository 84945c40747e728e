//! The machines a driver made: what an artifact keeps of one, and how one is found.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::Result;
use crate::hardware::{Hardware, Mac};

use super::{Host, Row};

/// What a driver made, as an artifact keeps it. Nothing of this host is in it: the same recipe
/// gives the same identity everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Identity {
    /// The driver's name.
    pub driver: String,
    /// The machine's name.
    pub machine: String,
    /// [`MachineSpec::origin`] of the machine.
    pub origin: Digest,
    /// The snapshot's name, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The driver's name for the disk that a clone would rest on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
}

impl Identity {
    /// The row of the driver that made it.
    pub fn row(&self, host: &Host) -> Result<&'static Row> {
        super::row(host, &self.driver)
    }

    /// The text an artifact is.
    pub fn to_text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// Where something a driver made is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// There, as it was made or used since.
    Present(PathBuf),
    /// Not there any more, or not as it was made, and why.
    Missing(String),
    /// Another of kuth's own is in its place, which holds no state, and why.
    Replaced(String),
    /// Another one is in its place, which holds state and must stay; and why.
    Retained(PathBuf, String),
}

/// A machine that others can be made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// What it is.
    pub identity: Identity,
    /// What it is made of.
    pub hardware: Hardware,
    /// Whose it is.
    pub owner: Owner,
}

/// Whose a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// kuth made it, so it may be given a snapshot.
    Kuth,
    /// Somebody else's: it is copied whole and stays as it is.
    Other,
}

/// An address of a running machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The card.
    pub mac: Mac,
    /// Its address.
    pub ip: Ipv4Addr,
}

/// Something that an earlier run left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// What.
    pub path: PathBuf,
    /// Why it is of no use.
    pub why: String,
}

/// A machine as `list` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Where it lies.
    pub directory: PathBuf,
    /// The pipeline that made it.
    pub pipeline: String,
    /// The snapshots taken of it.
    pub snapshots: Vec<String>,
    /// The machine it was cloned from.
    pub cloned_from: Option<String>,
    /// How it is.
    pub state: State,
    /// Why it holds state, if it does: "it has been started".
    pub holds: Option<String>,
    /// What it is while it is not powered off: `running`, `paused`, `saved` ...
    pub active: Option<String>,
    /// What it is made of.
    pub hardware: Hardware,
    /// Who `ssh` logs in as.
    pub user: Option<String>,
    /// The port of 127.0.0.1 that leads to its SSH server, while it runs.
    pub ssh_port: Option<u16>,
}

/// How a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As kuth made it.
    Ready,
    /// Powered off, and holding state.
    Used,
    /// Running.
    Running,
}

/// How a machine was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It did not run.
    Already,
    /// It powered off.
    PoweredOff,
    /// It did not power off in time and was switched off by force.
    Forced,
}

/// A directory of the embedded driver's beside those of machines, so no machine's name.
const RESERVED: &str = "bases";

/// Whether `name` can be a machine's name and host name: letters, digits and inner `-`, at most
/// 63, in lower case.
pub fn is_legal_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(word)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name != RESERVED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_pinned_text() {
        let identity = Identity {
            driver: "qemu".into(),
            machine: "base".into(),
            origin: Digest([0; 32]),
            snapshot: None,
            disk: Some("bases/x.raw".into()),
        };
        let text = identity.to_text().unwrap();
        let zeros = "0".repeat(64);
        assert_eq!(
            text,
            format!(
                "{{\n  \"driver\": \"qemu\",\n  \"machine\": \"base\",\n  \"origin\": \"{zeros}\",\n  \
                 \"disk\": \"bases/x.raw\"\n}}\n"
            )
        );
        assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), identity);
    }

    #[test]
    fn names_are_host_names() {
        for name in ["gate-node01", "a", "0"] {
            assert!(is_legal_name(name), "{name}");
        }
        for name in ["", "-a", "a-", "a.b", "A", "a/b", "bases", "..", &"x".repeat(64)] {
            assert!(!is_legal_name(name), "{name}");
        }
    }
}
