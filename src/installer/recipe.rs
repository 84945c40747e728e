//! A disk's layout as a recipe of partman-auto, the partitioner of debian-installer. Sizes there are
//! in units of 10^6 bytes and volumes in whole extents, so everything is rounded up: by how much is
//! known exactly for a volume, and to a megabyte for a partition.
//!
//! Source: debian-installer's partman-auto-recipe.txt; the scripts of partman-auto-lvm.

use crate::disk::config::{Config, Content, Format, Table};
use crate::disk::layout::{Filesystem, Layout, Partition, Role};
use crate::pipeline::Size;
use crate::units::Bytes;

use super::answers::Answers;

/// The name of the recipe.
pub const NAME: &str = "kuth";
/// partman's unit.
const MEGABYTE: u64 = 1_000_000;
/// Of a thing that takes the rest: so much at least.
const LEAST: u64 = 64;

/// The lines of a recipe, each without what joins them.
pub fn lines(answers: &Answers) -> Vec<String> {
    let Answers { layout, config, .. } = answers;
    let mut lines = vec![format!("{NAME} ::")];
    let automatic = layout.partitions.len() - config.partitions.len();
    for (index, partition) in layout.partitions.iter().enumerate() {
        let row = index.checked_sub(automatic).and_then(|index| config.partitions.get(index));
        let rest = row.is_some_and(|row| row.size.value == Size::Rest);
        lines.push(partition_line(layout, partition, rest));
    }
    let rests = config.volumes.iter().map(|row| row.size.value == Size::Rest);
    let volumes = layout.filesystems.iter().filter(|filesystem| filesystem.group.is_some());
    for (volume, rest) in volumes.zip(rests) {
        let size = sizes(exact_volume(volume.size), rest);
        let group = volume.group.as_deref().unwrap_or_default();
        let name = &volume.name;
        let kind = kind(volume.format);
        let place = format!("$lvmok{{ }} in_vg{{ {group} }} lv_name{{ {name} }}");
        lines.push(format!("{size} {kind} {place} {} .", use_of(volume)));
    }
    lines
}

fn partition_line(layout: &Layout, partition: &Partition, rest: bool) -> String {
    let size = sizes(near(partition.size), rest);
    // An MBR keeps its primary partitions; on a GPT there are no others.
    let primary = if layout.table == Table::Mbr { "$primary{ } " } else { "" };
    let filesystem = layout
        .filesystems
        .iter()
        .find(|filesystem| filesystem.group.is_none() && filesystem.offset == partition.offset);
    match (partition.role, filesystem) {
        (Role::BiosBoot, _) => {
            format!("{} free $iflabel{{ gpt }} method{{ biosgrub }} .", sizes(1, false))
        }
        (Role::Esp, _) => format!("{size} free {primary}method{{ efi }} format{{ }} ."),
        (Role::Lvm, _) => {
            let group = layout.group.as_ref().map_or("", |group| group.name.as_str());
            format!("{size} ext4 {primary}method{{ lvm }} vg_name{{ {group} }} .")
        }
        (_, Some(filesystem)) => {
            let boot = filesystem.mount.as_deref() == Some("/boot")
                || filesystem.mount.as_deref() == Some("/");
            let bootable = if boot && layout.table == Table::Mbr { "$bootable{ } " } else { "" };
            let kind = kind(filesystem.format);
            format!("{size} {kind} {primary}{bootable}{} .", use_of(filesystem))
        }
        (_, None) => format!("{size} free {primary}method{{ keep }} ."),
    }
}

/// Least, priority and most. One number three times is a size that nothing changes.
fn sizes(size: u64, rest: bool) -> String {
    match rest {
        true => format!("{LEAST} {size} -1"),
        false => format!("{size} {size} {size}"),
    }
}

/// What partman takes for the kind of a filesystem.
fn kind(format: Format) -> &'static str {
    match format {
        Format::Ext4 => "ext4",
        Format::Xfs => "xfs",
        Format::Vfat => "fat32",
        Format::Swap => "linux-swap",
    }
}

fn use_of(filesystem: &Filesystem) -> String {
    if filesystem.format == Format::Swap {
        return "method{ swap } format{ }".to_string();
    }
    let kind = kind(filesystem.format);
    let label = match filesystem.label.as_str() {
        "" => String::new(),
        label => format!(" label{{ {label} }}"),
    };
    let mount = match &filesystem.mount {
        Some(mount) => format!(" mountpoint{{ {mount} }}"),
        None => String::new(),
    };
    format!(
        "method{{ format }} format{{ }} use_filesystem{{ }} filesystem{{ {kind} }}{label}{mount}"
    )
}

/// Megabytes that hold exactly these extents: partman rounds down to whole ones.
pub fn exact_volume(size: Bytes) -> u64 {
    size.0.div_ceil(MEGABYTE)
}

/// Megabytes for a partition, of which alignment takes up to one.
fn near(size: Bytes) -> u64 {
    size.0.div_ceil(MEGABYTE) + 1
}

/// How much of the group partman may give away: `None` where a volume takes the rest. What is left
/// to it goes to the last volume otherwise.
pub fn guided_size(answers: &Answers) -> Option<u64> {
    if answers.config.volumes.iter().any(|row| row.size.value == Size::Rest) {
        return None;
    }
    let volumes = answers.layout.filesystems.iter();
    let volumes = volumes.filter(|filesystem| filesystem.group.is_some());
    Some(volumes.map(|volume| exact_volume(volume.size)).sum())
}

/// The group's name, if there is one.
pub fn group(answers: &Answers) -> Option<&str> {
    answers.config.partitions.iter().find_map(|row| match &row.content {
        Content::Lvm(name) => Some(name.as_str()),
        Content::Filesystem(_) => None,
    })
}

/// How much a layout lacks that fits to the byte: partman rounds up. Where a volume takes the rest,
/// that is what gives way.
pub fn too_tight(config: &Config, layout: &Layout) -> Option<Bytes> {
    let group = layout.group.as_ref()?;
    if config.volumes.iter().any(|row| row.size.value == Size::Rest) {
        return None;
    }
    let extents: u64 = group.volumes.iter().map(|(_, extents)| extents.0).sum();
    let used = extents * crate::disk::config::EXTENT.0;
    // A megabyte a volume, one a partition, and some extents for the ends.
    let needed = (group.volumes.len() + layout.partitions.len()) as u64 * MEGABYTE;
    let needed = Bytes(needed + (16 << 20)).round_up(crate::disk::config::EXTENT)?;
    let free = group.size.0.saturating_sub(used);
    (free < needed.0).then(|| Bytes(needed.0 - free))
}
