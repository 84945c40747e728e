//! Machines on a hypervisor, at the level of intent: register a disk as a machine, freeze it as
//! a snapshot, clone that, and let people start, stop and remove what came of it. What is done with
//! machines is the same for every driver ([`Driver`]); a driver is one directory beside this one and
//! one row of [`DRIVERS`], and nothing outside knows which one runs.
//!
//! Machines hold people's data. So one that runs is never replaced, nor one that was started unless
//! that was asked for, and what kuth did not make is never removed.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cancel::Cancel;
use crate::embedded::Qemu;
use crate::error::{Hint, Result, anyhow};
use crate::stage_context::StageContext;
use crate::virtualbox::VirtualBox;

mod driver;
pub mod journal;
pub mod leases;
#[cfg(test)]
mod tests;

pub use crate::hardware::{self, Firmware, Forward, Hardware, Mac, Network, Nic};
pub use crate::hypervisor::{
    Address, Base, CloneSpec, CopyMode, Disk, Host, Hypervisor, Identity, Leftover, Listed,
    Location, MachineSpec, Owner, Replace, Row, RunState, Source, State, Stopped, is_legal_name,
};
pub use driver::Driver;

/// Every driver; `auto` is the first that is available. A new one is one row.
pub const DRIVERS: &[Row] =
    &[Row { name: "virtualbox", driver: &VirtualBox }, Row { name: "qemu", driver: &Qemu }];

/// The words a pipeline may write after `driver =`: `auto`, and the name of each driver.
pub const DRIVER_WORDS: &[&str] = &driver_words();

const fn driver_words() -> [&'static str; DRIVERS.len() + 1] {
    let mut words = ["auto"; DRIVERS.len() + 1];
    let mut at = 0;
    while at < DRIVERS.len() {
        words[at + 1] = DRIVERS[at].name;
        at += 1;
    }
    words
}

/// The host as a stage sees it.
pub fn host_of(context: &StageContext, replace: Replace) -> Host {
    let settings = &context.settings;
    Host {
        drivers: DRIVERS,
        machines: settings.machines.clone(),
        commands: settings.driver_commands.clone(),
        run_state: settings.run_state.clone(),
        journal: Some(context.cache.journal()),
        log: context.log.clone(),
        pipeline: settings.pipeline.clone(),
        epoch: settings.epoch,
        replace: if settings.replace { Replace::Always } else { replace },
        cancel: context.cancel.clone(),
    }
}

/// The host as a person at the command line sees it, with the command lines of drivers' own tools by
/// driver; logs go to the machines' directory.
pub fn host_at(machines: &Path, commands: BTreeMap<String, String>, cancel: Cancel) -> Host {
    Host {
        drivers: DRIVERS,
        machines: machines.to_path_buf(),
        commands,
        run_state: RunState::default(),
        journal: None,
        log: machines.join("kuth.log"),
        pipeline: String::new(),
        epoch: 0,
        replace: Replace::Never,
        cancel,
    }
}

/// The drivers that can be used on a host.
pub fn usable(host: &Host) -> impl Iterator<Item = &'static Row> {
    host.drivers.iter().filter(|row| row.driver.unavailable(host).is_none())
}

/// The driver for `word`: a name, or `auto` for the first that can be used here.
pub fn choose(word: &str, host: &Host) -> Result<&'static Row> {
    if word == "auto" {
        return usable(host).next().ok_or_else(|| anyhow!("no driver can be used on this host"));
    }
    let names = || host.drivers.iter().map(|row| row.name).collect::<Vec<_>>().join("`, `");
    let row = crate::hypervisor::row(host, word)
        .hint(format!("choose `auto` or one of `{}`, with `--driver`", names()))?;
    match row.driver.unavailable(host) {
        None => Ok(row),
        Some(why) => Err(anyhow!("the driver `{word}` cannot be used here: {why}"))
            .hint("use another one with `--driver`, or `driver = \"auto\"`"),
    }
}
