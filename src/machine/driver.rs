//! What is done with machines, the same for every driver: what may be replaced and what must stay,
//! what is refused and in which words, what is journalled. A driver only says what it finds and does
//! what is decided here.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::digest::Digest;
use crate::error::{Context, Hint, Result, anyhow};
use crate::hypervisor::{
    Access, Address, Base, CloneSpec, Host, Hypervisor, Identity, Inventory, Listed, Location,
    Lookup, MachineSpec, Replace, Source, State, Stopped, refusal,
};

use super::journal::Entry;

/// How long a guest may take to power off: with QEMU's own translation a busy host needs a minute.
const POWER_OFF: Duration = Duration::from_secs(120);

/// How long a hypervisor may take to end a machine.
const END: Duration = Duration::from_secs(30);

/// What the machine in a place means for one that is to be made there.
#[derive(Debug)]
enum MachineState {
    /// There is none.
    Absent,
    /// It is the machine itself.
    Current { path: PathBuf, snapshots: Vec<(String, Option<String>)> },
    /// It is the machine itself, but damaged in this; the machine, where it had been finished.
    Damaged(String, Option<Box<Listed>>),
    /// It is an older one, which may be replaced.
    Outdated(Box<Listed>),
    /// It is one that holds state and must stay, for this reason.
    Retained(Box<Listed>, String),
}

/// The state of the machine `name` that is to be of `origin`. An error when it is somebody else's.
fn state(
    host: &Host,
    inventory: &dyn Inventory,
    name: &str,
    origin: &Digest,
) -> Result<MachineState> {
    let machine = match inventory.lookup(name, origin)? {
        Lookup::Absent => return Ok(MachineState::Absent),
        Lookup::Same { path, snapshots } => return Ok(MachineState::Current { path, snapshots }),
        Lookup::Damaged { damage, machine } => return Ok(MachineState::Damaged(damage, machine)),
        Lookup::Other(machine) => machine,
    };
    if machine.pipeline != host.pipeline {
        return Err(anyhow!(
            "the machine `{name}` is there already, made by the pipeline `{}`",
            machine.pipeline
        ))
        .hint(format!("give it another name, or remove that one: `kuth machine remove {name}`"));
    }
    let Some(why) = &machine.holds else { return Ok(MachineState::Outdated(machine)) };
    if host.replace == Replace::Always {
        refusal::is_not_replaced_while_active(&machine)?;
        return Ok(MachineState::Outdated(machine));
    }
    let once = if machine.active.is_some() { " once it is stopped" } else { "" };
    let why = format!(
        "made from another recipe, but {why}, so it stays; `--replace` would replace it{once}"
    );
    Ok(MachineState::Retained(machine, why))
}

/// Refuses to make a damaged machine again that runs, holds state, or lies with files of others.
fn refuse_loss(
    host: &Host,
    inventory: &dyn Inventory,
    damage: &str,
    machine: Option<&Listed>,
) -> Result<()> {
    let Some(machine) = machine else { return Ok(()) };
    refusal::is_not_replaced_while_active(machine)
        .and_then(|()| inventory.check_removable(machine))
        .with_context(|| again(&machine.name, damage))?;
    match (&machine.holds, host.replace) {
        (Some(why), Replace::Never) => {
            Err(anyhow!("the machine `{}` is not whole: {damage}; and {why}", machine.name))
                .hint("put the file back, or give its state up with `--replace`")
        }
        _ => Ok(()),
    }
}

/// What kuth does with a driver's machines.
pub trait Driver: Hypervisor {
    /// Makes a machine of a disk.
    fn register(&self, host: &Host, spec: &MachineSpec, source: &Source) -> Result<Identity> {
        self.check(spec)?;
        let mut inventory = self.open(host, Access::Change)?;
        let (name, origin) = (&spec.name, &spec.origin);
        let journal = Entry::begin(host, self.name(), "register", name, *origin)?;
        let state = state(host, &*inventory, name, origin)?;
        // Also under a machine that stays: its clones are made of the new disk.
        let disk = inventory.keep_disk(&source.disk)?;
        match state {
            MachineState::Current { .. } => {}
            MachineState::Absent => inventory.add_base(spec, source, None)?,
            MachineState::Damaged(damage, machine) => {
                refuse_loss(host, &*inventory, &damage, machine.as_deref())?;
                inventory
                    .add_base(spec, source, machine.as_deref())
                    .with_context(|| again(name, &damage))?;
            }
            MachineState::Outdated(machine) => {
                if !inventory.can_set_bases_aside() {
                    inventory.check_removable(&machine)?;
                }
                inventory.add_base(spec, source, Some(&machine))?;
            }
            MachineState::Retained(machine, _) if inventory.can_set_bases_aside() => {
                refusal::is_not_replaced_while_active(&machine)?;
                inventory.add_base(spec, source, Some(&machine))?;
            }
            MachineState::Retained(..) => {}
        }
        journal.done()?;
        Ok(self.identity(name, *origin, None, disk))
    }

    /// Freezes the disk of a machine under `name`. A snapshot is what it was when it was taken.
    fn snapshot(&self, host: &Host, machine: &Identity, name: &str) -> Result<Identity> {
        let inventory = self.open(host, Access::Change)?;
        let (of, origin) = (&machine.machine, &machine.origin);
        let journal = Entry::begin(host, self.name(), "snapshot", of, *origin)?;
        let disk = match state(host, &*inventory, of, origin)? {
            MachineState::Current { snapshots, .. } => {
                match snapshots.into_iter().find(|(known, _)| known == name) {
                    Some((_, disk)) => disk,
                    None => inventory.take_snapshot(of, origin, name)?,
                }
            }
            // The machine stays as somebody left it; the snapshot is of the disk it would have.
            MachineState::Retained(..) if machine.disk.is_some() => machine.disk.clone(),
            _ => {
                return Err(anyhow!("the machine `{of}` is no longer there"))
                    .hint("run the build again; it registers the machine first");
            }
        };
        journal.done()?;
        Ok(self.identity(of, *origin, Some(name), disk))
    }

    /// The machine of this name as one to make clones of: one that kuth made, or any other that
    /// the hypervisor knows, which stays as it is. `None` when there is none.
    fn base(&self, host: &Host, name: &str) -> Result<Option<Base>> {
        self.open(host, Access::Look)?.base(name)
    }

    /// Makes a machine from a snapshot.
    fn clone_snapshot(
        &self,
        host: &Host,
        spec: &MachineSpec,
        from: &CloneSpec<'_>,
    ) -> Result<Identity> {
        self.check(spec)?;
        let mut inventory = self.open(host, Access::Clone)?;
        if let Some(disk) = &from.snapshot.disk
            && !inventory.has_disk(disk)
        {
            return Err(anyhow!("the disk of the snapshot is gone: {disk}"))
                .hint("run the build with `--rebuild` and the stage that registers the machine");
        }
        let (name, origin) = (&spec.name, &spec.origin);
        let journal = Entry::begin(host, self.name(), "clone", name, *origin)?;
        match state(host, &*inventory, name, origin)? {
            MachineState::Current { .. } | MachineState::Retained(..) => {}
            MachineState::Absent => inventory.add_clone(spec, from, None)?,
            MachineState::Damaged(damage, machine) => {
                refuse_loss(host, &*inventory, &damage, machine.as_deref())?;
                inventory
                    .add_clone(spec, from, machine.as_deref())
                    .with_context(|| again(name, &damage))?;
            }
            MachineState::Outdated(machine) => {
                inventory.check_removable(&machine)?;
                inventory.add_clone(spec, from, Some(&machine))?;
            }
        }
        journal.done()?;
        Ok(self.identity(name, *origin, None, inventory.disk_of_clone(from.snapshot)))
    }

    /// Where what was made is now.
    fn find(&self, host: &Host, identity: &Identity) -> Result<Location> {
        let inventory = self.open(host, Access::Look)?;
        let disk = identity.disk.as_deref();
        let lost = || disk.filter(|disk| !inventory.has_disk(disk));
        let state = match state(host, &*inventory, &identity.machine, &identity.origin) {
            Ok(state) => state,
            // Whose it is, the run will say as an error; here it is just not ours.
            Err(error) => {
                host.cancel.check()?;
                return Ok(Location::Missing(error.to_string()));
            }
        };
        Ok(match state {
            MachineState::Absent => Location::Missing("the machine is not there".into()),
            MachineState::Damaged(damage, _) => Location::Missing(damage),
            // Losing state, although asked for, is worth a reason.
            MachineState::Outdated(machine) if machine.holds.is_some() => Location::Missing(
                "it was made from another recipe, and replacing was asked for".into(),
            ),
            MachineState::Outdated(_) => {
                Location::Replaced("it was made from another recipe".into())
            }
            MachineState::Retained(machine, why) => match lost() {
                Some(disk) => Location::Missing(format!("{disk} is gone")),
                None => Location::Retained(inventory.path(&machine), why),
            },
            MachineState::Current { path, snapshots } => match &identity.snapshot {
                None => Location::Present(path),
                Some(name) => {
                    let known = snapshots.iter().find(|(known, _)| known == name);
                    match (known, lost()) {
                        (None, _) => Location::Missing("the snapshot is not there".into()),
                        (Some((_, of)), _) if of.as_deref() != disk => {
                            Location::Missing("it is of another state of the machine".into())
                        }
                        (Some(_), Some(disk)) => Location::Missing(format!("{disk} is gone")),
                        (Some(_), None) => Location::Present(inventory.snapshot_path(path, name)),
                    }
                }
            },
        })
    }

    /// Every machine kuth made, by name.
    fn list(&self, host: &Host) -> Result<Vec<Listed>> {
        self.open(host, Access::Look)?.all()
    }

    /// Starts a machine in the background.
    fn start(&self, host: &Host, name: &str) -> Result<Listed> {
        let inventory = self.open(host, Access::Change)?;
        inventory.start(&inventory.get(name)?)?;
        inventory.get(name)
    }

    /// Asks a machine to power off, and ends it when it does not.
    fn stop(&self, host: &Host, name: &str) -> Result<Stopped> {
        self.stop_within(host, name, POWER_OFF)
    }

    /// Like [`Driver::stop`]; ends the machine when it has not powered off within `limit`.
    fn stop_within(&self, host: &Host, name: &str, limit: Duration) -> Result<Stopped> {
        let inventory = self.open(host, Access::PowerOff)?;
        let machine = inventory.get(name)?;
        if machine.state != State::Running {
            return Ok(Stopped::Already);
        }
        // A guest that cannot be asked (paused, without a driver for the button, or whose
        // hypervisor does not answer) is ended.
        if inventory.press_power_button(&machine).is_ok()
            && is_off_within(host, &*inventory, &machine, limit)?
        {
            return Ok(Stopped::PoweredOff);
        }
        inventory.power_off(&machine)?;
        match is_off_within(host, &*inventory, &machine, END)? {
            true => Ok(Stopped::Forced),
            false => Err(anyhow!("the machine `{name}` does not end")),
        }
    }

    /// Removes a machine and its own disks. Refuses while it runs or others rest on it.
    fn remove(&self, host: &Host, name: &str) -> Result<()> {
        let inventory = self.open(host, Access::Change)?;
        let machine = inventory.get(name)?;
        refusal::is_not_running(&machine)?;
        refusal::has_no_clones(name, &inventory.clones_of(&machine)?)?;
        inventory.remove(&machine)
    }

    /// The file that the machine's serial console is kept in.
    fn console(&self, host: &Host, name: &str) -> Result<PathBuf> {
        let inventory = self.open(host, Access::Look)?;
        let console = inventory.console(&inventory.get(name)?);
        match console.is_file() {
            true => Ok(console),
            false => Err(anyhow!("the machine `{name}` has never been started"))
                .hint(format!("start it: `kuth machine start {name}`")),
        }
    }

    /// The arguments for `ssh` that reach a running machine.
    fn ssh(&self, host: &Host, name: &str) -> Result<Vec<String>> {
        let inventory = self.open(host, Access::Look)?;
        inventory.ssh(&inventory.get(name)?)
    }

    /// The addresses that a running machine has reported to the hypervisor; none where machines
    /// report nothing.
    fn addresses(&self, host: &Host, name: &str) -> Result<Vec<Address>> {
        let inventory = self.open(host, Access::Look)?;
        inventory.addresses(&inventory.get(name)?)
    }

    /// The identity of what this driver made.
    fn identity(
        &self,
        machine: &str,
        origin: Digest,
        snapshot: Option<&str>,
        disk: Option<String>,
    ) -> Identity {
        let (driver, machine) = (self.name().to_string(), machine.to_string());
        Identity { driver, machine, origin, snapshot: snapshot.map(str::to_string), disk }
    }
}

impl<H: Hypervisor + ?Sized> Driver for H {}

/// Why a machine that is there is made again.
fn again(name: &str, damage: &str) -> String {
    format!("making the machine `{name}` again, as {damage}")
}

/// Waits until a machine does not run; whether that is so.
fn is_off_within(
    host: &Host,
    inventory: &dyn Inventory,
    machine: &Listed,
    limit: Duration,
) -> Result<bool> {
    let start = Instant::now();
    loop {
        if !inventory.is_running(machine)? {
            return Ok(true);
        }
        if start.elapsed() > limit {
            return Ok(false);
        }
        host.cancel.check()?;
        std::thread::sleep(Duration::from_millis(200));
    }
}
