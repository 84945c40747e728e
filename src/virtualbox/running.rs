//! Machines that run: starting and stopping them, and how they are reached.

use crate::error::{Hint, Result, anyhow};
use crate::hardware::Network;
use crate::hardware::nic::reached;
use crate::hypervisor::{Address, Listed, State, ssh};

use super::answers;
use super::config::{Config, Machine};
use super::options::MOST_NICS;

/// A machine as `list` shows it.
pub fn listed(machine: &Machine) -> Listed {
    let holds = machine.state();
    let state = match (machine.info.is_running(), &holds) {
        (true, _) => State::Running,
        (false, Some(_)) => State::Used,
        (false, None) => State::Ready,
    };
    let record = &machine.record;
    let is_reached = state == State::Running && has_nat(machine);
    Listed {
        name: machine.info.get("name").unwrap_or(&record.name).to_string(),
        directory: machine.info.directory(),
        pipeline: record.pipeline.clone(),
        snapshots: machine.info.snapshots().into_keys().collect(),
        cloned_from: record.cloned_from.as_ref().map(|parent| parent.machine.clone()),
        state,
        holds,
        active: (!machine.is_off()).then(|| machine.info.state().to_string()),
        hardware: record.hardware.clone(),
        user: record.user.clone(),
        ssh_port: is_reached.then_some(record.ssh_port),
    }
}

fn has_nat(machine: &Machine) -> bool {
    let nics = &machine.record.hardware.nics;
    reached(nics).is_some_and(|at| nics[at].network == Network::Nat)
}

/// Starts a machine without a window.
pub fn start(config: &Config<'_>, name: &str) -> Result<()> {
    let mut machine = config.named(name)?;
    if !machine.info.is_running() {
        let log = machine.info.directory().join("Logs");
        let hint = format!("VirtualBox's log is in {}", log.display());
        config.boot(&machine.uuid).hint(hint.clone())?;
        // That it was started is all that the command knows.
        machine = config.named(name)?;
        if !machine.info.is_running() {
            let state = machine.info.state();
            return Err(anyhow!("the machine `{name}` was started, and is {state}")).hint(hint);
        }
    }
    Ok(())
}

/// The addresses that the guest additions in a machine report.
pub fn addresses(config: &Config<'_>, machine: &Machine) -> Result<Vec<Address>> {
    let words = ["guestproperty", "enumerate", &machine.uuid, "--patterns"];
    let pattern = "/VirtualBox/GuestInfo/Net/*";
    let answer = config.vbox.query(words.into_iter().chain([pattern]))?;
    let properties = answers::properties(&answer);
    let property = |index: usize, what: &str| {
        properties.get(&format!("/VirtualBox/GuestInfo/Net/{index}/{what}"))
    };
    let mut addresses = Vec::new();
    for index in 0..MOST_NICS {
        let (Some(mac), Some(ip)) = (property(index, "MAC"), property(index, "V4/IP")) else {
            continue;
        };
        let pairs: Vec<_> = mac.as_bytes().chunks(2).map(String::from_utf8_lossy).collect();
        if let (Ok(mac), Ok(ip)) = (pairs.join(":").parse(), ip.parse()) {
            addresses.push(Address { mac, ip });
        }
    }
    Ok(addresses)
}

/// The arguments for `ssh` that reach a running machine.
pub fn ssh_arguments(machine: &Machine) -> Result<Vec<String>> {
    let (record, name) = (&machine.record, &machine.record.name);
    if !has_nat(machine) {
        return Err(anyhow!("the machine `{name}` has no network card on `nat`"))
            .hint("reach it from a machine on the same network that has one");
    }
    if !machine.info.is_running() {
        return Err(anyhow!("the machine `{name}` is not running"))
            .hint(format!("start it: `kuth machine start {name}`"));
    }
    Ok(ssh::arguments(&machine.info.directory(), record.user.as_deref(), record.ssh_port))
}
