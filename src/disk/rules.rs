//! What must hold between the rows of a disk, whatever their sizes.

use crate::pipeline::{Fault, Size, Span, Spanned};

use super::config::{Config, Content, FilesystemRow, Format, PartitionRow};
use super::esp::{ESP_MOUNT, has_automatic_esp};

/// Every rule that is broken.
pub fn faults(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    let names = config.partitions.iter().map(|row| &row.name);
    faults.extend(twice(names, "two partitions are called"));
    let names = config.volumes.iter().map(|row| &row.name);
    faults.extend(twice(names, "two volumes are called"));
    faults.extend(one_rest(config.partitions.iter().map(|row| &row.size)));
    faults.extend(one_rest(config.volumes.iter().map(|row| &row.size)));
    faults.extend(one_group(config));
    faults.extend(mounts(config));
    faults.extend(grows(config));
    for (size, row) in sized(config) {
        let (least, what) = (row.format.least(), row.format.word());
        if let Size::Exactly(bytes) = size.value
            && bytes < least
        {
            let fault = Fault::new(size.span.clone(), format!("too small for {what}"));
            faults.push(fault.label(format!("the least is {least}")));
        }
    }
    faults
}

/// Every filesystem with its size.
fn sized(config: &Config) -> impl Iterator<Item = (&Spanned<Size>, &FilesystemRow)> {
    let partitions = config.partitions.iter().filter_map(|row| match &row.content {
        Content::Filesystem(filesystem) => Some((&row.size, filesystem)),
        Content::Lvm(_) => None,
    });
    partitions.chain(config.volumes.iter().map(|row| (&row.size, &row.filesystem)))
}

fn twice<'a>(names: impl Iterator<Item = &'a Spanned<String>>, what: &str) -> Vec<Fault> {
    let mut seen: Vec<&Spanned<String>> = Vec::new();
    let mut faults = Vec::new();
    for name in names {
        match seen.iter().find(|other| other.value == name.value) {
            Some(first) => {
                let fault = Fault::new(name.span.clone(), format!("{what} `{}`", name.value));
                faults.push(fault.label("again").also(first.span.clone(), "first here"));
            }
            None => seen.push(name),
        }
    }
    faults
}

fn one_rest<'a>(sizes: impl Iterator<Item = &'a Spanned<Size>>) -> Vec<Fault> {
    let mut rests = sizes.filter(|size| size.value == Size::Rest);
    let Some(first) = rests.next() else { return Vec::new() };
    let again = rests.map(|size| {
        let fault = Fault::new(size.span.clone(), "only one can take the rest").label("again");
        fault.also(first.span.clone(), "first here").hint("give one of them a size")
    });
    again.collect()
}

fn one_group(config: &Config) -> Vec<Fault> {
    let mut groups = config.partitions.iter().filter_map(|row| match &row.content {
        Content::Lvm(name) => Some(name),
        Content::Filesystem(_) => None,
    });
    let Some(first) = groups.next() else {
        return config.volumes.first().map_or(Vec::new(), |volume| {
            let fault = Fault::new(volume.name.span.clone(), "no partition holds the volumes");
            vec![fault.hint("add a `[[partition]]` with `lvm = \"vg0\"`").of_absence(["lvm"])]
        });
    };
    let again = groups.map(|name| {
        let fault = Fault::new(name.span.clone(), "a disk has one volume group").label("again");
        fault.also(first.span.clone(), "first here")
    });
    again.collect()
}

/// What cannot grow at boot: a script in the guest grows one file system at the end of the disk.
fn grows(config: &Config) -> Vec<Fault> {
    let mut rows = config.filesystems().filter(|row| *row.grow);
    let Some(row) = rows.next() else { return Vec::new() };
    let again = rows.map(|other| {
        let fault = Fault::new(other.grow.span.clone(), "only one can grow").label("again");
        fault.also(row.grow.span.clone(), "first here").hint("leave out `grow` at one of them")
    });
    let mut faults: Vec<Fault> = again.collect();
    let fault = |message: String| Fault::new(row.grow.span.clone(), message);
    if !matches!(*row.format, Format::Ext4 | Format::Xfs) {
        let fault = fault(format!("{} cannot grow", row.format.word()));
        faults.push(fault.hint("grow a file system of ext4 or xfs"));
    } else if row.mount.is_none() {
        let fault = fault("`grow` is for file systems with a mount point".to_string());
        faults.push(fault.hint("add `mount`, or leave out `grow`"));
    } else if row.options.iter().any(|option| option.value == "noauto") {
        let fault = fault("with `noauto` it is not mounted when it would grow".to_string());
        faults.push(fault.hint("leave out `noauto`, or `grow`"));
    }
    let holds = |partition: &&PartitionRow| match &partition.content {
        Content::Filesystem(filesystem) => *filesystem.grow,
        Content::Lvm(_) => config.volumes.iter().any(|volume| *volume.filesystem.grow),
    };
    let holder = config.partitions.iter().find(holds);
    if let (Some(holder), Some(last)) = (holder, config.partitions.last())
        && holder.name.value != last.name.value
    {
        let (name, behind) = (&holder.name.value, &last.name.value);
        let fault = fault(format!("the partition `{name}` cannot grow: it is not the last"));
        let fault = fault.also(last.name.span.clone(), format!("`{behind}` is behind it"));
        faults.push(fault.hint(format!("move `{name}` to the end of the list of partitions")));
    }
    faults
}

/// Mount options with which the system does not start.
fn unbootable(row: &FilesystemRow) -> Vec<Fault> {
    let mount = row.mount.as_ref().map(|mount| mount.as_str());
    if !matches!(mount, Some("/" | "/usr")) {
        return Vec::new();
    }
    let of = |option: &&Spanned<String>| ["noexec", "noauto"].contains(&option.as_str());
    let fault = |option: &Spanned<String>| {
        let message = format!("`{}` at {} keeps the system from starting", option.value, mount?);
        Some(Fault::new(option.span.clone(), message).hint("leave it out"))
    };
    row.options.iter().filter(of).filter_map(fault).collect()
}

fn mounts(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut seen: Vec<(&str, Span)> = Vec::new();
    if has_automatic_esp(config) {
        seen.push((ESP_MOUNT, config.size.span.clone()));
    }
    let rows: Vec<_> = sized(config).map(|(_, row)| row).collect();
    for row in &rows {
        let Some(mount) = &row.mount else { continue };
        match seen.iter().find(|(other, _)| *other == mount.as_str()) {
            Some((ESP_MOUNT, _)) if *row.format != Format::Vfat => {
                let message = format!("{ESP_MOUNT} is where the EFI system partition is mounted");
                let fault = Fault::new(mount.span.clone(), message);
                faults.push(fault.hint("make it a partition with `filesystem = \"vfat\"`"));
            }
            Some((_, first)) => {
                let message = format!("two filesystems are mounted at {}", mount.value);
                let fault = Fault::new(mount.span.clone(), message).label("again");
                faults.push(fault.also(first.clone(), "first here"));
            }
            None => seen.push((mount.as_str(), mount.span.clone())),
        }
    }
    for row in &config.tmpfs {
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == row.mount.as_str()) {
            let message = format!("two file systems are mounted at {}", row.mount.value);
            let fault = Fault::new(row.mount.span.clone(), message).label("again");
            faults.push(fault.also(first.clone(), "first here"));
        }
        seen.push((row.mount.as_str(), row.mount.span.clone()));
    }
    faults.extend(rows.iter().flat_map(|row| unbootable(row)));
    let root = rows.iter().find(|row| row.mount.as_ref().is_some_and(|mount| **mount == "/"));
    match root {
        Some(row) if !matches!(*row.format, Format::Ext4 | Format::Xfs) => {
            let message = format!("{} cannot be the root file system", row.format.word());
            faults.push(Fault::new(row.format.span.clone(), message).hint("use ext4 or xfs"));
        }
        Some(_) => {}
        None => {
            let fault = Fault::new(config.size.span.clone(), "no filesystem is mounted at /");
            faults.push(fault.hint("write `mount = \"/\"` at one").of_absence(["mount"]));
        }
    }
    faults
}
