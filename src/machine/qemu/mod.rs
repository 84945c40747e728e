//! The embedded driver: machines are directories. Registering, snapshotting and cloning write files
//! and need no hypervisor; only starting a machine needs qemu-system.
//!
//! A registered machine is an empty overlay over its base disk, so a snapshot of it costs
//! nothing: clones lie over the same base. When somebody has started the machine in between, a
//! snapshot freezes what it wrote: that becomes one more base, and the machine goes on over it.

use std::path::{Path, PathBuf};

use crate::error::{Context, Hint, Result, anyhow};
use crate::units::Bytes;

use super::journal::Entry;
use super::{
    Base, Cloning, Copying, Driver, Found, Host, Identity, Leftover, Listed, Network, Owner,
    Source, State, Stopped, Wanted,
};

pub mod argv;
pub mod directory;
mod files;
pub mod host;
mod leftovers;
mod make;
mod qmp;
mod running;
mod script;
mod store;
pub mod switch;

use directory::{Kind, Parent, Record};
use make::{Under, freeze, make};
use store::{Standing, Store, standing};

/// The driver's word.
const NAME: &str = "qemu";

/// The driver.
#[derive(Clone, Copy, Debug)]
pub struct Qemu;

impl Driver for Qemu {
    fn unavailable(&self, _host: &Host) -> Option<String> {
        None
    }

    fn register(&self, host: &Host, wanted: &Wanted, source: &Source) -> Result<Identity> {
        let store = Store::open(host)?;
        let journal = Entry::begin(host, NAME, "register", &wanted.name, wanted.origin)?;
        let standing = standing(host, &wanted.name, &wanted.origin)?;
        // Also under a machine that is kept: its clones are made of the new disk.
        let base = store.put_base(source.disk())?;
        if matches!(standing, Standing::Free | Standing::Stale | Standing::Damaged(_)) {
            let under = Under {
                kind: Kind::Base,
                disk: &base,
                bases: vec![base.clone()],
                copy: Copying::Linked,
                seed: None,
                snapshot: None,
            };
            replace_damaged(&standing, host, wanted)?;
            make(&store, wanted, under)?;
        }
        journal.done()?;
        Ok(identity(&wanted.name, wanted.origin, None, base))
    }

    fn snapshot(&self, host: &Host, machine: &Identity, name: &str) -> Result<Identity> {
        let store = Store::open(host)?;
        let journal = Entry::begin(host, NAME, "snapshot", &machine.machine, machine.origin)?;
        let registered = machine
            .disk
            .clone()
            .ok_or_else(|| anyhow!("the machine `{}` has no disk", machine.machine))?;
        let disk = match standing(host, &machine.machine, &machine.origin)? {
            Standing::Same => freeze(&store, &machine.machine, name)?,
            // The machine stays as somebody left it; the snapshot is of the disk it would have.
            Standing::Kept(_) => registered,
            Standing::Free | Standing::Stale | Standing::Damaged(_) => {
                return Err(anyhow!("the machine `{}` is no longer there", machine.machine))
                    .hint("run the build again; it registers the machine first");
            }
        };
        journal.done()?;
        Ok(identity(&machine.machine, machine.origin, Some(name), disk))
    }

    fn base(&self, host: &Host, name: &str) -> Result<Option<Base>> {
        let machines = directory::machines(&host.machines)?;
        let Some((_, record)) = machines.into_iter().find(|(_, record)| record.name == name) else {
            return Ok(None);
        };
        let disk = record
            .backing
            .ok_or_else(|| anyhow!("the machine `{name}` has its disk to itself"))
            .hint("take the machine it was cloned from, or one that a stage `register` made")?;
        let identity = identity(name, record.origin, None, disk);
        Ok(Some(Base { identity, hardware: record.hardware, owner: Owner::Kuth }))
    }

    fn clone_snapshot(&self, host: &Host, wanted: &Wanted, from: &Cloning<'_>) -> Result<Identity> {
        let store = Store::open(host)?;
        if let Some(nic) = wanted.hardware.nics.iter().find(|nic| is_strange(&nic.network)) {
            return Err(anyhow!("the driver `qemu` has no network like `{}`", nic.network))
                .hint("use `nat`, or an `internal` network with a machine that leads outwards");
        }
        let snapshot = from.snapshot;
        let disk = snapshot.disk.as_deref().unwrap_or_default();
        if !host.machines.join(disk).is_file() {
            return Err(anyhow!("the disk of the snapshot is gone: {disk}"))
                .hint("run the build with `--rebuild` and the stage that registers the machine");
        }
        let journal = Entry::begin(host, NAME, "clone", &wanted.name, wanted.origin)?;
        let standing = standing(host, &wanted.name, &wanted.origin)?;
        if matches!(standing, Standing::Free | Standing::Stale | Standing::Damaged(_)) {
            let under = Under {
                kind: Kind::Clone,
                disk,
                bases: bases_under(host, snapshot, disk)?,
                copy: from.copy,
                seed: Some(from.seed),
                snapshot: Some(Parent {
                    machine: snapshot.machine.clone(),
                    name: snapshot.snapshot.clone().unwrap_or_default(),
                }),
            };
            replace_damaged(&standing, host, wanted)?;
            make(&store, wanted, under)?;
        }
        journal.done()?;
        Ok(identity(&wanted.name, wanted.origin, None, disk.to_string()))
    }

    fn find(&self, host: &Host, identity: &Identity) -> Result<Found> {
        let place = host.machines.join(&identity.machine);
        let disk = identity.disk.as_deref().unwrap_or_default();
        let disk_is_there = host.machines.join(disk).is_file();
        Ok(match standing(host, &identity.machine, &identity.origin) {
            // Whose it is, the run will say as an error; here it is just not ours.
            Err(error) => Found::Gone(error.to_string()),
            Ok(Standing::Free) => Found::Gone("the machine is not there".into()),
            Ok(Standing::Damaged(what)) => Found::Gone(what),
            // Losing state, although asked for, is news.
            Ok(Standing::Stale) => match get(host, &identity.machine) {
                Ok((place, record)) if store::state(&place, &record)?.is_some() => Found::Gone(
                    "it was made from another recipe, and replacing was asked for".into(),
                ),
                _ => Found::Replaced("it was made from another recipe".into()),
            },
            Ok(Standing::Kept(why)) if disk_is_there => Found::Kept(place, why),
            Ok(Standing::Kept(_)) => Found::Gone(format!("{disk} is gone")),
            Ok(Standing::Same) => match &identity.snapshot {
                None => Found::Here(place),
                Some(name) => find_snapshot(&place, name, disk, disk_is_there)?,
            },
        })
    }

    fn recover(&self, host: &Host, _left: &Entry) -> Result<()> {
        match host.machines.is_dir() {
            true => Store::open(host).map(|_| ()),
            false => Ok(()),
        }
    }

    fn remains(&self, left: &Entry) -> String {
        format!(
            "what was made of the machine `{}` in {} goes, or is put back, with the next build that \
             uses that directory",
            left.machine,
            left.machines.display()
        )
    }

    fn list(&self, host: &Host) -> Result<Vec<Listed>> {
        let machines = directory::machines(&host.machines)?;
        machines.into_iter().map(|(place, record)| listed(place, record)).collect()
    }

    fn start(&self, host: &Host, name: &str) -> Result<Listed> {
        let (place, record) = get(host, name)?;
        let _store = Store::open(host)?;
        match running::pid(&place, name) {
            None => running::start(host, &place, &record)?,
            Some(_) => running::mend_networks(host, &place, &record)?,
        }
        listed(place, record)
    }

    fn stop(&self, host: &Host, name: &str) -> Result<Stopped> {
        let (place, _) = get(host, name)?;
        running::stop(host, &place, name)
    }

    fn remove(&self, host: &Host, name: &str) -> Result<()> {
        let _store = Store::open(host)?;
        let (place, _) = get(host, name)?;
        if running::pid(&place, name).is_some() {
            return Err(anyhow!("the machine `{name}` is running"))
                .hint(format!("stop it first: `kuth machine stop {name}`"));
        }
        let clones: Vec<String> = directory::machines(&host.machines)?
            .into_iter()
            .filter(|(_, other)| other.snapshot.as_ref().is_some_and(|it| it.machine == name))
            .map(|(_, other)| other.name)
            .collect();
        if !clones.is_empty() {
            return Err(anyhow!("the machine `{name}` has clones: {}", clones.join(", ")))
                .hint(format!("remove them first: `kuth machine remove {}`", clones.join(" ")));
        }
        store::remove_machine(&place)
    }

    fn clean(&self, host: &Host) -> Result<Vec<(PathBuf, Bytes)>> {
        leftovers::clean(host)
    }

    fn leftovers(&self, host: &Host) -> Result<Vec<Leftover>> {
        leftovers::find(host)
    }

    fn console(&self, host: &Host, name: &str) -> Result<PathBuf> {
        let (place, _) = get(host, name)?;
        let console = running::console(&place);
        match console.is_file() {
            true => Ok(console),
            false => Err(anyhow!("the machine `{name}` has never been started"))
                .hint(format!("start it: `kuth machine start {name}`")),
        }
    }

    fn ssh(&self, host: &Host, name: &str) -> Result<Vec<String>> {
        let (place, record) = get(host, name)?;
        running::ssh_arguments(host, &place, &record)
    }
}

/// Whether a network is one that only VirtualBox has.
fn is_strange(network: &Network) -> bool {
    matches!(network, Network::NatNetwork(_))
}

fn identity(
    machine: &str,
    origin: crate::digest::Digest,
    snapshot: Option<&str>,
    disk: String,
) -> Identity {
    let (driver, machine) = (NAME.to_string(), machine.to_string());
    Identity { driver, machine, origin, snapshot: snapshot.map(str::to_string), disk: Some(disk) }
}

/// A machine that lost a file may still run or hold state; then it is not made anew behind one's
/// back.
fn replace_damaged(standing: &Standing, host: &Host, wanted: &Wanted) -> Result<()> {
    let Standing::Damaged(what) = standing else { return Ok(()) };
    let place = host.machines.join(&wanted.name);
    let Some(record) = Record::read(&place)? else { return Ok(()) };
    store::refuse_loss(&place, &record)
        .with_context(|| format!("making the machine `{}` again, as {what}", wanted.name))?;
    match (store::state(&place, &record)?, host.replace) {
        (Some(why), super::Replace::Never) if store::disk(&place).exists() => {
            Err(anyhow!("the machine `{}` is not whole: {what}; and {why}", wanted.name))
                .hint("put the file back, or give its state up with `--replace`")
        }
        _ => Ok(()),
    }
}

fn find_snapshot(place: &Path, name: &str, disk: &str, disk_is_there: bool) -> Result<Found> {
    let snapshots = directory::snapshots(place)?;
    Ok(match snapshots.into_iter().find(|snapshot| snapshot.name == name) {
        None => Found::Gone("the snapshot is not there".into()),
        Some(snapshot) if snapshot.disk != disk => {
            Found::Gone("it is of another state of the machine".into())
        }
        Some(_) if !disk_is_there => Found::Gone(format!("{disk} is gone")),
        Some(_) => Found::Here(directory::snapshot_path(place, name)),
    })
}

/// Every file of `bases/` that a clone of the snapshot rests on.
fn bases_under(host: &Host, snapshot: &Identity, disk: &str) -> Result<Vec<String>> {
    let name = snapshot.snapshot.as_deref().unwrap_or_default();
    let known = directory::snapshots(&host.machines.join(&snapshot.machine))?;
    let known = known.into_iter().find(|known| known.name == name && known.disk == disk);
    Ok(known.map_or_else(|| vec![disk.to_string()], |known| known.bases))
}

/// The machine `name`.
fn get(host: &Host, name: &str) -> Result<(PathBuf, Record)> {
    let place = host.machines.join(name);
    let record = match super::is_legal_name(name) {
        true => Record::read(&place)?,
        false => None,
    };
    match record {
        Some(record) => Ok((place, record)),
        None => Err(anyhow!("there is no machine `{name}` in {}", host.machines.display()))
            .hint("see what there is: `kuth machine list`"),
    }
}

fn listed(place: PathBuf, record: Record) -> Result<Listed> {
    let state = match running::pid(&place, &record.name) {
        Some(_) => State::Running,
        None if store::state(&place, &record)?.is_some() => State::Used,
        None => State::Ready,
    };
    let snapshots =
        directory::snapshots(&place)?.into_iter().map(|snapshot| snapshot.name).collect();
    Ok(Listed {
        ssh_port: running::ssh_port(&place, &record),
        name: record.name,
        pipeline: record.pipeline,
        snapshots,
        cloned_from: record.snapshot.map(|parent| parent.machine),
        state,
        hardware: record.hardware,
        user: record.user,
        directory: place,
    })
}

#[cfg(test)]
mod tests;
