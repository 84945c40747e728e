//! The embedded driver: machines are folders. Registering, snapshotting and cloning write files
//! and need no hypervisor; only starting a machine needs qemu-system.
//!
//! A registered machine is an empty overlay over its base disk, so a snapshot of it costs
//! nothing: clones lie over the same base. When somebody has started the machine in between, a
//! snapshot freezes what it wrote: that becomes one more base, and the machine goes on over it.

use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::cache::sparse;
use crate::error::{Context, Hint, Result, anyhow, bail};
use crate::format::qcow2::{BackingFormat, Overlay};
use crate::units::Bytes;

use super::journal::Entry;
use super::{
    Cloning, Copying, Disk, Driver, Found, Host, Identity, Listed, State, Stopped, Wanted,
};

pub mod argv;
pub mod folder;
pub mod host;
mod qmp;
mod running;
mod script;
mod store;

use argv::Durability;
use folder::{BASES, DISK, Fresh, Kind, Parent, Record, SnapshotRecord};
use store::{FULL_DISK, Standing, Store, standing};

/// The driver's word.
const NAME: &str = "qemu";

/// The driver.
#[derive(Clone, Copy, Debug)]
pub struct Qemu;

/// What lies under the disk of a machine that is to be made.
struct Under<'a> {
    kind: Kind,
    /// Relative to the folder of machines.
    disk: &'a str,
    bases: Vec<String>,
    copy: Copying,
    seed: Option<&'a [u8]>,
    snapshot: Option<Parent>,
}

impl Driver for Qemu {
    fn register(&self, host: &Host, wanted: &Wanted, disk: &Disk) -> Result<Identity> {
        let entry = entry(host, "register", &wanted.name, wanted.origin);
        let journal = entry.open(host.journal.as_deref())?;
        let store = Store::open(host)?;
        let standing = standing(host, &wanted.name, &wanted.origin)?;
        // Also under a machine that is kept: its clones are made of the new disk.
        let base = store.put_base(disk)?;
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
        let entry = entry(host, "snapshot", &machine.machine, machine.origin);
        let journal = entry.open(host.journal.as_deref())?;
        let store = Store::open(host)?;
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

    fn clone_snapshot(&self, host: &Host, wanted: &Wanted, from: &Cloning<'_>) -> Result<Identity> {
        let entry = entry(host, "clone", &wanted.name, wanted.origin);
        let journal = entry.open(host.journal.as_deref())?;
        let store = Store::open(host)?;
        let snapshot = from.snapshot;
        let disk = snapshot.disk.as_deref().unwrap_or_default();
        if !host.machines.join(disk).is_file() {
            return Err(anyhow!("the disk of the snapshot is gone: {disk}"))
                .hint("run the build with `--rebuild` and the stage that registers the machine");
        }
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
            Ok(Standing::Stale) => Found::Gone("it was made from another recipe".into()),
            Ok(Standing::Kept(why)) if disk_is_there => Found::Kept(place, why),
            Ok(Standing::Kept(_)) => Found::Gone(format!("{disk} is gone")),
            Ok(Standing::Same) => match &identity.snapshot {
                None => Found::Here(place),
                Some(name) => find_snapshot(&place, name, disk, disk_is_there)?,
            },
        })
    }

    fn recover(&self, host: &Host) -> Result<()> {
        match host.machines.is_dir() {
            true => Store::open(host).map(|_| ()),
            false => Ok(()),
        }
    }

    fn list(&self, host: &Host) -> Result<Vec<Listed>> {
        let machines = folder::machines(&host.machines)?;
        machines.into_iter().map(|(place, record)| listed(place, record)).collect()
    }

    fn start(&self, host: &Host, name: &str) -> Result<Listed> {
        let (place, record) = get(host, name)?;
        if running::pid(&place, name).is_none() {
            let store = Store::open(host)?;
            running::start(host, &place, &record)?;
            drop(store);
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
        let clones: Vec<String> = folder::machines(&host.machines)?
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
        store::clean(&Store::open(host)?)
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
        running::ssh(&place, &record)
    }
}

fn entry(host: &Host, action: &str, machine: &str, origin: crate::digest::Digest) -> Entry {
    Entry {
        driver: NAME.into(),
        action: action.into(),
        machine: machine.into(),
        origin,
        machines: host.machines.clone(),
    }
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

/// A machine that lost a file may still hold state; then it is not made anew behind one's back.
fn replace_damaged(standing: &Standing, host: &Host, wanted: &Wanted) -> Result<()> {
    let Standing::Damaged(what) = standing else { return Ok(()) };
    let place = host.machines.join(&wanted.name);
    let Some(record) = Record::read(&place)? else { return Ok(()) };
    match (store::state(&place, &record)?, host.replace) {
        (Some(why), super::Replace::Never) if store::disk(&place).exists() => {
            Err(anyhow!("the machine `{}` is not whole: {what}; and {why}", wanted.name))
                .hint("put the file back, or give its state up with `--replace`")
        }
        _ => Ok(()),
    }
}

/// Makes a machine aside and puts it in its place.
fn make(store: &Store<'_>, wanted: &Wanted, under: Under<'_>) -> Result<PathBuf> {
    let host = store.host;
    let making = store.begin(&wanted.name, &wanted.origin)?;
    let below = host.machines.join(under.disk);
    let (file, format, backing, bases) = match under.copy {
        Copying::Linked => {
            let overlay = overlay(&below, under.disk)?;
            store::write(&making.join(DISK), &overlay, 0o644)?;
            (DISK, "qcow2", Some(under.disk.to_string()), under.bases)
        }
        Copying::Full => {
            copy_whole(host, &below, &making.join(FULL_DISK))?;
            (FULL_DISK, "raw", None, Vec::new())
        }
    };
    let mut drives = vec![(file.to_string(), format, Durability::Safe)];
    for (index, size) in wanted.hardware.disks.iter().enumerate() {
        let name = format!("disk{}.raw", index + 1);
        let what = || format!("making {name} of {}", Bytes(*size));
        let disk = File::create(making.join(&name)).with_context(what)?;
        disk.set_len(*size).with_context(what)?;
        drives.push((name.clone(), "raw", Durability::Safe));
    }
    if let Some(seed) = under.seed {
        store::write(&making.join("seed.iso"), seed, 0o444)?;
        drives.push(("seed.iso".into(), "raw", Durability::ReadOnly));
    }
    let port = script::preferred_port(&wanted.name);
    let script = script::Script {
        name: &wanted.name,
        hardware: &wanted.hardware,
        port,
        drives: &drives,
        machines: &host.machines,
    };
    store::write(&making.join("run"), script.text().as_bytes(), 0o755)?;
    let record = Record {
        made_by: Record::made_by(),
        name: wanted.name.clone(),
        kind: under.kind,
        origin: wanted.origin,
        pipeline: host.pipeline.clone(),
        backing,
        bases,
        snapshot: under.snapshot,
        user: wanted.user.clone(),
        ssh_port: port,
        fresh: Fresh::of(&making.join(file))?,
        hardware: wanted.hardware.clone(),
    };
    record.write(&making)?;
    host.cancel.check()?;
    store.finish(&making, &wanted.name)
}

/// An empty overlay for a machine's folder, over `below`, which is `name` among the machines.
fn overlay(below: &Path, name: &str) -> Result<Vec<u8>> {
    let what = || format!("reading {}", below.display());
    let file = File::open(below).with_context(what)?;
    let (backing_format, size) = if name.ends_with(".qcow2") {
        // The header's field `size`.
        let mut size = [0; 8];
        file.read_exact_at(&mut size, 24).with_context(what)?;
        (BackingFormat::Qcow2, u64::from_be_bytes(size))
    } else {
        (BackingFormat::Raw, file.metadata().with_context(what)?.len())
    };
    let backing = format!("../{name}");
    Ok(Overlay { size: Bytes(size), backing, backing_format }.write()?)
}

/// Copies a base disk whole; one that a snapshot froze is read by qemu-img.
fn copy_whole(host: &Host, below: &Path, to: &Path) -> Result<()> {
    if below.extension().is_some_and(|extension| extension == "qcow2") {
        let convert = crate::process::Command::new("qemu-img")
            .args(["convert", "-O", "raw"])
            .args([below, to]);
        convert.run(&host.log, &host.cancel).map(|_| ())?;
    } else {
        sparse::copy_file(below, to)?;
    }
    let what = || format!("syncing {}", to.display());
    let file = File::open(to).with_context(what)?;
    file.set_permissions(Permissions::from_mode(0o644)).with_context(what)?;
    file.sync_all().with_context(what)
}

/// Takes the snapshot `name` of a machine; gives the disk it is. Each step leaves a machine that
/// works: the record names the frozen disk before it exists, the disk is linked before the new
/// overlay takes its name.
fn freeze(store: &Store<'_>, machine: &str, name: &str) -> Result<String> {
    let host = store.host;
    let (place, mut record) = get(host, machine)?;
    if running::pid(&place, machine).is_some() {
        return Err(anyhow!("the machine `{machine}` is running, so it cannot be frozen"))
            .hint(format!("stop it first: `kuth machine stop {machine}`"));
    }
    let disk = place.join(DISK);
    store::remove_file(&place.join(running::NEW_DISK))?;
    let known = folder::snapshots(&place)?.into_iter().find(|snapshot| snapshot.name == name);
    if let Some(known) = known {
        // A snapshot is what it was when it was taken.
        return Ok(known.disk);
    }
    if !record.fresh.is_unchanged(&disk)? {
        let frozen = format!("{BASES}/frozen-{}.qcow2", Fresh::of(&disk)?.digest);
        if !record.bases.contains(&frozen) {
            record.bases.push(frozen.clone());
            record.write(&place)?;
        }
        let below = host.machines.join(&frozen);
        if !below.exists() {
            std::fs::hard_link(&disk, &below)
                .with_context(|| format!("freezing {} as {frozen}", disk.display()))?;
        }
        let new = place.join(running::NEW_DISK);
        store::write(&new, &overlay(&below, &frozen)?, 0o644)?;
        let fresh = Fresh::of(&new)?;
        store::rename(&new, &disk)?;
        std::fs::set_permissions(&below, Permissions::from_mode(0o444))
            .with_context(|| format!("freezing {frozen}"))?;
        record.backing = Some(frozen);
        record.fresh = fresh;
        record.write(&place)?;
    }
    let Some(disk) = record.backing else { bail!("the machine `{machine}` has no base disk") };
    let snapshot = SnapshotRecord::new(name, &disk, record.bases);
    folder::write_toml(&folder::snapshot_path(&place, name), &snapshot)?;
    Ok(disk)
}

fn find_snapshot(place: &Path, name: &str, disk: &str, disk_is_there: bool) -> Result<Found> {
    let snapshots = folder::snapshots(place)?;
    Ok(match snapshots.into_iter().find(|snapshot| snapshot.name == name) {
        None => Found::Gone("the snapshot is not there".into()),
        Some(snapshot) if snapshot.disk != disk => {
            Found::Gone("it is of another state of the machine".into())
        }
        Some(_) if !disk_is_there => Found::Gone(format!("{disk} is gone")),
        Some(_) => Found::Here(folder::snapshot_path(place, name)),
    })
}

/// Every file of `bases/` that a clone of the snapshot rests on.
fn bases_under(host: &Host, snapshot: &Identity, disk: &str) -> Result<Vec<String>> {
    let name = snapshot.snapshot.as_deref().unwrap_or_default();
    let known = folder::snapshots(&host.machines.join(&snapshot.machine))?;
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
        Some(pid) => State::Running(pid),
        None if store::state(&place, &record)?.is_some() => State::Used,
        None => State::Ready,
    };
    let snapshots = folder::snapshots(&place)?.into_iter().map(|snapshot| snapshot.name).collect();
    Ok(Listed {
        ssh_port: running::ssh_port(&place, &record),
        name: record.name,
        pipeline: record.pipeline,
        snapshots,
        cloned_from: record.snapshot.map(|parent| parent.machine),
        state,
        hardware: record.hardware,
        user: record.user,
        folder: place,
    })
}

#[cfg(test)]
mod tests;
