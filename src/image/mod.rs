//! Disk image files: the thin callers over `format` that read a disk and write a file that wraps
//! it, and that put such a file where the user wants it. It knows no stages and no pipelines.
//!
//! The bytes depend on what the disk reads as, the [`Container`] and the [`Identity`] alone: not
//! on where the disk's holes lie, on the number of threads, on names or on the host.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::format::blocks::Plan;
use crate::format::vmdk::Level;
use crate::format::{Guid, qcow2, vdi, vhd, vmdk};
use crate::process::Cancel;
use crate::units::Bytes;

mod laid;
pub mod place;
mod scan;
mod stream;

/// A file format that wraps a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// QEMU's.
    Qcow2,
    /// VirtualBox's.
    Vdi,
    /// VMware's streamOptimized, with how hard it compresses.
    Vmdk(Level),
    /// Microsoft's, dynamic.
    Vhd,
}

/// What of an image does not come from the disk's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The disk's digest; ids are derived from it.
    pub disk: Digest,
    /// Seconds since 1970, where a format tells a time.
    pub epoch: u64,
}

/// Who waits for the work: may stop it, and is told how much is done of how much.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Looked at every few MiB.
    pub cancel: &'a Cancel,
    /// Told bytes done and bytes in all.
    pub told: &'a (dyn Fn(u64, u64) + Sync),
}

impl Watch<'_> {
    /// Tells, and fails once somebody asked to stop.
    fn tell(&self, done: u64, total: u64) -> Result<()> {
        (self.told)(done, total);
        self.cancel.check()
    }
}

/// The file name that VMDK descriptors hold. Readers of a streamOptimized image ignore it, and
/// so the name of the file stays out of its bytes.
const VMDK_FILE_NAME: &str = "disk.vmdk";
/// The earliest time VHD can tell: 2000.
const EARLIEST: u64 = 946_684_800;

/// Writes the raw image `disk` as `container` to the new file `to`; gives the SHA-256 and the
/// length. `threads` compress, where there is something to compress.
pub fn write(
    disk: &Path,
    container: Container,
    identity: Identity,
    to: &Path,
    threads: usize,
    watch: Watch<'_>,
) -> Result<(Digest, Bytes)> {
    let source = File::open(disk).with_context(|| format!("opening {}", disk.display()))?;
    let what = || format!("reading {}", disk.display());
    let size = Bytes(source.metadata().with_context(what)?.len());
    let map = scan::data_blocks(&source, size, watch).with_context(what)?;
    let what = || format!("writing {}", to.display());
    let target = File::options().write(true).create_new(true).open(to).with_context(what)?;
    let id = |label: &str| Guid::derived(identity.disk.0, label);
    let plan = match container {
        Container::Qcow2 => qcow2::plan(&map.in_blocks_of(qcow2::CLUSTER)?)?,
        Container::Vdi => {
            let ids = vdi::Ids { image: id("vdi"), modification: id("vdi/modification") };
            vdi::plan(&map.in_blocks_of(vdi::BLOCK)?, ids)?
        }
        Container::Vhd => {
            let identity = vhd::Identity { uuid: id("vhd"), time: identity.epoch.max(EARLIEST) };
            vhd::plan(&map.in_blocks_of(vhd::BLOCK)?, identity)?
        }
        Container::Vmdk(level) => {
            let description = vmdk::Description {
                size,
                file_name: VMDK_FILE_NAME.to_string(),
                uuid: id("vmdk"),
                adapter: vmdk::Adapter::LsiLogic,
            };
            let work = stream::Work { source: &source, map: &map, level, threads };
            return stream::write(&work, &description, target, watch).with_context(what);
        }
    };
    laid::write(&plan, &source, &target, watch).with_context(what)
}

/// Writes a plan that has no data to the new file `to`: the image of an empty disk.
pub fn write_blank(plan: &Plan, to: &Path) -> Result<()> {
    let what = || format!("writing {}", to.display());
    let file = File::options().write(true).create_new(true).open(to).with_context(what)?;
    file.set_len(plan.length.0).with_context(what)?;
    for (at, bytes) in plan.pieces.iter() {
        file.write_all_at(bytes, at.0).with_context(what)?;
    }
    Ok(())
}
