//! Machines that run: starting and stopping them, and how they are reached.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::{Hint, Result, anyhow, bail};
use crate::machine::nic::reached;
use crate::machine::{Address, Listed, Network, State, Stopped, ssh};

use super::answers;
use super::config::{Config, Machine};
use super::make::CONSOLE;
use super::options::MOST_NICS;

/// How long a guest may take to power off.
pub const POWER_OFF: Duration = Duration::from_secs(120);

/// A machine as `list` shows it.
pub fn listed(machine: &Machine) -> Listed {
    let state = match (machine.info.is_running(), machine.state()) {
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
pub fn start(config: &Config<'_>, name: &str) -> Result<Listed> {
    let mut machine = config.named(name)?;
    if !machine.info.is_running() {
        let log = machine.info.directory().join("Logs");
        let hint = format!("VirtualBox's log is in {}", log.display());
        config.start(&machine.uuid).hint(hint.clone())?;
        // That it was started is all that the command knows.
        machine = config.named(name)?;
        if !machine.info.is_running() {
            let state = machine.info.state();
            return Err(anyhow!("the machine `{name}` was started, and is {state}")).hint(hint);
        }
    }
    Ok(listed(&machine))
}

/// Asks the guest to power off; cuts its power when it does not within `patience`.
pub fn stop(config: &Config<'_>, name: &str, patience: Duration) -> Result<Stopped> {
    let machine = config.named(name)?;
    if !machine.info.is_running() {
        return Ok(Stopped::Already);
    }
    // A guest that cannot be asked (paused, or without a driver for the button) is ended.
    if config.press_power_button(&machine.uuid).is_ok()
        && is_off_within(config, &machine.uuid, patience)?
    {
        return Ok(Stopped::PoweredOff);
    }
    config.power_off(&machine.uuid)?;
    match is_off_within(config, &machine.uuid, Duration::from_secs(30))? {
        true => Ok(Stopped::Ended),
        false => bail!("the machine `{name}` does not end"),
    }
}

fn is_off_within(config: &Config<'_>, uuid: &str, limit: Duration) -> Result<bool> {
    let start = Instant::now();
    loop {
        let info = config.info(uuid)?;
        if info.is_none_or(|info| info.has_ended()) {
            return Ok(true);
        }
        if start.elapsed() > limit {
            return Ok(false);
        }
        config.host.cancel.check()?;
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// The addresses that the guest additions in a machine tell of.
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

/// The file of a machine's serial console.
pub fn console(machine: &Machine) -> Result<PathBuf> {
    let console = machine.info.directory().join(CONSOLE);
    let name = &machine.record.name;
    match console.is_file() {
        true => Ok(console),
        false => Err(anyhow!("the machine `{name}` has never been started"))
            .hint(format!("start it: `kuth machine start {name}`")),
    }
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
