//! What earlier runs left among the machines: directories of machines that were never finished,
//! disks that nothing depends on, and what a QEMU that was killed could not remove itself. Finding
//! looks only; cleaning takes away what was found.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::files::Lock;
use crate::hypervisor::{Host, Leftover};
use crate::units::Bytes;

use super::directory::{self, ASIDE, BASES, MAKING, NEW_DISK, OLD, RECORD};
use super::process;
use super::store::{self, Store};

/// What a QEMU leaves when it is killed, and a snapshot that was cut short.
const OF_A_RUN: [&str; 4] = ["qemu.pid", "qmp.sock", "console.sock", NEW_DISK];

/// Everything that was left. Waits for whoever is at work here, so that nothing of theirs is
/// taken for left.
pub fn find(host: &Host) -> Result<Vec<Leftover>> {
    if !host.machines.is_dir() {
        return Ok(Vec::new());
    }
    let _lock = Lock::exclusive(&host.machines.join(".lock"), &host.cancel)?;
    let mut found = unfinished(&host.machines)?;
    let unused = store::unused_bases(&host.machines)?;
    found.extend(unused.into_iter().map(|(path, _)| left(path, "no machine uses it")));
    found.extend(stale_files(&host.machines)?.into_iter().map(|path| {
        left(path, "its QEMU or its snapshot was cut short, and the machine does not run")
    }));
    Ok(found)
}

/// Takes it all away; says what, and what that freed.
pub fn clean(host: &Host) -> Result<Vec<(PathBuf, Bytes)>> {
    let unfinished = match host.machines.is_dir() {
        true => unfinished(&host.machines)?,
        false => Vec::new(),
    };
    // Opening takes away the unfinished ones, or puts the machine back that one was to replace.
    let store = Store::open(host)?;
    let gone = unfinished.into_iter().filter(|it| it.path.symlink_metadata().is_err());
    let mut freed: Vec<_> = gone.map(|it| (it.path, Bytes(0))).collect();
    freed.extend(store::clean(&store)?);
    for path in stale_files(&host.machines)? {
        store::remove_file(&path)?;
        freed.push((path, Bytes(0)));
    }
    Ok(freed)
}

fn left(path: PathBuf, why: &str) -> Leftover {
    Leftover { path, why: why.to_string() }
}

/// What killed runs left: machines that were being made or replaced, and bases.
fn unfinished(machines: &Path) -> Result<Vec<Leftover>> {
    let mut found = Vec::new();
    for path in directory::entries(machines)? {
        let name = name(&path);
        if let Some(machine) = name.strip_prefix(OLD) {
            found.push(match machines.join(machine).symlink_metadata() {
                Ok(_) => left(path, "a machine that was replaced"),
                Err(_) => left(path, "a machine whose replacement never came; it is put back"),
            });
        } else if name.starts_with(MAKING) && store::is_ours(&path)? {
            found.push(left(path, "a machine that was never finished"));
        }
    }
    let bases = directory::entries(&machines.join(BASES))?.into_iter();
    let bases = bases.filter(|path| name(path).starts_with(MAKING));
    found.extend(bases.map(|path| left(path, "a disk that was never finished")));
    Ok(found)
}

/// Files of machines that do not run and only have a meaning while something is at work.
fn stale_files(machines: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for (place, record) in directory::machines(machines)? {
        if process::pid(&place, &record.name).is_some() {
            continue;
        }
        let aside = format!(".{RECORD}{ASIDE}");
        let names = OF_A_RUN.into_iter().chain([aside.as_str()]);
        found.extend(names.map(|name| place.join(name)).filter(|path| is_there(path)));
    }
    Ok(found)
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
