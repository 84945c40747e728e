//! Making machines out of base disks, and freezing what one has written. All of it happens under
//! the lock of the store, aside first, so that a kill at any point leaves whole machines only.

use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Context, Result, bail};
use crate::files::sparse;
use crate::format::qcow2::{BackingFormat, Overlay};
use crate::hardware::nic::preferred_port;
use crate::hypervisor::{CopyMode, Host, MachineSpec, refusal};
use crate::qemu::argv::Durability;
use crate::units::Bytes;

use super::directory::{
    self, BASES, DISK, FULL_DISK, Fresh, Kind, NEW_DISK, Parent, RECORD, Record, SnapshotRecord,
};
use super::store::{self, Store};
use super::{get, listed, script};

/// What lies under the disk of a machine that is to be made.
pub struct Parts<'a> {
    /// What the machine is to be.
    pub kind: Kind,
    /// Relative to the directory of machines.
    pub disk: &'a str,
    /// Every file of `bases/` that this depends on, itself included.
    pub bases: Vec<String>,
    /// What the machine shares with it.
    pub copy: CopyMode,
    /// The image of its seed.
    pub seed: Option<&'a [u8]>,
    /// Where it comes from.
    pub snapshot: Option<Parent>,
}

/// Makes a machine aside and puts it in its place.
pub fn make(store: &Store<'_>, spec: &MachineSpec, parts: Parts<'_>) -> Result<PathBuf> {
    let host = store.host;
    let making = store.begin(&spec.name, &spec.origin)?;
    let below = host.machines.join(parts.disk);
    let (file, format, backing, bases) = match parts.copy {
        CopyMode::Linked => {
            let overlay = overlay(&below, parts.disk)?;
            store::put(&making.join(DISK), &overlay, 0o644)?;
            (DISK, "qcow2", Some(parts.disk.to_string()), parts.bases)
        }
        CopyMode::Full => {
            copy_whole(host, &below, &making.join(FULL_DISK))?;
            (FULL_DISK, "raw", None, Vec::new())
        }
    };
    let mut drives = vec![(file.to_string(), format, Durability::Safe)];
    for (index, size) in spec.hardware.disks.iter().enumerate() {
        let name = format!("disk{}.raw", index + 1);
        let what = || format!("making {name} of {}", Bytes(*size));
        let disk = File::create(making.join(&name)).with_context(what)?;
        disk.set_len(*size).with_context(what)?;
        drives.push((name.clone(), "raw", Durability::Safe));
    }
    if let Some(seed) = parts.seed {
        store::put(&making.join("seed.iso"), seed, 0o400)?;
        drives.push(("seed.iso".into(), "raw", Durability::ReadOnly));
    }
    let port = preferred_port(&spec.name);
    let script =
        script::Script { name: &spec.name, hardware: &spec.hardware, port, drives: &drives };
    store::put(&making.join("run"), script.text().as_bytes(), 0o755)?;
    let record = Record {
        made_by: Record::made_by(),
        name: spec.name.clone(),
        kind: parts.kind,
        origin: spec.origin,
        pipeline: host.pipeline.clone(),
        backing,
        bases,
        snapshot: parts.snapshot,
        user: spec.user.clone(),
        ssh_port: port,
        fresh: Fresh::of(&making.join(file))?,
        hardware: spec.hardware.clone(),
    };
    store::put(&making.join(RECORD), record.to_text()?.as_bytes(), 0o644)?;
    host.cancel.check()?;
    store.finish(&making, &spec.name)
}

/// An empty overlay for a machine's directory, over `below`, which is `name` among the machines.
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
    std::fs::set_permissions(to, Permissions::from_mode(0o644))
        .with_context(|| format!("finishing {}", to.display()))
}

/// Takes the snapshot `name` of a machine; gives the disk it is. Each step leaves a machine that
/// works: the record names the frozen disk before it exists, the disk is linked before the new
/// overlay takes its name.
pub fn freeze(store: &Store<'_>, machine: &str, name: &str) -> Result<String> {
    let host = store.host;
    let (place, mut record) = get(host, machine)?;
    refusal::is_not_running(&listed(place.clone(), record.clone())?)?;
    let disk = place.join(DISK);
    store::remove_file(&place.join(NEW_DISK))?;
    let known = directory::snapshots(&place)?.into_iter().find(|snapshot| snapshot.name == name);
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
        let new = place.join(NEW_DISK);
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
    directory::write_toml(&directory::snapshot_path(&place, name), &snapshot)?;
    Ok(disk)
}
