//! Makes fsync and its kin do nothing for every command started afterwards. A tree under
//! construction is thrown away after a crash, so waiting for the disk thousands of times (dpkg
//! syncs every file) buys nothing. The finished tar is synced by the cache.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::error::{Context, Result};

/// fsync, fdatasync, msync, sync, syncfs, sync_file_range, from the kernel's system call tables.
#[cfg(target_arch = "x86_64")]
const SYNCS: (TargetArch, [i64; 6]) = (TargetArch::x86_64, [74, 75, 26, 162, 306, 277]);
#[cfg(target_arch = "aarch64")]
const SYNCS: (TargetArch, [i64; 6]) = (TargetArch::aarch64, [82, 83, 227, 81, 267, 84]);

/// Installs the filter on this thread; children inherit it.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub fn install() -> Result<()> {
    let (arch, calls) = SYNCS;
    let rules: BTreeMap<i64, Vec<_>> = calls.into_iter().map(|call| (call, Vec::new())).collect();
    // Errno 0 makes the call return 0 without being made.
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(0), arch)
        .context("writing the filter that skips fsync")?;
    let program: BpfProgram = filter.try_into().context("compiling the filter that skips fsync")?;
    seccompiler::apply_filter(&program).context("installing the filter that skips fsync")
}

/// Elsewhere commands sync as they like.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn install() -> Result<()> {
    Ok(())
}
