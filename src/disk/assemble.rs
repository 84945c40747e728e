//! Puts a disk together as one sparse file: partition table, boot code, LVM2 metadata, and each
//! filesystem copied to its offset. All ids come from the layout, all times are the epoch.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::cancel::Cancel;
use crate::error::{Context, Result};
use crate::files::sparse;
use crate::format::grub::{Boot, Room};
use crate::format::{gpt, mbr};

use super::config::Table;
use super::layout::{Layout, Role};

/// Writes the disk to `image`, which must not exist. `filesystems` are the files of
/// `layout.filesystems`, in that order.
pub fn write(
    image: &Path,
    layout: &Layout,
    filesystems: &[PathBuf],
    boot: Option<&(Room, Boot)>,
    epoch: u64,
    cancel: &Cancel,
) -> Result<File> {
    let what = || format!("writing {}", image.display());
    let disk = File::options().read(true).write(true).create_new(true).open(image);
    let disk = disk.with_context(what)?;
    disk.set_len(layout.size.0).with_context(what)?;
    let code = boot.map(|(_, boot)| &boot.code);
    for (at, bytes) in table(layout, code)? {
        disk.write_all_at(&bytes, at).with_context(what)?;
    }
    if let Some((room, boot)) = boot {
        disk.write_all_at(&boot.core, room.first.bytes().0).with_context(what)?;
    }
    if let (Some(lvm), Some(group)) = (layout.lvm(epoch), &layout.group) {
        for (at, bytes) in lvm.write()? {
            disk.write_all_at(&bytes, group.offset.0 + at.0).with_context(what)?;
        }
    }
    for (filesystem, file) in layout.filesystems.iter().zip(filesystems) {
        cancel.check()?;
        let what = || format!("copying the filesystem {} to the disk", filesystem.name);
        let file = File::open(file).with_context(what)?;
        sparse::copy_data(&file, &disk, filesystem.offset.0).with_context(what)?;
    }
    Ok(disk)
}

/// The partition table as bytes at offsets.
fn table(layout: &Layout, code: Option<&[u8; 440]>) -> Result<Vec<(u64, Vec<u8>)>> {
    match layout.table {
        Table::Gpt => {
            let partitions =
                layout.partitions.iter().enumerate().map(|(index, partition)| gpt::Partition {
                    name: partition.name.clone(),
                    type_guid: match partition.role {
                        Role::BiosBoot => gpt::BIOS_BOOT,
                        Role::Esp => gpt::ESP,
                        Role::Linux => gpt::LINUX,
                        Role::Swap => gpt::SWAP,
                        Role::Lvm => gpt::LVM,
                    },
                    guid: layout.partition_guid(index + 1),
                    first: partition.offset.sectors(),
                    length: partition.size.sectors(),
                    attributes: 0,
                });
            let table = gpt::Table {
                disk_guid: layout.disk_id(),
                disk: layout.size,
                partitions: partitions.collect(),
            };
            let pieces = table.write(code)?;
            Ok(pieces.into_iter().map(|(at, bytes)| (at.0, bytes)).collect())
        }
        Table::Mbr => {
            let mut table = mbr::Table { disk_id: layout.mbr_id(), slots: [None; 4] };
            for (slot, partition) in table.slots.iter_mut().zip(&layout.partitions) {
                *slot = Some(mbr::Partition {
                    kind: match partition.role {
                        Role::Esp => mbr::kind::ESP,
                        Role::BiosBoot | Role::Linux => mbr::kind::LINUX,
                        Role::Swap => mbr::kind::SWAP,
                        Role::Lvm => mbr::kind::LVM,
                    },
                    first: partition.offset.sectors(),
                    length: partition.size.sectors(),
                    active: mbr::Active::No,
                });
            }
            // Some BIOSes start no disk without an active partition; which one does not matter.
            let first = table.slots.iter_mut().flatten().find(|slot| slot.kind != mbr::kind::ESP);
            if let (Some(first), Some(_)) = (first, code) {
                first.active = mbr::Active::Yes;
            }
            Ok(vec![(0, table.write(code)?.to_vec())])
        }
    }
}
