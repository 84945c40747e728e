//! Machines that run: starting and stopping their QEMU, and what a running one is reached by.

use std::cmp::Reverse;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Context, Error, Hint, Result, anyhow, caused_by};
use crate::hardware::{Network, Nic};
use crate::hypervisor::{Host, ssh};
use crate::process::{Command, CommandFailed};
use crate::qemu::host;
use crate::qemu::qmp::Qmp;

use super::directory::{self, Record};
use super::process::pid;
use super::script::{is_internal, is_reached};
use super::store;

/// How long QEMU may take to set a machine up before it goes to the background.
const SET_UP: Duration = Duration::from_secs(60);

/// Starts a machine in the background.
pub fn start(host: &Host, place: &Path, record: &Record) -> Result<()> {
    host::require_program(&record.hardware.architecture)?;
    let mut port = free_port(record.ssh_port)?;
    let mut left = 3;
    while let Err(error) = run(host, place, port) {
        left -= 1;
        // Somebody may have taken the port before QEMU did, or have looked just then whether it
        // is free.
        if left == 0 || !is_reached(&record.hardware) || !is_about_ports(&error) {
            return Err(error)
                .with_context(|| format!("starting the machine `{}`", record.name))
                .hint(format!("its own command line is {}", place.join("run").display()));
        }
        port = free_port(record.ssh_port)?;
    }
    Ok(())
}

/// Runs the script, which comes back when QEMU is in the background.
fn run(host: &Host, place: &Path, port: u16) -> Result<()> {
    store::write(&place.join("ssh-port"), format!("{port}\n").as_bytes(), 0o644)?;
    let command = script(place)?.env("KUTH_BACKGROUND", "1");
    let log = place.join("start.log");
    store::remove_file(&log)?;
    command.env("KUTH_SSH_PORT", port.to_string()).run(&log, &host.cancel).map(|_| ())
}

/// Starts the switches that are gone of a running machine's networks: somebody may have ended one.
pub fn mend_networks(host: &Host, place: &Path, record: &Record) -> Result<()> {
    if is_internal(&record.hardware) {
        let command = script(place)?.env("KUTH_NETWORKS_ALONE", "1");
        command.run(&place.join("start.log"), &host.cancel)?;
    }
    Ok(())
}

fn script(place: &Path) -> Result<Command> {
    let run = std::path::absolute(place.join("run")).context("finding the working directory")?;
    let kuth = std::env::current_exe().context("finding kuth's own program")?;
    Ok(Command::new(run).env("KUTH", kuth).time_limit(SET_UP))
}

/// The preferred port if nobody listens there, else one the system picks.
fn free_port(preferred: u16) -> Result<u16> {
    listen(preferred).or_else(|_| listen(0)).context("looking for a free port")
}

/// Whether QEMU did not get a port of the host.
fn is_about_ports(error: &Error) -> bool {
    let said = caused_by::<CommandFailed>(error).map_or(&[][..], |failed| &failed.tail);
    said.iter().any(|line| line.contains("Could not set up host forwarding rule"))
}

/// Listens at a port, or one the system picks for 0, and gives it back.
fn listen(port: u16) -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", port))?.local_addr()?.port())
}

/// The port that leads to a running machine's SSH server.
pub fn ssh_port(place: &Path, record: &Record) -> Option<u16> {
    pid(place, &record.name).filter(|_| is_reached(&record.hardware))?;
    let written = directory::read_text(&place.join("ssh-port")).ok().flatten();
    Some(written.and_then(|text| text.trim().parse().ok()).unwrap_or(record.ssh_port))
}

/// The arguments for `ssh`: by the machine's own port, or through a machine on one of its internal
/// networks that has one.
pub fn ssh_arguments(host: &Host, place: &Path, record: &Record) -> Result<Vec<String>> {
    let name = &record.name;
    if pid(place, name).is_none() {
        return Err(anyhow!("the machine `{name}` is not running"))
            .hint(format!("start it: `kuth machine start {name}`"));
    }
    if let Some(port) = ssh_port(place, record) {
        return Ok(ssh::arguments(place, record.user.as_deref(), port));
    }
    let (between, jump, port) = neighbour(host, record)?
        .ok_or_else(|| anyhow!("this host does not reach the machine `{name}`"))
        .hint("start one that has a `nat` card and shares an internal network with it")?;
    let jump = ssh::arguments(&between, jump.user.as_deref(), port);
    Ok(ssh::through(&jump, place, record.user.as_deref(), name))
}

/// A running machine that this host reaches and that shares an internal network with `record`'s.
/// The one with the most cards, as that one is likeliest to know the others' names.
fn neighbour(host: &Host, record: &Record) -> Result<Option<(PathBuf, Record, u16)>> {
    let is_internal = |nic: &&Nic| matches!(nic.network, Network::Internal(_));
    let shares = |other: &Record| {
        let own = record.hardware.nics.iter().filter(is_internal);
        own.into_iter().any(|nic| other.hardware.nics.iter().any(|it| it.network == nic.network))
    };
    let reached = |(place, other): (PathBuf, Record)| {
        let port = ssh_port(&place, &other).filter(|_| shares(&other))?;
        Some((place, other, port))
    };
    let found = directory::machines(&host.machines)?.into_iter().filter_map(reached);
    Ok(found.min_by_key(|(_, other, _)| Reverse(other.hardware.nics.len())))
}

/// Asks the guest to power off.
pub fn press_power_button(place: &Path) -> Result<()> {
    Qmp::connect(place).and_then(|mut qmp| qmp.execute("system_powerdown")).map(|_| ())
}

/// Ends QEMU: by its own command, and where that does not answer, by a signal.
pub fn power_off(host: &Host, place: &Path, name: &str) -> Result<()> {
    let quit = Qmp::connect(place).and_then(|mut qmp| qmp.execute("quit"));
    if quit.is_ok() && gone(host, place, name, Duration::from_secs(10))? {
        return Ok(());
    }
    let process = pid(place, name).and_then(|it| i32::try_from(it).ok()).and_then(Pid::from_raw);
    if let Some(process) = process {
        let _ = kill_process(process, Signal::KILL);
    }
    Ok(())
}

/// Waits until the machine's process is gone; whether it is.
fn gone(host: &Host, place: &Path, name: &str, limit: Duration) -> Result<bool> {
    let start = Instant::now();
    while start.elapsed() < limit {
        host.cancel.check()?;
        if pid(place, name).is_none() {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(pid(place, name).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_gives_way() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_ne!(free_port(port).unwrap(), port);
    }
}
