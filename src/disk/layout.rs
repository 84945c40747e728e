//! A disk to the byte: every partition, volume and filesystem with its offset, and the names that are
//! derived from them. Pure: it knows no files and no tree. `placement` computes it from the keys of
//! a disk.

use std::fmt;

use crate::digest::Digest;
use crate::format::Guid;
use crate::format::lvm2::{self, Extents, Id, Origin};
use crate::units::Bytes;

use super::config::{EXTENT, Firmware, Format, Table};

/// A disk to the byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Of the whole disk.
    pub size: Bytes,
    /// The kind of partition table.
    pub table: Table,
    /// Who starts it; sorted.
    pub firmware: Vec<Firmware>,
    /// In the order of their numbers, 1 first.
    pub partitions: Vec<Partition>,
    /// The volume group, if a partition holds one.
    pub group: Option<Group>,
    /// Everything that is formatted, in the order on the disk.
    pub filesystems: Vec<Filesystem>,
    /// Kernel arguments behind `root=… ro`.
    pub cmdline: String,
    /// File systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Where the file system is mounted that takes, at boot, what the disk has gained; it is on the
    /// last partition.
    pub grow: Option<String>,
    /// The size of the swap file on the root file system, which the first boot makes.
    pub swap_file: Option<Bytes>,
}

/// A file system in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tmpfs {
    /// Where it is mounted.
    pub mount: String,
    /// Its mount options, its size among them; may be empty.
    pub options: Vec<String>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Where it begins.
    pub offset: Bytes,
    /// How long it is.
    pub size: Bytes,
}

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Holds GRUB's core.img.
    BiosBoot,
    /// The EFI system partition.
    Esp,
    /// Any other filesystem.
    Linux,
    /// A swap area.
    Swap,
    /// The physical volume.
    Lvm,
}

/// The word in a recipe; the disk's identifiers are derived from it.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::BiosBoot => "BiosBoot",
            Role::Esp => "Esp",
            Role::Linux => "Linux",
            Role::Swap => "Swap",
            Role::Lvm => "Lvm",
        })
    }
}

/// The volume group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// As in /dev/NAME.
    pub name: String,
    /// Where the physical volume begins.
    pub offset: Bytes,
    /// How long it is.
    pub size: Bytes,
    /// In order; the extents after the last are free.
    pub volumes: Vec<(String, Extents)>,
}

/// One filesystem, or swap area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// The name of its partition or volume.
    pub name: String,
    /// The volume group it is in; `None`: a partition.
    pub group: Option<String>,
    /// Its format.
    pub format: Format,
    /// Where it begins on the disk.
    pub offset: Bytes,
    /// How long it is.
    pub size: Bytes,
    /// Where it is mounted.
    pub mount: Option<String>,
    /// Mount options besides those that its format has.
    pub options: Vec<String>,
    /// May be empty.
    pub label: String,
    /// What names it. Derived from name, group, format and mount point alone, neither from the
    /// tree nor from the other filesystems: so a filesystem whose files did not change comes from
    /// the cache even when others were changed or resized, and two disks share it.
    pub uuid: Guid,
    /// Whether the firmware looks for GRUB here.
    pub is_esp: bool,
}

impl Filesystem {
    /// The volume id of a FAT.
    pub fn volume_id(&self) -> u32 {
        u32::from_be_bytes([self.uuid.0[0], self.uuid.0[1], self.uuid.0[2], self.uuid.0[3]])
    }

    /// Its UUID as `UUID=` and GRUB's `search.fs_uuid` write it.
    pub fn uuid_text(&self) -> String {
        match self.format {
            Format::Vfat => {
                let id = self.volume_id();
                format!("{:04X}-{:04X}", id >> 16, id & 0xffff)
            }
            _ => self.uuid.to_string(),
        }
    }

    /// What fstab and the kernel call it: a volume by its name, a partition by its UUID.
    pub fn device(&self) -> String {
        let doubled = |name: &str| name.replace('-', "--");
        match &self.group {
            Some(group) => format!("/dev/mapper/{}-{}", doubled(group), doubled(&self.name)),
            None => format!("UUID={}", self.uuid_text()),
        }
    }
}

impl Layout {
    /// The lines of a recipe: everything above, one thing a line. The identifiers of the disk are
    /// derived from this text, so a change of its form changes the bytes of every disk.
    pub fn lines(&self) -> Vec<String> {
        let firmware: Vec<_> = self.firmware.iter().map(|firmware| firmware.word()).collect();
        let mut lines = vec![
            format!("{} {}, started by {}", self.table.word(), self.size, firmware.join(" and ")),
            format!("cmdline {}", self.cmdline),
        ];
        for (index, partition) in self.partitions.iter().enumerate() {
            let Partition { name, role, offset, size } = partition;
            lines.push(format!("partition {} {name} {role} at {offset}, {size}", index + 1));
        }
        if let Some(group) = &self.group {
            lines.push(format!("group {} at {}, {}", group.name, group.offset, group.size));
        }
        for filesystem in &self.filesystems {
            let Filesystem { name, group, format, offset, size, mount, label, .. } = filesystem;
            let group = group.as_ref().map_or(String::new(), |group| format!("{group}/"));
            let mount = mount.as_deref().unwrap_or("-");
            lines.push(format!(
                "filesystem {group}{name} {} on {mount} at {offset}, {size}, label \"{label}\"",
                format.word()
            ));
        }
        lines
    }

    /// The mount options and the file systems in memory, in words: what of the layout is in fstab alone.
    pub fn mount_lines(&self) -> Vec<String> {
        let filesystems = self.filesystems.iter().filter(|it| !it.options.is_empty());
        let options = filesystems.map(|it| {
            let mount = it.mount.as_deref().unwrap_or("-");
            format!("options of {mount}: {}", it.options.join(","))
        });
        let tmpfs = self.tmpfs.iter();
        let tmpfs = tmpfs.map(|it| format!("tmpfs on {}: {}", it.mount, it.options.join(",")));
        options.chain(tmpfs).collect()
    }

    /// What the ids of disk, partitions and group are derived from: the layout, never the tree,
    /// so that they stay when the files change.
    pub fn identity(&self) -> Digest {
        Digest::of(self.lines().join("\n"))
    }

    /// The id of the disk in a GPT.
    pub fn disk_id(&self) -> Guid {
        Guid::derived(self.identity().0, "disk")
    }

    /// The id in a GPT of the partition of this number, counted from 1.
    pub fn partition_guid(&self, number: usize) -> Guid {
        Guid::derived(self.identity().0, &format!("partition {number}"))
    }

    /// What `PARTUUID=` calls the partition of this number, counted from 1.
    pub fn partition_id(&self, number: usize) -> String {
        match self.table {
            Table::Gpt => self.partition_guid(number).to_string(),
            Table::Mbr => format!("{:08x}-{number:02x}", self.mbr_id()),
        }
    }

    /// The id of the disk in an MBR.
    pub fn mbr_id(&self) -> u32 {
        let id = self.disk_id().0;
        u32::from_be_bytes([id[0], id[1], id[2], id[3]])
    }

    /// The filesystem at exactly this mount point.
    pub fn mounted(&self, mount: &str) -> Option<&Filesystem> {
        self.filesystems.iter().find(|fs| fs.mount.as_deref() == Some(mount))
    }

    /// The filesystem that holds the absolute path: the one with the longest mount point above it.
    pub fn holding(&self, path: &str) -> Option<&Filesystem> {
        let inside =
            |mount: &str| mount == "/" || path == mount || path.starts_with(&format!("{mount}/"));
        self.filesystems
            .iter()
            .filter(|fs| fs.mount.as_deref().is_some_and(inside))
            .max_by_key(|fs| fs.mount.as_ref().map_or(0, |mount| mount.len()))
    }

    /// The group as its format has it; `time` is its time of creation.
    pub fn lvm(&self, time: u64) -> Option<lvm2::Layout> {
        let group = self.group.as_ref()?;
        let identity = self.identity().0;
        let id = |what: &str| Id::derived(identity, what);
        let volumes = group.volumes.iter().map(|(name, extents)| lvm2::Volume {
            name: name.clone(),
            id: id(&format!("volume {name}")),
            extents: *extents,
        });
        Some(lvm2::Layout {
            name: group.name.clone(),
            id: id("group"),
            pv_id: id("physical volume"),
            pv_size: group.size,
            extent_size: EXTENT,
            volumes: volumes.collect(),
            origin: Origin { host: "kuth".to_string(), time },
        })
    }
}
