//! Disk image files: the thin callers over `format` that read the disk in an image ([`read`]) and write
//! an image of a disk. It knows no stages and no pipelines.
//!
//! The bytes depend on what the disk reads as, the [`Container`] and the [`Identity`] alone: not
//! on where the disk's holes lie, on the number of threads, on names or on the host.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::cancel::Progress;
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::format::appliance::Appliance;
use crate::format::blocks::{BlockMap, Plan};
use crate::format::vmdk::Level;
use crate::format::{Guid, qcow2, vbox, vdi, vhd, vmdk};
use crate::units::Bytes;

mod execute;
pub(crate) mod in_order;
pub(crate) mod member;
mod ova;
pub mod read;
mod scan;
pub mod source;
mod tar_bz2;
mod vmdk_stream;

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

/// A file with a machine around a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// An OVA, its disk as streamOptimized VMDK, with how hard that compresses.
    Ova(Level),
    /// A `tar.bz2` of a directory with VirtualBox's settings and a VDI; 1 to 9, the size of bzip2's
    /// blocks.
    Box(u32),
}

/// What of an image does not come from the disk's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The disk's digest; ids are derived from it.
    pub disk: Digest,
    /// Seconds since 1970, where a format records a time.
    pub epoch: u64,
}

/// The file name that VMDK descriptors hold. Readers of a streamOptimized image ignore it, and
/// so the name of the file stays out of its bytes.
const VMDK_FILE_NAME: &str = "disk.vmdk";
/// The earliest time VHD can record: 2000.
const EARLIEST: u64 = 946_684_800;

/// Writes the raw image `disk` as `container` to the new file `to`; gives the SHA-256 and the
/// length. `threads` compress, where there is something to compress.
pub fn write(
    disk: &Path,
    container: Container,
    identity: Identity,
    to: &Path,
    threads: usize,
    progress: Progress<'_>,
) -> Result<(Digest, Bytes)> {
    let (source, target, map) = prepare(disk, to, progress)?;
    let what = || format!("writing {}", to.display());
    let size = map.disk();
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
            let description = description(size, id("vmdk"));
            let work = vmdk_stream::Work { source: &source, map: &map, level, threads };
            return vmdk_stream::write(&work, &description, target, progress).with_context(what);
        }
    };
    execute::write(&plan, &source, &target, progress).with_context(what)
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

/// Like [`write`], with a machine around the disk.
pub fn pack(
    disk: &Path,
    package: Package,
    appliance: &Appliance,
    identity: Identity,
    to: &Path,
    threads: usize,
    progress: Progress<'_>,
) -> Result<(Digest, Bytes)> {
    let (source, target, map) = prepare(disk, to, progress)?;
    let what = || format!("writing {}", to.display());
    let id = |label: &str| Guid::derived(identity.disk.0, label);
    match package {
        Package::Ova(level) => {
            let work = vmdk_stream::Work { source: &source, map: &map, level, threads };
            let description = description(map.disk(), id("ova"));
            ova::write(&work, appliance, &description, identity.epoch, target, progress)
        }
        Package::Box(level) => {
            // An image that is exported beside it has other ids: VirtualBox knows media by them.
            let ids = vdi::Ids { image: id("box/vdi"), modification: id("box/vdi/modification") };
            let machine = id(&format!("box/machine/{}", appliance.name));
            let work = tar_bz2::Work {
                disk: &source,
                appliance,
                vdi: vdi::plan(&map.in_blocks_of(vdi::BLOCK)?, ids)?,
                ids: vbox::Ids { machine, disk: ids.image },
                level,
                threads,
                epoch: identity.epoch,
            };
            tar_bz2::write(work, target, progress)
        }
    }
    .with_context(what)
}

/// Opens the disk, looks where it has data, and makes the file to write.
fn prepare(disk: &Path, to: &Path, progress: Progress<'_>) -> Result<(File, File, BlockMap)> {
    let source = File::open(disk).with_context(|| format!("opening {}", disk.display()))?;
    let what = || format!("reading {}", disk.display());
    let size = Bytes(source.metadata().with_context(what)?.len());
    let map = scan::data_blocks(&source, size, progress).with_context(what)?;
    Ok((source, create(to)?, map))
}

fn create(to: &Path) -> Result<File> {
    let mut options = File::options();
    let options = options.read(true).write(true).create_new(true);
    options.open(to).with_context(|| format!("writing {}", to.display()))
}

fn description(size: Bytes, uuid: Guid) -> vmdk::Description {
    let (file_name, adapter) = (VMDK_FILE_NAME.to_string(), vmdk::Adapter::LsiLogic);
    vmdk::Description { size, file_name, uuid, adapter }
}
