//! The embedded driver: machines are directories. Registering, snapshotting and cloning write files
//! and need no hypervisor; only starting a machine needs qemu-system.
//!
//! A registered machine is an empty overlay over its base disk, so a snapshot of it costs
//! nothing: clones lie over the same base. When somebody has started the machine in between, a
//! snapshot freezes what it wrote: that becomes one more base, and the machine goes on over it.

use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{Hint, Result, anyhow};
use crate::hardware::Network;
use crate::hypervisor::{
    Access, Base, CloneSpec, CopyMode, Disk, Host, Hypervisor, Identity, Inventory, Leftover,
    Listed, Lookup, MachineSpec, Owner, Source, State, is_legal_name,
};
use crate::units::Bytes;

pub mod directory;
mod files;
mod leftovers;
mod make;
mod process;
pub(crate) mod running;
mod script;
pub(crate) mod store;

use directory::{Kind, Parent, Record};
use make::{Parts, freeze, make};
use store::Store;

/// The driver's word.
const NAME: &str = "qemu";

/// The driver.
#[derive(Clone, Copy, Debug)]
pub struct Qemu;

impl Hypervisor for Qemu {
    fn name(&self) -> &'static str {
        NAME
    }

    fn unavailable(&self, _host: &Host) -> Option<String> {
        None
    }

    fn check(&self, spec: &MachineSpec) -> Result<()> {
        let is_unknown = |network: &Network| matches!(network, Network::NatNetwork(_));
        match spec.hardware.nics.iter().find(|nic| is_unknown(&nic.network)) {
            None => Ok(()),
            Some(nic) => Err(anyhow!("the driver `qemu` has no network like `{}`", nic.network))
                .hint("use `nat`, or an `internal` network with a machine that leads outwards"),
        }
    }

    fn open<'h>(&self, host: &'h Host, access: Access) -> Result<Box<dyn Inventory + 'h>> {
        let store = match access {
            Access::Look | Access::PowerOff => None,
            Access::Clone | Access::Change => Some(Store::open(host)?),
        };
        Ok(Box::new(Machines { host, store }))
    }

    fn recover(&self, host: &Host, _action: &str, _name: &str, _origin: &Digest) -> Result<()> {
        match host.machines.is_dir() {
            true => Store::open(host).map(|_| ()),
            false => Ok(()),
        }
    }

    fn remains(&self, machines: &Path, name: &str) -> String {
        format!(
            "what was made of the machine `{name}` in {} goes, or is put back, with the next build that \
             uses that directory",
            machines.display()
        )
    }

    fn leftovers(&self, host: &Host) -> Result<Vec<Leftover>> {
        leftovers::find(host)
    }

    fn clean(&self, host: &Host) -> Result<Vec<(PathBuf, Bytes)>> {
        leftovers::clean(host)
    }
}

/// The machines in a host's directory.
struct Machines<'h> {
    host: &'h Host,
    store: Option<Store<'h>>,
}

impl Machines<'_> {
    fn directory(&self, name: &str) -> PathBuf {
        self.host.machines.join(name)
    }

    fn store(&self) -> Result<&Store<'_>> {
        self.store.as_ref().ok_or_else(|| anyhow!("the machines were opened for looking alone"))
    }

    /// The directory and the record of a machine.
    fn record(&self, machine: &Listed) -> Result<(PathBuf, Record)> {
        get(self.host, &machine.name)
    }
}

impl Inventory for Machines<'_> {
    fn lookup(&self, name: &str, origin: &Digest) -> Result<Lookup> {
        let path = self.directory(name);
        if path.symlink_metadata().is_err() {
            return Ok(Lookup::Absent);
        }
        let record = Record::read(&path)?
            .ok_or_else(|| anyhow!("{} is there already, and kuth did not make it", path.display()))
            .hint("give the machine another name, or move that directory away")?;
        if record.origin != *origin {
            return Ok(Lookup::Other(Box::new(listed(path, record)?)));
        }
        if let Some(missing) = store::missing(&self.host.machines, &path, &record) {
            let has_disk = store::disk(&path).exists();
            let mut machine = listed(path, record)?;
            // Without the disk there is no state to lose; files of others are refused later.
            machine.holds = machine.holds.filter(|_| has_disk);
            let machine = Some(Box::new(machine));
            return Ok(Lookup::Damaged { damage: format!("{missing} is gone"), machine });
        }
        let snapshots = directory::snapshots(&path)?.into_iter().map(|it| (it.name, Some(it.disk)));
        let snapshots = snapshots.collect();
        Ok(Lookup::Same { path, snapshots })
    }

    fn get(&self, name: &str) -> Result<Listed> {
        let (path, record) = get(self.host, name)?;
        listed(path, record)
    }

    fn all(&self) -> Result<Vec<Listed>> {
        let machines = directory::machines(&self.host.machines)?;
        machines.into_iter().map(|(path, record)| listed(path, record)).collect()
    }

    fn base(&self, name: &str) -> Result<Option<Base>> {
        let machines = directory::machines(&self.host.machines)?;
        let Some((_, record)) = machines.into_iter().find(|(_, record)| record.name == name) else {
            return Ok(None);
        };
        let disk = record
            .backing
            .ok_or_else(|| anyhow!("the machine `{name}` has its disk to itself"))
            .hint("take the machine it was cloned from, or one that a stage `register` made")?;
        let (driver, machine) = (NAME.to_string(), name.to_string());
        let (origin, disk) = (record.origin, Some(disk));
        let identity = Identity { driver, machine, origin, snapshot: None, disk };
        Ok(Some(Base { identity, hardware: record.hardware, owner: Owner::Kuth }))
    }

    fn keep_disk(&self, disk: &Disk) -> Result<Option<String>> {
        self.store()?.put_base(disk).map(Some)
    }

    fn has_disk(&self, name: &str) -> bool {
        self.host.machines.join(name).is_file()
    }

    fn add_base(
        &mut self,
        spec: &MachineSpec,
        source: &Source,
        _replaced: Option<&Listed>,
    ) -> Result<()> {
        let disk = store::base_name(&source.disk.digest);
        let parts = Parts {
            kind: Kind::Base,
            disk: &disk,
            bases: vec![disk.clone()],
            copy: CopyMode::Linked,
            size: None,
            seed: None,
            snapshot: None,
        };
        make(self.store()?, spec, parts).map(|_| ())
    }

    fn add_clone(
        &mut self,
        spec: &MachineSpec,
        from: &CloneSpec<'_>,
        _replaced: Option<&Listed>,
    ) -> Result<()> {
        let snapshot = from.snapshot;
        let disk = snapshot.disk.as_deref().unwrap_or_default();
        let parts = Parts {
            kind: Kind::Clone,
            disk,
            bases: bases_under(self.host, snapshot, disk)?,
            copy: from.copy,
            size: from.size,
            seed: Some(from.seed),
            snapshot: Some(Parent {
                machine: snapshot.machine.clone(),
                name: snapshot.snapshot.clone().unwrap_or_default(),
            }),
        };
        make(self.store()?, spec, parts).map(|_| ())
    }

    fn disk_of_clone(&self, snapshot: &Identity) -> Option<String> {
        Some(snapshot.disk.clone().unwrap_or_default())
    }

    fn take_snapshot(
        &self,
        name: &str,
        _origin: &Digest,
        snapshot: &str,
    ) -> Result<Option<String>> {
        freeze(self.store()?, name, snapshot).map(Some)
    }

    fn snapshot_path(&self, path: PathBuf, snapshot: &str) -> PathBuf {
        directory::snapshot_path(&path, snapshot)
    }

    fn clones_of(&self, machine: &Listed) -> Result<Vec<String>> {
        let all = directory::machines(&self.host.machines)?.into_iter();
        let is_clone = |record: &Record| {
            record.snapshot.as_ref().is_some_and(|parent| parent.machine == machine.name)
        };
        let clones = all.filter(|(_, record)| is_clone(record)).map(|(_, record)| record.name);
        Ok(clones.collect())
    }

    fn check_removable(&self, machine: &Listed) -> Result<()> {
        files::refuse_foreign_files(&machine.directory, Record::read(&machine.directory)?.as_ref())
    }

    fn remove(&self, machine: &Listed) -> Result<()> {
        store::remove_machine(&machine.directory)
    }

    fn start(&self, machine: &Listed) -> Result<()> {
        let (path, record) = self.record(machine)?;
        match process::pid(&path, &machine.name) {
            None => running::start(self.host, &path, &record),
            Some(_) => running::mend_networks(self.host, &path, &record),
        }
    }

    fn is_running(&self, machine: &Listed) -> Result<bool> {
        Ok(process::pid(&machine.directory, &machine.name).is_some())
    }

    fn press_power_button(&self, machine: &Listed) -> Result<()> {
        running::press_power_button(&machine.directory)
    }

    fn power_off(&self, machine: &Listed) -> Result<()> {
        running::power_off(self.host, &machine.directory, &machine.name)
    }

    fn console(&self, machine: &Listed) -> PathBuf {
        machine.directory.join("console.log")
    }

    fn ssh(&self, machine: &Listed) -> Result<Vec<String>> {
        let (path, record) = self.record(machine)?;
        running::ssh_arguments(self.host, &path, &record)
    }
}

/// Every file of `bases/` that a clone of the snapshot depends on.
fn bases_under(host: &Host, snapshot: &Identity, disk: &str) -> Result<Vec<String>> {
    let name = snapshot.snapshot.as_deref().unwrap_or_default();
    let known = directory::snapshots(&host.machines.join(&snapshot.machine))?;
    let known = known.into_iter().find(|known| known.name == name && known.disk == disk);
    Ok(known.map_or_else(|| vec![disk.to_string()], |known| known.bases))
}

/// The machine `name`: its directory and its record.
fn get(host: &Host, name: &str) -> Result<(PathBuf, Record)> {
    let path = host.machines.join(name);
    let record = match is_legal_name(name) {
        true => Record::read(&path)?,
        false => None,
    };
    match record {
        Some(record) => Ok((path, record)),
        None => Err(anyhow!("there is no machine `{name}` in {}", host.machines.display()))
            .hint("see what there is: `kuth machine list`"),
    }
}

fn listed(path: PathBuf, record: Record) -> Result<Listed> {
    let is_running = process::pid(&path, &record.name).is_some();
    let holds = store::state(&path, &record)?;
    let state = match (is_running, &holds) {
        (true, _) => State::Running,
        (false, Some(_)) => State::Used,
        (false, None) => State::Ready,
    };
    let snapshots = directory::snapshots(&path)?.into_iter().map(|snapshot| snapshot.name);
    Ok(Listed {
        snapshots: snapshots.collect(),
        ssh_port: running::ssh_port(&path, &record),
        name: record.name,
        pipeline: record.pipeline,
        cloned_from: record.snapshot.map(|parent| parent.machine),
        state,
        holds,
        active: is_running.then(|| "running".to_string()),
        hardware: record.hardware,
        user: record.user,
        directory: path,
    })
}
