//! Whether the disk that an installer left is the one that was asked for. It is read back as any
//! image of others is: an installer that passes over a part of its recipe says nothing of it.

use std::path::Path;

use crate::disk::config::{Config, Content, Table};
use crate::disk::layout::{Filesystem, Layout, Role};
use crate::error::{Context, Hint, Result, anyhow};
use crate::import::{self, DiskReport, Location, OtherFiles, Part};
use crate::pipeline::Size;
use crate::units::Bytes;

/// How far a partition may be off: alignment, and sizes in megabytes.
const SLACK: Bytes = Bytes::mib(2);
/// How far what takes the rest may be off: the sum of what the others are.
const SLACK_OF_REST: Bytes = Bytes::mib(64);

/// What the disk is, as far as others ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// What `root=` names.
    pub root: String,
    /// The UUID of the root's file system.
    pub root_uuid: String,
    /// A line for each part, for a log.
    pub lines: Vec<String>,
}

/// Reads the raw image `disk` and compares it with what was asked for.
pub fn check(disk: &Path, config: &Config, layout: &Layout) -> Result<Installed> {
    let image = import::open(disk, OtherFiles::Refused).context("reading the installed disk")?;
    let survey = import::inspect(&image).context("reading the installed disk")?;
    let found = differences(&survey, config, layout);
    if !found.is_empty() {
        let text = found.iter().map(|line| format!("\n  {line}")).collect::<String>();
        let lines = lines(&survey).into_iter().map(|line| format!("\n  | {line}"));
        let lines = lines.collect::<String>();
        return Err(anyhow!("the installer made another disk than was asked for:{text}{lines}"))
            .hint("installers pass over what they do not understand; the log has their own words");
    }
    let root = survey.parts.iter().find(|part| part.mounted.as_deref() == Some("/"));
    let root = root.context("finding the installed root")?;
    let root_uuid = root.uuid.clone().unwrap_or_default();
    let device = match layout.mounted("/") {
        Some(filesystem) if filesystem.group.is_some() => filesystem.device(),
        _ => format!("UUID={root_uuid}"),
    };
    Ok(Installed { root: device, root_uuid, lines: lines(&survey) })
}

/// The parts of a disk, for people.
fn lines(survey: &DiskReport) -> Vec<String> {
    let shown = |part: &Part| {
        let size = part.size.map_or(String::new(), |size| format!(", {size}"));
        let mounted = part.mounted.as_ref().map_or(String::new(), |at| format!(", on {at}"));
        format!("{}: {}{size}{mounted}", part.place, part.holds)
    };
    survey.parts.iter().map(shown).collect()
}

/// What a filesystem of the plan is, in the order of the plan.
struct Wanted<'a> {
    filesystem: &'a Filesystem,
    is_rest: bool,
}

/// Everything that is not as it was asked for.
pub fn differences(survey: &DiskReport, config: &Config, layout: &Layout) -> Vec<String> {
    let mut found = Vec::new();
    let table = match layout.table {
        Table::Gpt => "GPT",
        Table::Mbr => "MBR",
    };
    if survey.table != Some(table) {
        let has = survey.table.unwrap_or("no table of partitions");
        found.push(format!("the disk has {has}, not {table}"));
    }
    if let Some(why) = &survey.no_system {
        found.push(why.clone());
    }
    let mut known: Vec<&Location> = Vec::new();
    for wanted in wanted(config, layout) {
        let part = find(survey, &wanted);
        match part {
            Some(part) => {
                known.push(&part.place);
                found.extend(unlike(part, &wanted));
            }
            None => found.push(format!("{} is not there", shown(wanted.filesystem))),
        }
    }
    // What nobody asked for: what else is mounted, and other volumes.
    for part in &survey.parts {
        let is_volume = matches!(part.place, Location::Logical(..));
        if !known.contains(&&part.place) && (part.mounted.is_some() || is_volume) {
            let on = part.mounted.as_ref().map_or(String::new(), |at| format!(", on {at}"));
            found.push(format!("nobody asked for {} ({}{on})", part.place, part.holds));
        }
    }
    found
}

fn wanted<'a>(config: &Config, layout: &'a Layout) -> Vec<Wanted<'a>> {
    let is_rest = |filesystem: &Filesystem| match &filesystem.group {
        Some(_) => config
            .volumes
            .iter()
            .any(|row| *row.name == filesystem.name && row.size.value == Size::Rest),
        None => config.partitions.iter().any(|row| {
            matches!(row.content, Content::Filesystem(_))
                && *row.name == filesystem.name
                && row.size.value == Size::Rest
        }),
    };
    let all = layout.filesystems.iter();
    all.map(|filesystem| Wanted { filesystem, is_rest: is_rest(filesystem) }).collect()
}

/// The part that should be this filesystem: by where it is mounted, else by its place.
fn find<'s>(survey: &'s DiskReport, wanted: &Wanted<'_>) -> Option<&'s Part> {
    let filesystem = wanted.filesystem;
    if filesystem.mount.is_some() {
        return survey.parts.iter().find(|part| part.mounted == filesystem.mount);
    }
    survey.parts.iter().find(|part| match (&part.place, &filesystem.group) {
        (Location::Logical(group, name), Some(wanted)) => {
            group == wanted && *name == filesystem.name
        }
        (Location::Partition(_), None) => {
            part.mounted.is_none()
                && part.holds == filesystem.format.word()
                && part.size.is_some_and(|size| apart(size, filesystem.size) <= slack(wanted))
        }
        _ => false,
    })
}

fn unlike(part: &Part, wanted: &Wanted<'_>) -> Vec<String> {
    let filesystem = wanted.filesystem;
    let what = shown(filesystem);
    let mut found = Vec::new();
    let in_place = match (&part.place, &filesystem.group) {
        (Location::Logical(group, name), Some(wanted)) => {
            group == wanted && *name == filesystem.name
        }
        (Location::Partition(_), None) => true,
        _ => false,
    };
    if !in_place {
        found.push(format!("{what} is {}", part.place));
    }
    if part.holds != filesystem.format.word() {
        found.push(format!("{what} is {}, not {}", part.holds, filesystem.format.word()));
    }
    if let Some(fault) = &part.fault {
        found.push(format!("{what} cannot be read: {fault}"));
    }
    match part.size {
        Some(size) if apart(size, filesystem.size) > slack(wanted) => {
            let rest = if wanted.is_rest { "about " } else { "" };
            found.push(format!("{what} has {size}, not {rest}{}", filesystem.size));
        }
        _ => {}
    }
    found
}

fn shown(filesystem: &Filesystem) -> String {
    let place = match &filesystem.group {
        Some(group) => format!("the volume {group}/{}", filesystem.name),
        None => format!("the partition {}", filesystem.name),
    };
    match &filesystem.mount {
        Some(mount) => format!("{place} on {mount}"),
        None => place,
    }
}

fn apart(one: Bytes, other: Bytes) -> Bytes {
    Bytes(one.0.abs_diff(other.0))
}

/// Volumes are exact.
fn slack(wanted: &Wanted<'_>) -> Bytes {
    match (&wanted.filesystem.group, wanted.is_rest) {
        (_, true) => SLACK_OF_REST,
        (Some(_), false) => Bytes(0),
        (None, false) => SLACK,
    }
}

/// Whether a layout has a part that an installer could not be told of.
pub fn cannot_be_told(layout: &Layout) -> Option<String> {
    let nothing_in_it = layout.partitions.iter().find(|partition| {
        matches!(partition.role, Role::Linux)
            && !layout
                .filesystems
                .iter()
                .any(|fs| fs.group.is_none() && fs.offset == partition.offset)
    });
    nothing_in_it.map(|partition| format!("the partition `{}` holds nothing", partition.name))
}
