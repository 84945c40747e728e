//! VirtualBox, through its own VBoxManage. Machines are addressed by UUIDs that their recipes
//! give them, so what a killed run left is known again; kuth's record of a machine is in the
//! machine's extra data. The facts this depends on are of VirtualBox 6.1 to 7.2.
//!
//! ```text
//! machines/virtualbox/NAME/NAME.vbox     VirtualBox's own settings
//! machines/virtualbox/NAME/NAME.vdi      a base's disk; a linked clone's is in Snapshots/
//! machines/virtualbox/NAME/seed.iso, disk1.vdi ..., console.log
//! machines/virtualbox/NAME/kuth.json     see `record::Note`
//! ```
//!
//! A base that its clones still rest on gives its name to the newer one and goes on as
//! `NAME-ORIGIN` until `clean` finds that nothing needs it.

use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{Result, anyhow};
use crate::hypervisor::{
    Access, Address, Base, CloneSpec, Host, Hypervisor, Identity, Inventory, Leftover, Listed,
    Lookup, MachineSpec, Owner, Source, refusal,
};
use crate::units::Bytes;

pub mod adapters;
pub mod allowed;
pub mod answers;
mod changes;
mod command;
pub(crate) mod config;
pub mod directory;
mod files;
mod hardware;
mod lookup;
mod make;
mod options;
pub(crate) mod record;
mod remembered;
mod remove;
mod retry;
mod running;

use config::{Config, Machine};
use make::Origin;
use record::{Note, Parent};

/// The driver's word, and the name of its command in [`Host::commands`].
pub const NAME: &str = "virtualbox";

/// The driver.
#[derive(Clone, Copy, Debug)]
pub struct VirtualBox;

impl Hypervisor for VirtualBox {
    fn name(&self) -> &'static str {
        NAME
    }

    fn unavailable(&self, host: &Host) -> Option<String> {
        command::Vbox::open(host).err()
    }

    fn open<'h>(&self, host: &'h Host, access: Access) -> Result<Box<dyn Inventory + 'h>> {
        Ok(Box::new(match access {
            Access::Look => Config::look(host)?,
            Access::Clone => Config::open_for_clone(host)?,
            Access::Change | Access::PowerOff => Config::open(host)?,
        }))
    }

    fn recover(&self, host: &Host, action: &str, name: &str, origin: &Digest) -> Result<()> {
        let uuid = record::uuid(name, origin);
        let look = Config::look(host)?;
        if !look.directory().exists() && !look.has(&uuid)? {
            // Nothing was made, or the entry came with a cache from another host.
            return Ok(());
        }
        let config = Config::open(host)?;
        let undo = || remove::undo(&config, name, origin);
        let machine = config.machine(&uuid)?.filter(|machine| machine.record.is_whole());
        if machine.is_none() {
            return undo();
        }
        if action == "snapshot" {
            return Ok(());
        }
        config.wait_for(&uuid);
        match config.machine(&uuid)? {
            Some(machine) if !machine.was_cut_short() => Ok(()),
            _ => undo(),
        }
    }

    fn remains(&self, machines: &Path, name: &str) -> String {
        format!(
            "VirtualBox may still have a machine `{name}` that is not whole, with files in {}; remove it \
             there",
            config::directory(machines).join(name).display()
        )
    }

    fn leftovers(&self, host: &Host) -> Result<Vec<Leftover>> {
        // Nothing that would not be in the journal too; but whoever is at work is waited for.
        if config::directory(&host.machines).is_dir() {
            Config::open(host)?;
        }
        Ok(Vec::new())
    }

    fn clean(&self, host: &Host) -> Result<Vec<(PathBuf, Bytes)>> {
        let config = Config::open(host)?;
        let mut freed = Vec::new();
        for machine in config.whole_machines()? {
            let all = config.media()?;
            if !machine.record.retired
                || machine.state().is_some()
                || !machine.children(&all).is_empty()
            {
                continue;
            }
            let directory = machine.info.directory();
            let bytes = machine.media(&all).iter().map(|it| size(&it.location)).sum();
            remove::remove(&config, &machine)?;
            freed.push((directory, Bytes(bytes)));
        }
        Ok(freed)
    }
}

impl Inventory for Config<'_> {
    fn lookup(&self, name: &str, origin: &Digest) -> Result<Lookup> {
        let uuid = record::uuid(name, origin);
        match self.has(&uuid)? {
            true => self.lookup_itself(name, &uuid),
            false => self.lookup_others(name),
        }
    }

    fn get(&self, name: &str) -> Result<Listed> {
        Ok(running::listed(&self.named(name)?))
    }

    fn all(&self) -> Result<Vec<Listed>> {
        Ok(self.whole_machines()?.iter().map(running::listed).collect())
    }

    fn base(&self, name: &str) -> Result<Option<Base>> {
        let machines = self.machines()?;
        let Some((uuid, _)) = machines.iter().find(|(_, other)| other == name) else {
            return Ok(None);
        };
        let (driver, machine) = (NAME.to_string(), name.to_string());
        if let Some(Machine { record, .. }) = self.machine(uuid)? {
            let machine = record.name;
            let identity =
                Identity { driver, machine, origin: record.origin, snapshot: None, disk: None };
            return Ok(Some(Base { identity, hardware: record.hardware, owner: Owner::Kuth }));
        }
        let Some(info) = self.info(uuid)? else { return Ok(None) };
        // Only its UUID says which it is.
        let origin = Digest::of(format!("kuth-virtualbox-machine-1\n{uuid}"));
        let disk = Some(uuid.clone());
        let identity = Identity { driver, machine, origin, snapshot: None, disk };
        Ok(Some(Base { identity, hardware: hardware::of_others(&info), owner: Owner::Other }))
    }

    fn can_set_bases_aside(&self) -> bool {
        true
    }

    fn add_base(
        &mut self,
        spec: &MachineSpec,
        source: &Source,
        replaced: Option<&Listed>,
    ) -> Result<()> {
        match replaced {
            Some(machine) => {
                self.make_way(&self.named(&machine.name)?, spec, Children::SetAside)?
            }
            None => remove::undo(self, &spec.name, &spec.origin)?,
        }
        make::base(self, spec, source)
    }

    fn add_clone(
        &mut self,
        spec: &MachineSpec,
        from: &CloneSpec<'_>,
        replaced: Option<&Listed>,
    ) -> Result<()> {
        let snapshot = from.snapshot;
        let parent = Parent {
            machine: snapshot.machine.clone(),
            uuid: match &snapshot.disk {
                Some(uuid) => uuid.clone(),
                None => record::uuid(&snapshot.machine, &snapshot.origin),
            },
            snapshot: snapshot.snapshot.clone().unwrap_or_default(),
        };
        let origin = Origin { parent, copy: from.copy, size: from.size, seed: from.seed };
        make::check_size(self, spec, &origin)?;
        let parent = &origin.parent;
        let base = self.machine_directory(&parent.machine);
        let note = Note::read(&base, &parent.machine);
        let settings = record::settings_of(&base, &parent.machine);
        if let Some(machine) = replaced {
            self.make_way(&self.named(&machine.name)?, spec, Children::Refuse)?;
        }
        remove::undo(self, &spec.name, &spec.origin)?;
        make::begin_clone(self, spec, &origin)?;
        // The clone's disk is written down in the settings of the base.
        if let Some(note) = note {
            note.renew(&settings);
        }
        self.step_aside();
        make::finish_clone(self, spec, origin)
    }

    fn take_snapshot(&self, name: &str, origin: &Digest, snapshot: &str) -> Result<Option<String>> {
        let uuid = record::uuid(name, origin);
        let machine = self.machine(&uuid)?;
        let machine = machine.ok_or_else(|| anyhow!("the machine `{name}` is no longer there"))?;
        refusal::is_not_running(&running::listed(&machine))?;
        self.freeze(&uuid, snapshot)?;
        make::note(self, &uuid)?;
        Ok(None)
    }

    fn path(&self, listed: &Listed) -> PathBuf {
        record::settings_of(&listed.directory, &listed.name)
    }

    fn clones_of(&self, machine: &Listed) -> Result<Vec<String>> {
        self.clones(&self.named(&machine.name)?)
    }

    fn check_removable(&self, machine: &Listed) -> Result<()> {
        remove::refuse_foreign_files(self, &self.named(&machine.name)?)
    }

    fn remove(&self, machine: &Listed) -> Result<()> {
        remove::remove(self, &self.named(&machine.name)?)
    }

    fn start(&self, machine: &Listed) -> Result<()> {
        running::start(self, &machine.name)
    }

    fn is_running(&self, machine: &Listed) -> Result<bool> {
        let machines = self.machines()?;
        let Some((uuid, _)) = machines.iter().find(|(_, name)| *name == machine.name) else {
            return Ok(false);
        };
        Ok(self.info(uuid)?.is_some_and(|info| !info.has_ended()))
    }

    fn press_power_button(&self, machine: &Listed) -> Result<()> {
        self.press_button(&self.named(&machine.name)?.uuid)
    }

    fn power_off(&self, machine: &Listed) -> Result<()> {
        self.cut_power(&self.named(&machine.name)?.uuid)
    }

    fn console(&self, machine: &Listed) -> PathBuf {
        machine.directory.join(files::CONSOLE)
    }

    fn ssh(&self, machine: &Listed) -> Result<Vec<String>> {
        running::ssh_arguments(&self.named(&machine.name)?)
    }

    fn addresses(&self, machine: &Listed) -> Result<Vec<Address>> {
        running::addresses(self, &self.named(&machine.name)?)
    }
}

/// What to do with a machine that others rest on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Children {
    /// It stays.
    Refuse,
    /// It gives its name away.
    SetAside,
}

impl Config<'_> {
    /// Takes away the machine that the one of `spec` replaces, or its name.
    fn make_way(&self, machine: &Machine, spec: &MachineSpec, children: Children) -> Result<()> {
        let clones = self.clones(machine)?;
        // The machine itself, made again, could not be beside itself.
        let is_itself = machine.uuid == record::uuid(&spec.name, &spec.origin);
        if children == Children::Refuse || is_itself {
            let name = machine.info.get("name").unwrap_or_default();
            refusal::has_no_clones(name, &clones)?;
            return remove::remove(self, machine);
        }
        if clones.is_empty() && machine.state().is_none() {
            return remove::remove(self, machine);
        }
        let mut record = machine.record.clone();
        record.retired = true;
        make::remember(self, &record)?;
        let aside = format!("{}-{}", record.name, record.origin.short());
        self.rename_machine(&machine.uuid, &aside)
    }

    /// The names of the machines whose disks rest on those of this one.
    fn clones(&self, machine: &Machine) -> Result<Vec<String>> {
        let all = self.media()?;
        let mut names: Vec<String> = Vec::new();
        for child in machine.children(&all) {
            let directory =
                child.location.parent().and_then(|it| match it.ends_with("Snapshots") {
                    true => it.parent(),
                    false => Some(it),
                });
            let name = directory.and_then(|it| it.file_name()).unwrap_or_default();
            names.push(name.to_string_lossy().into_owned());
        }
        names.sort();
        names.dedup();
        Ok(names)
    }
}

fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    path.metadata().map_or(0, |metadata| metadata.blocks() * 512)
}
