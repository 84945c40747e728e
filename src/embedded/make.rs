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
    /// The size of its disk, no less than that one's; `None`: the same.
    pub size: Option<Bytes>,
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
            let base = virtual_size(&below)?;
            let size = parts.size.unwrap_or(base);
            refusal::is_no_smaller_than_base(&spec.name, size, base)?;
            let overlay = overlay(parts.disk, size)?;
            store::put(&making.join(DISK), &overlay, 0o644)?;
            (DISK, "qcow2", Some(parts.disk.to_string()), parts.bases)
        }
        CopyMode::Full => {
            let base = virtual_size(&below)?;
            let size = parts.size.unwrap_or(base);
            refusal::is_no_smaller_than_base(&spec.name, size, base)?;
            copy_whole(host, &below, &making.join(FULL_DISK), size)?;
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

/// An empty overlay of this size for a machine's directory, over `name` among the machines.
fn overlay(name: &str, size: Bytes) -> Result<Vec<u8>> {
    let is_frozen = name.ends_with(".qcow2");
    let backing_format = if is_frozen { BackingFormat::Qcow2 } else { BackingFormat::Raw };
    let backing = format!("../{name}");
    Ok(Overlay { size, backing, backing_format }.write()?)
}

/// The size of a base disk as a machine sees it.
fn virtual_size(disk: &Path) -> Result<Bytes> {
    let what = || format!("reading {}", disk.display());
    let file = File::open(disk).with_context(what)?;
    if disk.extension().is_some_and(|extension| extension == "qcow2") {
        // The header's field `size`.
        let mut size = [0; 8];
        file.read_exact_at(&mut size, 24).with_context(what)?;
        return Ok(Bytes(u64::from_be_bytes(size)));
    }
    Ok(Bytes(file.metadata().with_context(what)?.len()))
}

/// Copies a base disk whole, to a disk of this size; one that a snapshot froze is read by qemu-img.
fn copy_whole(host: &Host, below: &Path, to: &Path, size: Bytes) -> Result<()> {
    if below.extension().is_some_and(|extension| extension == "qcow2") {
        let convert = crate::process::Command::new("qemu-img")
            .args(["convert", "-O", "raw"])
            .args([below, to]);
        convert.run(&host.log, &host.cancel).map(|_| ())?;
    } else {
        sparse::copy_file(below, to)?;
    }
    let what = || format!("finishing {}", to.display());
    std::fs::set_permissions(to, Permissions::from_mode(0o644)).with_context(what)?;
    let copy = File::options().write(true).open(to).with_context(what)?;
    copy.set_len(size.0).with_context(what)
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
        store::write(&new, &overlay(&frozen, virtual_size(&below)?)?, 0o644)?;
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
