//! The VirtualBox configuration: which machines there are, which of them are kuth's, what state they
//! hold, and what depends on their disks. Asks only; what changes it is in `changes.rs`. The lock that
//! those who change it take is here too.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Context, Hint, Result, anyhow};
use crate::files::Lock;
use crate::hypervisor::Host;
use crate::units::Bytes;

use super::answers::{self, Info, Medium};
use super::command::{self, Vbox};
use super::files::foreign_files;
use super::record::{KEY, Record};
use super::remembered::Remembered;

/// The directory of the machines, below the directory of all machines.
const DIRECTORY: &str = "virtualbox";

/// The directory of VirtualBox's machines in the directory of all.
pub fn directory(machines: &Path) -> PathBuf {
    machines.join(DIRECTORY)
}

/// VirtualBox, as a host's user sees it.
pub struct Config<'a> {
    /// Where and for whom.
    pub host: &'a Host,
    /// Its commands.
    pub vbox: Vbox<'a>,
    /// What is known from before.
    pub remembered: Arc<Remembered>,
    lock: Option<Lock>,
    turn: Option<Lock>,
}

/// A registered machine.
#[derive(Debug)]
pub struct Machine {
    /// Its UUID.
    pub uuid: String,
    /// What VirtualBox says of it.
    pub info: Info,
    /// What kuth kept of it.
    pub record: Record,
}

impl<'a> Config<'a> {
    /// For looking only.
    pub fn look(host: &'a Host) -> Result<Config<'a>> {
        let (vbox, remembered) = (command::open(host)?, host.run_state.get());
        Ok(Config { host, vbox, remembered, lock: None, turn: None })
    }

    /// For changing: one at a time, of all threads and processes.
    pub fn open(host: &'a Host) -> Result<Config<'a>> {
        let mut config = Config::look(host)?;
        let directory = config.prepared()?;
        config.lock = Some(Lock::exclusive(&directory.join(".lock"), &host.cancel)?);
        // What is decided now must not rest on what was so before another process changed it.
        config.remembered.forget_machines();
        Ok(config)
    }

    /// For making one clone beside others. Until [`Config::step_aside`] no other is begun.
    pub fn open_for_clone(host: &'a Host) -> Result<Config<'a>> {
        let mut config = Config::look(host)?;
        let directory = config.prepared()?;
        config.lock = Some(Lock::shared(&directory.join(".lock"), &host.cancel)?);
        config.turn = Some(Lock::exclusive(&directory.join(".turn"), &host.cancel)?);
        config.remembered.forget_machines();
        Ok(config)
    }

    /// From now on only the clone itself is changed, so others may begin theirs.
    pub fn step_aside(&mut self) {
        self.turn = None;
    }

    fn prepared(&self) -> Result<PathBuf> {
        let directory = self.directory();
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("making {}", directory.display()))?;
        Ok(directory)
    }

    /// The directory that machines are made in.
    pub fn directory(&self) -> PathBuf {
        directory(&self.host.machines)
    }

    /// The directory of the machine `name`.
    pub fn machine_directory(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// Whether it was opened for changing.
    pub(super) fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// UUID and name of every registered machine.
    pub fn machines(&self) -> Result<Vec<(String, String)>> {
        if let Some(machines) = self.remembered.machines() {
            return Ok(machines);
        }
        let when = Instant::now();
        let machines = self.list()?;
        self.remembered.keep_machines(when, &machines);
        Ok(machines)
    }

    /// Like [`Config::machines`], asked for anew.
    pub(super) fn list(&self) -> Result<Vec<(String, String)>> {
        Ok(answers::machines(&self.vbox.query(["list", "vms"])?))
    }

    /// Whether a machine of this UUID is registered.
    pub fn has(&self, uuid: &str) -> Result<bool> {
        Ok(self.machines()?.iter().any(|(known, _)| known == uuid))
    }

    /// What VirtualBox says of a machine; `None` where there is none.
    pub fn info(&self, uuid: &str) -> Result<Option<Info>> {
        let answer = self.vbox.ask(["showvminfo", uuid, "--machinereadable"])?;
        match answer {
            Some(text) if text.is_empty() => Err(anyhow!("VBoxManage showvminfo printed nothing")),
            answer => Ok(answer.map(|text| Info::parse(&text))),
        }
    }

    /// The record of a machine, `None` where kuth did not make it.
    pub fn record(&self, uuid: &str) -> Result<Option<Record>> {
        let answer = self.vbox.ask(["getextradata", uuid, KEY])?;
        Ok(answer.and_then(|text| Record::parse(&text, uuid)))
    }

    /// A machine of kuth's by its UUID.
    pub fn machine(&self, uuid: &str) -> Result<Option<Machine>> {
        let Some(record) = self.record(uuid)? else { return Ok(None) };
        let info = self.info(uuid)?;
        Ok(info.map(|info| Machine { uuid: uuid.to_string(), info, record }))
    }

    /// Every whole machine of kuth's, by name.
    pub fn whole_machines(&self) -> Result<Vec<Machine>> {
        let mut all = Vec::new();
        for (uuid, _) in self.machines()? {
            all.extend(self.machine(&uuid)?.filter(|machine| machine.record.is_whole()));
        }
        all.sort_by(|a, b| a.info.get("name").cmp(&b.info.get("name")));
        Ok(all)
    }

    /// The machine of kuth's called `name`.
    pub fn named(&self, name: &str) -> Result<Machine> {
        let all = self.machines()?;
        let mut named = all.iter().filter(|(_, other)| other == name);
        let none = || anyhow!("VirtualBox has no machine `{name}` of kuth's");
        let found = named.find_map(|(uuid, _)| self.machine(uuid).transpose()).transpose()?;
        found.ok_or_else(none).hint("see what there is: `kuth machine list`")
    }

    /// Every disk that VirtualBox knows.
    pub fn media(&self) -> Result<Vec<Medium>> {
        Ok(answers::media(&self.vbox.query(["list", "hdds"])?))
    }

    /// The size of a disk as a machine sees it, in whole MiB.
    pub fn capacity(&self, disk: &str) -> Result<Bytes> {
        let answer = self.vbox.query(["showmediuminfo", "disk", disk])?;
        answers::capacity(&answer)
            .ok_or_else(|| anyhow!("VBoxManage does not say how large {disk} is"))
    }

    /// The files of the disks that snapshots of a machine hold.
    pub fn media_in_snapshots(&self, uuid: &str) -> Result<Vec<PathBuf>> {
        Ok(answers::media_in_snapshots(&self.vbox.query(["list", "hdds", "--long"])?, uuid))
    }
}

impl Machine {
    /// Whether nothing runs it.
    pub fn is_off(&self) -> bool {
        matches!(self.info.state(), "poweroff" | "aborted")
    }

    fn has_logs(&self) -> bool {
        self.info.get("LogFldr").is_some_and(|it| Path::new(it).join("VBox.log").exists())
    }

    /// Whether it is as a kill in the last step of its making leaves it: never started, and yet
    /// taken for one that ended badly.
    pub fn was_cut_short(&self) -> bool {
        self.info.state() == "aborted"
            && !self.has_logs()
            && self.info.snapshots().is_empty()
            && foreign_files(&self.info.directory(), &self.names()).is_empty()
    }

    /// Why it holds state, if it does.
    pub fn state(&self) -> Option<String> {
        let logs = self.has_logs();
        if self.info.state() != "poweroff" {
            return Some(format!("it is {}", self.info.state()));
        }
        // Taking a snapshot and cloning it change the state of a base for a moment.
        let is_clone = self.record.cloned_from.is_some();
        if logs || is_clone && self.info.state_change() != self.record.made {
            return Some("it has been started".into());
        }
        if is_clone && !self.info.snapshots().is_empty() {
            return Some("it has snapshots".into());
        }
        let foreign_files = foreign_files(&self.info.directory(), &self.names());
        (!foreign_files.is_empty())
            .then(|| format!("its directory has other files ({})", foreign_files.join(", ")))
    }

    /// Its names, which its files are called by: a base that was retired has two.
    pub fn names(&self) -> [&str; 2] {
        [&self.record.name, self.info.get("name").unwrap_or_default()]
    }

    /// The machine's own disks: those in its directory.
    pub fn media<'m>(&self, all: &'m [Medium]) -> Vec<&'m Medium> {
        let directory = self.info.directory();
        all.iter().filter(|medium| medium.location.starts_with(&directory)).collect()
    }

    /// Disks elsewhere that rest on the machine's own: those of its linked clones.
    pub fn children<'m>(&self, all: &'m [Medium]) -> Vec<&'m Medium> {
        let own: Vec<&str> = self.media(all).iter().map(|medium| medium.uuid.as_str()).collect();
        let directory = self.info.directory();
        all.iter()
            .filter(|medium| {
                let rests = medium.parent.as_deref().is_some_and(|parent| own.contains(&parent));
                rests && !medium.location.starts_with(&directory)
            })
            .collect()
    }
}
