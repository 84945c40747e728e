//! VirtualBox, through its own VBoxManage. Machines are addressed by UUIDs that their recipes
//! give them, so what a killed run left is known again; kuth's record of a machine is in the
//! machine's extra data. The facts this rests on are of VirtualBox 6.1 to 7.2.
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
use crate::error::{Context, Hint, Result, anyhow};
use crate::units::Bytes;

use super::journal::Entry;
use super::network::allowed;
use super::{
    Address, Base, Cloning, Driver, Found, Host, Identity, Leftover, Listed, Owner, Source,
    Stopped, Wanted, network,
};

pub mod answers;
mod changes;
pub mod command;
mod config;
mod files;
mod hardware;
mod listed;
mod make;
pub mod options;
mod record;
mod remove;
mod retry;
mod running;
#[cfg(test)]
mod tests;

use answers::Adapter;
use config::{Config, Machine, Standing};
use make::From;
use record::{Note, Parent};

/// The driver's word.
const NAME: &str = "virtualbox";

/// The driver.
#[derive(Clone, Copy, Debug)]
pub struct VirtualBox;

impl Driver for VirtualBox {
    fn unavailable(&self, host: &Host) -> Option<String> {
        command::Vbox::open(host).err()
    }

    fn check_network(&self, host: &Host, network: &network::Plan) -> Result<()> {
        check_network_by(allowed::FILE.as_ref(), host, network)
    }

    fn register(&self, host: &Host, wanted: &Wanted, source: &Source) -> Result<Identity> {
        let config = Config::open(host)?;
        let journal = Entry::begin(host, NAME, "register", &wanted.name, wanted.origin)?;
        let standing = config.standing(&wanted.name, &wanted.origin)?;
        let free = match standing {
            Standing::Same(_) => false,
            Standing::Free => {
                make_way(&config, &wanted.name, &wanted.origin)?;
                true
            }
            Standing::Damaged(why) => {
                make_way(&config, &wanted.name, &wanted.origin)
                    .with_context(|| again(&wanted.name, &why))?;
                true
            }
            Standing::Stale(machine) | Standing::Kept(machine, _) => {
                replace_base(&config, machine)?;
                true
            }
        };
        if free {
            make::base(&config, wanted, source)?;
        }
        journal.done()?;
        Ok(identity(&wanted.name, wanted.origin, None))
    }

    fn snapshot(&self, host: &Host, machine: &Identity, name: &str) -> Result<Identity> {
        let config = Config::open(host)?;
        let journal = Entry::begin(host, NAME, "snapshot", &machine.machine, machine.origin)?;
        let uuid = record::uuid(&machine.machine, &machine.origin);
        let Some(found) = config.machine(&uuid)? else {
            return Err(anyhow!("the machine `{}` is no longer there", machine.machine))
                .hint("run the build again; it registers the machine first");
        };
        if !found.info.snapshots().contains_key(name) {
            if found.info.is_running() {
                return Err(anyhow!("the machine `{}` is running", machine.machine))
                    .hint(format!("stop it first: `kuth machine stop {}`", machine.machine));
            }
            config.take_snapshot(&uuid, name)?;
            make::note(&config, &uuid)?;
        }
        journal.done()?;
        Ok(identity(&machine.machine, machine.origin, Some(name)))
    }

    fn base(&self, host: &Host, name: &str) -> Result<Option<Base>> {
        let config = Config::look(host)?;
        let machines = config.machines()?;
        let Some((uuid, _)) = machines.iter().find(|(_, other)| other == name) else {
            return Ok(None);
        };
        if let Some(Machine { record, .. }) = config.machine(uuid)? {
            let identity = identity(&record.name, record.origin, None);
            return Ok(Some(Base { identity, hardware: record.hardware, owner: Owner::Kuth }));
        }
        let Some(info) = config.info(uuid)? else { return Ok(None) };
        // Only its UUID says which it is.
        let origin = Digest::of(format!("kuth-virtualbox-machine-1\n{uuid}"));
        let identity = Identity { disk: Some(uuid.clone()), ..identity(name, origin, None) };
        Ok(Some(Base { identity, hardware: hardware::of_others(&info), owner: Owner::Other }))
    }

    fn clone_snapshot(&self, host: &Host, wanted: &Wanted, from: &Cloning<'_>) -> Result<Identity> {
        let mut config = Config::open_for_clone(host)?;
        let journal = Entry::begin(host, NAME, "clone", &wanted.name, wanted.origin)?;
        let snapshot = from.snapshot;
        let parent = Parent {
            machine: snapshot.machine.clone(),
            uuid: match &snapshot.disk {
                Some(uuid) => uuid.clone(),
                None => record::uuid(&snapshot.machine, &snapshot.origin),
            },
            snapshot: snapshot.snapshot.clone().unwrap_or_default(),
        };
        let base = record::settings_of(&config.place(&parent.machine), &parent.machine);
        let note = Note::read(&config.place(&parent.machine), &parent.machine);
        let free = match config.standing(&wanted.name, &wanted.origin)? {
            Standing::Same(_) | Standing::Kept(..) => false,
            Standing::Free => true,
            Standing::Damaged(why) => {
                make_way(&config, &wanted.name, &wanted.origin)
                    .with_context(|| again(&wanted.name, &why))?;
                true
            }
            Standing::Stale(machine) => {
                refuse_children(&config, &machine)?;
                remove::remove(&config, &machine)?;
                true
            }
        };
        if free {
            make_way(&config, &wanted.name, &wanted.origin)?;
            let from = From { parent, copy: from.copy, seed: from.seed };
            make::begin_clone(&config, wanted, &from)?;
            // The clone's disk is written down in the settings of the base.
            if let Some(note) = note {
                note.renew(&base);
            }
            config.step_aside();
            make::finish_clone(&config, wanted, from)?;
        }
        journal.done()?;
        Ok(identity(&wanted.name, wanted.origin, None))
    }

    fn find(&self, host: &Host, identity: &Identity) -> Result<Found> {
        let config = Config::look(host)?;
        let (name, origin) = (&identity.machine, &identity.origin);
        let uuid = record::uuid(name, origin);
        let place = record::settings_of(&config.place(name), name);
        let standing = match config.has(&uuid)? {
            true => config.standing_of_itself(name, &uuid)?,
            false => match config.standing_of_others(name) {
                Ok(standing) => standing,
                Err(error) => return Ok(Found::Gone(error.to_string())),
            },
        };
        Ok(match (standing, &identity.snapshot) {
            (Standing::Same(snapshots), Some(name)) if !snapshots.contains_key(name) => {
                Found::Gone("the snapshot is not there".into())
            }
            (Standing::Same(_), _) => Found::Here(place),
            (Standing::Damaged(why), _) => Found::Gone(why),
            // Losing state, although asked for, is news.
            (Standing::Stale(machine), _) if machine.state().is_some() => {
                Found::Gone("it was made from another recipe, and replacing was asked for".into())
            }
            (Standing::Stale(_), _) => Found::Replaced("it was made from another recipe".into()),
            (Standing::Kept(machine, why), _) => Found::Kept(machine.info.settings(), why),
            (Standing::Free, _) => Found::Gone("the machine is not there".into()),
        })
    }

    fn recover(&self, host: &Host, left: &Entry) -> Result<()> {
        let uuid = record::uuid(&left.machine, &left.origin);
        let look = Config::look(host)?;
        if !look.directory().exists() && !look.has(&uuid)? {
            // Nothing was made, or the entry came with a cache from another host.
            return Ok(());
        }
        let config = Config::open(host)?;
        let undo = || remove::undo(&config, &left.machine, &left.origin);
        let machine = config.machine(&uuid)?.filter(|machine| machine.record.is_whole());
        if machine.is_none() {
            return undo();
        }
        if left.action == "snapshot" {
            return Ok(());
        }
        config.wait_for(&uuid);
        match config.machine(&uuid)? {
            Some(machine) if !machine.was_cut_short() => Ok(()),
            _ => undo(),
        }
    }

    fn remains(&self, left: &Entry) -> String {
        format!(
            "VirtualBox may still have a machine `{}` that is not whole, with files in {}; remove it \
             there",
            left.machine,
            config::directory(&left.machines).join(&left.machine).display()
        )
    }

    fn list(&self, host: &Host) -> Result<Vec<Listed>> {
        Ok(Config::look(host)?.all()?.iter().map(running::listed).collect())
    }

    fn start(&self, host: &Host, name: &str) -> Result<Listed> {
        running::start(&Config::open(host)?, name)
    }

    fn stop(&self, host: &Host, name: &str) -> Result<Stopped> {
        running::stop(&Config::open(host)?, name, running::POWER_OFF)
    }

    fn remove(&self, host: &Host, name: &str) -> Result<()> {
        let config = Config::open(host)?;
        let machine = config.named(name)?;
        if machine.info.is_running() {
            return Err(anyhow!("the machine `{name}` is running"))
                .hint(format!("stop it first: `kuth machine stop {name}`"));
        }
        refuse_children(&config, &machine)?;
        remove::remove(&config, &machine)
    }

    fn clean(&self, host: &Host) -> Result<Vec<(PathBuf, Bytes)>> {
        let config = Config::open(host)?;
        let mut freed = Vec::new();
        for machine in config.all()? {
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

    fn leftovers(&self, host: &Host) -> Result<Vec<Leftover>> {
        // Nothing that would not be in the journal too; but whoever is at work is waited for.
        if config::directory(&host.machines).is_dir() {
            Config::open(host)?;
        }
        Ok(Vec::new())
    }

    fn addresses(&self, host: &Host, name: &str) -> Result<Vec<Address>> {
        let config = Config::look(host)?;
        running::addresses(&config, &config.named(name)?)
    }

    fn console(&self, host: &Host, name: &str) -> Result<PathBuf> {
        running::console(&Config::look(host)?.named(name)?)
    }

    fn ssh(&self, host: &Host, name: &str) -> Result<Vec<String>> {
        running::ssh_arguments(&Config::look(host)?.named(name)?)
    }
}

/// Refuses a network of the host that VirtualBox, by the list in `file`, does not allow.
fn check_network_by(file: &Path, host: &Host, network: &network::Plan) -> Result<()> {
    let Some(refusal) = allowed::refusal(file, &network.host)? else { return Ok(()) };
    let vbox = command::open(host)?;
    // An adapter that has it already needs no leave.
    let has_it = |adapter: &Adapter| adapter.address == Some(network.host);
    let is_free = vbox.version < allowed::SINCE
        || answers::adapters(&vbox.query(["list", "hostonlyifs"])?).iter().any(has_it);
    if is_free { Ok(()) } else { Err(refusal) }
}

fn identity(machine: &str, origin: Digest, snapshot: Option<&str>) -> Identity {
    let (driver, machine) = (NAME.to_string(), machine.to_string());
    Identity { driver, machine, origin, snapshot: snapshot.map(str::to_string), disk: None }
}

/// Why a machine that is there has to go.
fn again(name: &str, why: &str) -> String {
    format!("making the machine `{name}` again, as {why}")
}

/// Clears the place of a machine of what an unfinished or damaged one left there.
fn make_way(config: &Config<'_>, name: &str, origin: &Digest) -> Result<()> {
    let uuid = record::uuid(name, origin);
    if config.has(&uuid)?
        && let Some(machine) = config.machine(&uuid)?
    {
        if machine.record.is_whole() && machine.state().is_some() {
            return Err(anyhow!("the machine `{name}` is not whole, and it holds state"))
                .hint("see what it lost in VirtualBox, or remove it: `kuth machine remove`");
        }
        refuse_children(config, &machine)?;
        return remove::remove(config, &machine);
    }
    remove::undo(config, name, origin)
}

/// An older base goes, or where something rests on it or it holds state, gives its name away.
fn replace_base(config: &Config<'_>, machine: Machine) -> Result<()> {
    let all = config.media()?;
    if machine.children(&all).is_empty() && machine.state().is_none() {
        return remove::remove(config, &machine);
    }
    let name = &machine.record.name;
    if !machine.is_off() {
        return Err(anyhow!(
            "the machine `{name}` is {}, so it is not replaced",
            machine.info.state()
        ))
        .hint(format!("stop it first: `kuth machine stop {name}`"));
    }
    let mut record = machine.record.clone();
    record.retired = true;
    make::remember(config, &record)?;
    let aside = format!("{name}-{}", record.origin.short());
    config.rename_machine(&machine.uuid, &aside)
}

/// Disks that others rest on do not go.
fn refuse_children(config: &Config<'_>, machine: &Machine) -> Result<()> {
    let all = config.media()?;
    let children = machine.children(&all);
    if children.is_empty() {
        return Ok(());
    }
    let mut names: Vec<String> = Vec::new();
    for child in children {
        let directory = child.location.parent().and_then(|it| match it.ends_with("Snapshots") {
            true => it.parent(),
            false => Some(it),
        });
        let name = directory.and_then(|it| it.file_name()).unwrap_or_default();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    names.dedup();
    let name = machine.info.get("name").unwrap_or_default();
    Err(anyhow!("the machine `{name}` has clones: {}", names.join(", ")))
        .hint(format!("remove them first: `kuth machine remove {}`", names.join(" ")))
}

fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    path.metadata().map_or(0, |metadata| metadata.blocks() * 512)
}
