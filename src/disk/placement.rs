//! From the keys of a disk to its layout: gives every partition and volume its offset, one after the
//! other, aligned, in the order of the file, with the automatic partitions in front. What does not
//! fit is refused with the size that is needed, the size that is left, and the difference; other
//! rules are in `rules`.

use crate::format::lvm2::{self, Extents};
use crate::format::{Guid, gpt};
use crate::pipeline::{Fault, Size, Span, Spanned};
use crate::units::{Bytes, Human, SECTOR};

use super::config::{Config, Content, EXTENT, FilesystemRow, Firmware, Format, Table, TmpfsRow};
use super::esp::{ESP_MOUNT, has_automatic_esp, is_esp};
use super::layout::{Filesystem, Group, Layout, Partition, Role, Tmpfs};
use super::rules;

/// Every partition begins at a multiple of this.
const ALIGNMENT: Bytes = Bytes::MIB;
/// Room for GRUB's core.img on a GPT.
const BIOS_BOOT: Bytes = Bytes::MIB;
/// The automatic EFI system partition; /boot then begins at 64 MiB.
const ESP: Bytes = Bytes::mib(62);
/// Sector numbers of an MBR have 32 bits.
const MBR_REACH: Bytes = Bytes(2 << 40);

/// A partition whose offset is not known yet.
struct PlannedPartition {
    name: String,
    role: Role,
    size: Spanned<Size>,
}

fn planned(config: &Config) -> Vec<PlannedPartition> {
    let automatic = |name: &str, role, size| PlannedPartition {
        name: name.to_string(),
        role,
        size: Spanned::new(config.size.span.clone(), Size::Exactly(size)),
    };
    let mut planned = Vec::new();
    if config.table == Table::Gpt && config.firmware.contains(&Firmware::Bios) {
        planned.push(automatic("bios", Role::BiosBoot, BIOS_BOOT));
    }
    if has_automatic_esp(config) {
        planned.push(automatic("esp", Role::Esp, ESP));
    }
    planned.extend(config.partitions.iter().map(|row| PlannedPartition {
        name: row.name.value.clone(),
        role: match &row.content {
            Content::Lvm(_) => Role::Lvm,
            Content::Filesystem(fs) if is_esp(config, fs) => Role::Esp,
            Content::Filesystem(fs) if *fs.format == Format::Swap => Role::Swap,
            Content::Filesystem(_) => Role::Linux,
        },
        size: row.size.clone(),
    }));
    planned
}

impl Layout {
    /// Computes the layout, or returns every fault.
    pub fn of(config: &Config) -> Result<Layout, Vec<Fault>> {
        let mut faults = rules::faults(config);
        let (partitions, group) = match place(config) {
            Ok((partitions, group)) if faults.is_empty() => (partitions, group),
            Ok(_) => return Err(faults),
            Err(more) => {
                faults.extend(more);
                return Err(faults);
            }
        };
        let mut layout = Layout {
            size: *config.size,
            table: config.table,
            firmware: config.firmware.clone(),
            filesystems: filesystems(config, &partitions, group.as_ref()),
            partitions,
            group,
            cmdline: config.cmdline.clone(),
            tmpfs: config.tmpfs.iter().map(tmpfs).collect(),
            grow: grow(config),
            swap_file: config.swap_file.as_ref().map(|size| size.value),
        };
        layout.filesystems.sort_by_key(|filesystem| filesystem.offset);
        if let Some(small) = layout.filesystems.iter().find(|fs| fs.size < fs.format.least()) {
            let Filesystem { name, format, size, .. } = small;
            let what =
                format!("only {size} are left for `{name}`, too little for {}", format.word());
            let fault = Fault::new(config.size.span.clone(), what);
            return Err(vec![fault.hint(format!("the least is {}", format.least()))]);
        }
        if let (Some(swap), Some(root)) = (&config.swap_file, layout.mounted("/"))
            && swap.value >= root.size
        {
            let Filesystem { name, size, .. } = root;
            let fault = Fault::new(swap.span.clone(), "the swap file has no room");
            let fault = fault.label(format!("`{name}`, which holds it, has {size}"));
            return Err(vec![
                fault.hint(format!("make `{name}` larger, or the swap file smaller")),
            ]);
        }
        // What kuth's own rules let pass and LVM2's do not, such as a reserved name, or more volumes
        // than its metadata area describes. Every time of creation has ten digits.
        let span = config.volumes.first().map_or(config.size.span.clone(), |v| v.name.span.clone());
        match layout.lvm(u32::MAX.into()).map(|lvm| lvm.write()) {
            Some(Err(fault)) => Err(vec![Fault::new(span, fault.to_string())]),
            _ => Ok(layout),
        }
    }
}

fn place(config: &Config) -> Result<(Vec<Partition>, Option<Group>), Vec<Fault>> {
    let one = |fault: Fault| Err(vec![fault]);
    let (size, at) = (*config.size, config.size.span.clone());
    let end = match config.table {
        Table::Gpt => gpt::last_usable(size).map_or(Bytes(0), |last| Bytes((last.0 + 1) * SECTOR)),
        Table::Mbr => size,
    };
    if config.table == Table::Mbr && size > MBR_REACH {
        let fault = Fault::new(at, "an MBR reaches 2 TiB").label(format!("{size} is more"));
        return one(fault.hint("write `table = \"gpt\"`"));
    }
    let planned = planned(config);
    if config.table == Table::Mbr && planned.len() > 4 {
        let names: Vec<_> = planned.iter().map(|partition| partition.name.as_str()).collect();
        let message = format!("an MBR has 4 partitions, not {}", planned.len());
        let fault = Fault::new(at, message).label(names.join(", "));
        return one(fault.hint("write `table = \"gpt\"`, or make volumes of some"));
    }
    if config.table == Table::Gpt && planned.len() > gpt::ENTRIES {
        let message = format!("a GPT has {} partitions, not {}", gpt::ENTRIES, planned.len());
        let automatic = planned.len() - config.partitions.len();
        let first = config.partitions.get(gpt::ENTRIES.saturating_sub(automatic));
        let span = first.map_or(at, |row| row.name.span.clone());
        let fault = Fault::new(span, message).label("the first that is too many");
        return one(fault.hint("make volumes of some, with `lvm`"));
    }
    let room = Bytes(end.round_down(ALIGNMENT).0.saturating_sub(ALIGNMENT.0));
    let rows = planned.iter().map(|partition| &partition.size);
    let rest = share(rows, room).map_err(|fit| vec![fit.fault(&at, "partitions", "the disk")])?;

    let mut offset = ALIGNMENT;
    let mut partitions = Vec::new();
    for PlannedPartition { name, role, size } in planned {
        let size = exactly(*size, rest);
        partitions.push(Partition { name, role, offset, size });
        offset = offset + size;
    }
    let Some((name, pv)) = group_of(config).zip(partitions.iter().find(|p| p.role == Role::Lvm))
    else {
        return Ok((partitions, None));
    };
    let room = Bytes(lvm2::extents_in(pv.size, EXTENT).0 * EXTENT.0);
    let rows = config.volumes.iter().map(|row| &row.size);
    let what = format!("the volume group `{}`", **name);
    let rest = share(rows, room).map_err(|fit| vec![fit.fault(&name.span, "volumes", &what)])?;
    let volumes = config.volumes.iter().map(|row| {
        let size = exactly(*row.size, rest.round_down(EXTENT));
        (row.name.value.clone(), Extents(size.0 / EXTENT.0))
    });
    let group = Group {
        name: name.value.clone(),
        offset: pv.offset,
        size: pv.size,
        volumes: volumes.collect(),
    };
    Ok((partitions, Some(group)))
}

fn exactly(size: Size, rest: Bytes) -> Bytes {
    match size {
        Size::Exactly(size) => size,
        Size::Rest => rest,
    }
}

fn group_of(config: &Config) -> Option<&Spanned<String>> {
    config.partitions.iter().find_map(|row| match &row.content {
        Content::Lvm(name) => Some(name),
        Content::Filesystem(_) => None,
    })
}

/// Sizes that do not fit.
struct Misfit {
    wanted: Option<Bytes>,
    room: Bytes,
}

impl Misfit {
    fn fault(&self, at: &Span, what: &str, whole: &str) -> Fault {
        let Misfit { wanted, room } = self;
        let fault = Fault::new(at.clone(), format!("the {what} do not fit in {whole}"));
        let Some(wanted) = wanted else { return fault.label("they want more than 2^64 bytes") };
        let label = format!("they want {wanted}, it has {room} for them");
        let missing = Bytes(wanted.0.saturating_sub(room.0));
        match missing {
            Bytes(0) => {
                fault.label(label).hint(format!("nothing is left for the {what} of \"rest\""))
            }
            missing => {
                let hint = format!("{missing} too little ({})", Human(missing));
                fault.label(label).hint(format!("make it larger, or them smaller: {hint}"))
            }
        }
    }
}

/// What the sizes leave of `room` for the one that takes the rest.
fn share<'a>(sizes: impl Iterator<Item = &'a Spanned<Size>>, room: Bytes) -> Result<Bytes, Misfit> {
    let (mut sum, mut takes_rest) = (Some(0u64), false);
    for size in sizes {
        match size.value {
            Size::Exactly(size) => sum = sum.and_then(|sum| sum.checked_add(size.0)),
            Size::Rest => takes_rest = true,
        }
    }
    match sum {
        Some(sum) if sum < room.0 || sum == room.0 && !takes_rest => Ok(Bytes(room.0 - sum)),
        sum => Err(Misfit { wanted: sum.map(Bytes), room }),
    }
}

/// Everything to format, in the order of the rows.
fn filesystems(
    config: &Config,
    partitions: &[Partition],
    group: Option<&Group>,
) -> Vec<Filesystem> {
    let mut filesystems = Vec::new();
    let automatic = partitions.len() - config.partitions.len();
    if has_automatic_esp(config)
        && let Some(esp) = partitions[..automatic].iter().find(|p| p.role == Role::Esp)
    {
        filesystems.push(filesystem(esp, None, Format::Vfat, Some(ESP_MOUNT), Some("ESP")));
    }
    for (row, partition) in config.partitions.iter().zip(&partitions[automatic..]) {
        let Content::Filesystem(row) = &row.content else { continue };
        let mount = row.mount.as_ref().map(|mount| mount.as_str());
        let label = row.label.as_deref();
        let filesystem = filesystem(partition, None, *row.format, mount, label);
        filesystems.push(Filesystem { options: words(&row.options), ..filesystem });
    }
    let Some(group) = group else { return filesystems };
    let mut first = 0;
    for (row, (name, extents)) in config.volumes.iter().zip(&group.volumes) {
        let volume = Partition {
            name: name.clone(),
            role: Role::Linux,
            offset: group.offset + lvm2::PE_START + Bytes(first * EXTENT.0),
            size: Bytes(extents.0 * EXTENT.0),
        };
        first += extents.0;
        let FilesystemRow { format, mount, label, options, .. } = &row.filesystem;
        let mount = mount.as_ref().map(|mount| mount.as_str());
        let group = Some(group.name.as_str());
        let filesystem = filesystem(&volume, group, **format, mount, label.as_deref());
        filesystems.push(Filesystem { options: words(options), ..filesystem });
    }
    filesystems
}

/// Where the filesystem that grows is mounted.
fn grow(config: &Config) -> Option<String> {
    let row = config.filesystems().find(|row| *row.grow)?;
    row.mount.as_ref().map(|mount| mount.value.clone())
}

fn words(options: &[Spanned<String>]) -> Vec<String> {
    options.iter().map(|option| option.value.clone()).collect()
}

fn tmpfs(row: &TmpfsRow) -> Tmpfs {
    let size = row.size.map(|size| format!("size={}", size.0));
    Tmpfs {
        mount: row.mount.value.clone(),
        options: size.into_iter().chain(words(&row.options)).collect(),
    }
}

fn filesystem(
    place: &Partition,
    group: Option<&str>,
    format: Format,
    mount: Option<&str>,
    label: Option<&str>,
) -> Filesystem {
    let name = place.name.as_str();
    let group_name = group.unwrap_or("");
    let identity = format!("{group_name}\n{name}\n{}\n{}", format.word(), mount.unwrap_or(""));
    let short = Some(name).filter(|name| name.len() <= format.longest_label());
    let label = label.or(short).unwrap_or("");
    Filesystem {
        name: name.to_string(),
        group: group.map(str::to_string),
        format,
        offset: place.offset,
        size: place.size,
        mount: mount.map(str::to_string),
        options: Vec::new(),
        label: if format == Format::Vfat { label.to_uppercase() } else { label.to_string() },
        uuid: Guid::derived(identity, "kuth filesystem"),
        is_esp: place.role == Role::Esp,
    }
}
