//! The commands that change what VirtualBox has, each with how to observe that it is done: so one
//! that did its work and then lost the server, or does not end, counts as done and is not repeated.

use std::path::Path;

use crate::error::{Result, anyhow};
use crate::format::vbox::AHCI;
use crate::hypervisor::Controller;
use crate::units::Bytes;

use super::answers::Info;
use super::config::Config;
use super::options::Modification;
use super::record::KEY;

impl Config<'_> {
    /// Runs a command that changes something; `is_done` observes whether it did.
    fn change<W: AsRef<str>>(
        &self,
        words: impl IntoIterator<Item = W>,
        is_done: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        debug_assert!(self.is_locked(), "changes are made under the lock");
        self.vbox.run_or_observe(words, is_done).map(|_| ())
    }

    /// Runs a command that changes the machine `uuid`.
    fn change_machine<W: AsRef<str>>(
        &self,
        uuid: &str,
        words: impl IntoIterator<Item = W>,
        is_done: impl Fn(&Info) -> bool,
    ) -> Result<()> {
        self.change(words, || Ok(self.info(uuid)?.is_some_and(|info| is_done(&info))))
    }

    /// Runs a command that adds the machine `name`, which has the UUID `uuid` then: `createvm` or
    /// `clonevm`.
    pub fn add_machine(&self, uuid: &str, name: &str, words: &[&str]) -> Result<()> {
        // Registering it is the last thing that is done.
        let added = self.change(words, || Ok(self.list()?.iter().any(|(known, _)| known == uuid)));
        match &added {
            Ok(()) => self.remembered.add_machine(uuid, name),
            Err(_) => self.remembered.forget_machines(),
        }
        added
    }

    /// Has VirtualBox forget a machine and delete its disks.
    pub fn remove_machine(&self, uuid: &str) -> Result<()> {
        let is_gone = || Ok(self.list()?.iter().all(|(known, _)| known != uuid));
        let removed = self.change(["unregistervm", uuid, "--delete"], is_gone);
        self.remembered.forget_machines();
        removed
    }

    /// Gives a machine another name.
    pub fn rename_machine(&self, uuid: &str, name: &str) -> Result<()> {
        let words = ["modifyvm", uuid, "--name", name];
        let renamed = self.change_machine(uuid, words, |info| info.get("name") == Some(name));
        self.remembered.forget_machines();
        renamed
    }

    /// Gives a machine its hardware: all of it or, where it fails, nothing.
    pub fn modify(&self, uuid: &str, modification: &Modification<'_>) -> Result<()> {
        let mut words = vec!["modifyvm".to_string(), uuid.to_string()];
        words.extend(modification.arguments(self.vbox.version));
        self.change_machine(uuid, words, |info| modification.is_applied(info))
    }

    /// Adds a controller of disks.
    pub fn add_controller(&self, uuid: &str, controller: &Controller) -> Result<()> {
        let Controller { name, bus, chip, ports } = controller;
        let count = ports.to_string();
        let mut words = vec!["storagectl", uuid, "--name", name, "--add", bus];
        words.extend(["--controller", chip]);
        let has_ports = *chip == AHCI.chip;
        if has_ports {
            words.extend(["--portcount", &count]);
        }
        self.change_machine(uuid, words, |info| {
            let has = |it: &super::answers::Controller| {
                it.name == *name && (!has_ports || it.ports == *ports)
            };
            info.controllers().iter().any(has)
        })
    }

    /// Gives a controller this many ports.
    pub fn set_ports(&self, uuid: &str, controller: &str, ports: u32) -> Result<()> {
        let count = ports.to_string();
        let words = ["storagectl", uuid, "--name", controller, "--portcount", &count];
        self.change_machine(uuid, words, |info| {
            info.controllers().iter().any(|it| it.name == controller && it.ports == ports)
        })
    }

    /// Puts `medium` into a drive of the type `kind` at a port and device of a controller; with
    /// `none` there is nothing any more.
    pub fn attach(
        &self,
        uuid: &str,
        controller: &str,
        at: (u32, u32),
        kind: &str,
        medium: &Path,
    ) -> Result<()> {
        let (port, device) = (at.0.to_string(), at.1.to_string());
        let mut words = vec!["storageattach", uuid, "--storagectl", controller, "--port", &port];
        let path = medium.to_string_lossy();
        words.extend(["--device", &device, "--type", kind, "--medium", &path]);
        self.change_machine(uuid, words, |info| {
            let controllers = info.controllers();
            let Some(controller) = controllers.iter().find(|it| it.name == controller) else {
                return false;
            };
            match (medium.as_os_str() == "none", controller.attached.get(&at)) {
                (is_none, None) => is_none,
                (is_none, Some(there)) => !is_none && there.file_name() == medium.file_name(),
            }
        })
    }

    /// Writes the record of a machine.
    pub fn write_record(&self, uuid: &str, text: &str) -> Result<()> {
        self.change(["setextradata", uuid, KEY, text], || {
            let answer = self.vbox.ask(["getextradata", uuid, KEY])?;
            Ok(answer.is_some_and(|answer| answer.trim() == format!("Value: {text}")))
        })
    }

    /// Waits until nobody holds a machine, by writing to it. VirtualBox notices a moment later that
    /// who held it was killed; it takes that for the machine's own end, and lets go of the disks
    /// then.
    pub fn wait_for(&self, uuid: &str) {
        // Written again it waits again, which does no harm. Whether the machine can be used after
        // that, what follows will say.
        let _ = self.change(["setextradata", uuid, "kuth/touched", "1"], || Ok(false));
    }

    /// Freezes the disks of a machine under `name`.
    pub fn freeze(&self, uuid: &str, name: &str) -> Result<()> {
        let description = "Made by kuth; clones depend on it.";
        let words = ["snapshot", uuid, "take", name, "--description", description];
        self.change_machine(uuid, words, |info| info.snapshots().contains_key(name))
    }

    /// Gives a disk that no machine runs with a larger size in whole MiB.
    pub fn resize(&self, disk: &str, size: Bytes) -> Result<()> {
        let bytes = size.0.to_string();
        let words = ["modifymedium", "disk", disk, "--resizebyte", &bytes];
        self.change(words, || Ok(self.capacity(disk)? == size))?;
        match self.capacity(disk)? {
            is if is == size => Ok(()),
            is => Err(anyhow!("VirtualBox did not give {disk} the size {size}: it has {is}")),
        }
    }

    /// Has VirtualBox forget a disk that no machine uses.
    pub fn forget_disk(&self, uuid: &str) -> Result<()> {
        let is_gone = || Ok(self.media()?.iter().all(|medium| medium.uuid != uuid));
        self.change(["closemedium", "disk", uuid], is_gone)
    }

    /// Starts a machine without a window.
    pub fn boot(&self, uuid: &str) -> Result<()> {
        self.change_machine(uuid, ["startvm", uuid, "--type", "headless"], Info::is_running)
    }

    /// Presses the power button of a running machine.
    pub fn press_button(&self, uuid: &str) -> Result<()> {
        self.change_machine(uuid, ["controlvm", uuid, "acpipowerbutton"], Info::has_ended)
    }

    /// Cuts the power of a running machine.
    pub fn cut_power(&self, uuid: &str) -> Result<()> {
        self.change_machine(uuid, ["controlvm", uuid, "poweroff"], Info::has_ended)
    }
}
