//! The files that `kuth create-image` sets a clone up from: its network cards, further disks, and
//! processors and memory, in VirtualBox's own words. Text goes in, values or faults with their
//! lines come out.
//!
//! ```yaml
//! interfaces:
//!   nic1: {id: 1, type: nat}
//!   nic2: {id: 2, type: intnet, name: dmz}
//!   nic3: {id: 3, type: hostonly, adapter: vboxnet0}
//! ```
//! ```yaml
//! storages:
//!   storage1: {id: 1, size: 512000, format: VDI, variant: Standard}
//! ```
//! ```yaml
//! resources: {processors: 1, memory: 512}
//! ```
//!
//! The outer key may be left out, and so may `id`, which is the number in the name then.

use crate::units::Bytes;

use crate::hardware::Network;
use yaml::{At, Faults, Mapping, fault};

mod yaml;

/// The most cards a machine of any driver has.
const MOST_CARDS: u64 = 8;
/// The ports of a SATA controller that the first disk leaves.
const MOST_DISKS: u64 = 29;
/// Two tebibytes in MiB: what the smallest of the formats holds.
const LARGEST: u64 = 2 << 20;

/// How a further disk is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// VirtualBox's.
    Vdi,
    /// VMware's.
    Vmdk,
    /// Virtual PC's.
    Vhd,
}

/// How much of a further disk is there from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// What was written to it.
    Standard,
    /// All of it.
    Fixed,
}

/// A further disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Its size.
    pub size: Bytes,
    /// How it is kept.
    pub format: Format,
    /// What of it is there.
    pub variant: Variant,
}

/// What a machine may have otherwise than the one it is a clone of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Processors.
    pub processors: Option<u32>,
    /// Memory in MiB.
    pub memory: Option<u64>,
}

#[derive(Clone, Copy)]
enum Kind {
    Nat,
    Internal,
    HostOnly,
    Bridged,
    NatNetwork,
}

const KINDS: [(&str, Kind); 5] = [
    ("nat", Kind::Nat),
    ("intnet", Kind::Internal),
    ("hostonly", Kind::HostOnly),
    ("bridged", Kind::Bridged),
    ("natnetwork", Kind::NatNetwork),
];

/// The networks of the cards, in their order.
pub fn interfaces(text: &str) -> Result<Vec<Network>, Faults> {
    numbered(text, "interfaces", "nic", MOST_CARDS, interface)
}

fn interface(row: &mut Mapping<'_>, faults: &mut Faults) -> Option<Network> {
    let kind = row.choice("type", &KINDS, faults);
    row.require("type", faults);
    let name = row.text("name", faults);
    let adapter = row.text("adapter", faults);
    if let (Some(_), Some(second)) = (&name, &adapter) {
        let message = format!("`{}` has both `name` and `adapter`", row.name);
        faults.push(fault(second.line, message, None));
    }
    let At { line, value: kind } = kind?;
    let (word, key, example) = match kind {
        Kind::Nat => ("nat", None, ""),
        Kind::HostOnly => ("host-only", None, ""),
        Kind::Internal => ("internal", Some("name"), "as in `name: dmz`"),
        Kind::NatNetwork => ("nat-network", Some("name"), "as in `name: lab`"),
        Kind::Bridged => ("bridged", Some("adapter"), "as in `adapter: eth0`"),
    };
    match (name.or(adapter), key) {
        (None, Some(key)) => {
            let message = format!("`{}` has no `{key}`", row.name);
            faults.push(fault(line, message, Some(example.to_string())));
            None
        }
        (None, None) => word.parse().ok(),
        // The name of the one NAT there is says nothing.
        (Some(_), _) if matches!(kind, Kind::Nat) => Some(Network::Nat),
        (Some(name), _) => {
            let network = format!("{word}:{}", name.value).parse();
            if network.is_err() {
                let message = format!("`{}` cannot be the name of a network", name.value);
                let hint = "use letters, digits, `-` and `_`".to_string();
                faults.push(fault(name.line, message, Some(hint)));
            }
            network.ok()
        }
    }
}

/// The further disks, in their order.
pub fn storages(text: &str) -> Result<Vec<Storage>, Faults> {
    numbered(text, "storages", "storage", MOST_DISKS, storage)
}

fn storage(row: &mut Mapping<'_>, faults: &mut Faults) -> Option<Storage> {
    let formats = [("VDI", Format::Vdi), ("VMDK", Format::Vmdk), ("VHD", Format::Vhd)];
    let variants = [("Standard", Variant::Standard), ("Fixed", Variant::Fixed)];
    let size = row.number("size", 1..=LARGEST, faults);
    row.require("size", faults);
    let format = row.choice("format", &formats, faults).map_or(Format::Vdi, |it| it.value);
    let variant = row.choice("variant", &variants, faults);
    let variant = variant.map_or(Variant::Standard, |it| it.value);
    Some(Storage { size: Bytes::mib(size?.value), format, variant })
}

/// Processors and memory.
pub fn resources(text: &str) -> Result<Resources, Faults> {
    let document = yaml::parse(text)?;
    let mut faults = Faults::new();
    let mut found = Resources::default();
    if let Some(mut top) = yaml::top(document.as_ref(), "resources", &mut faults) {
        let processors = top.number("processors", 1..=256, &mut faults);
        found.processors = processors.and_then(|it| u32::try_from(it.value).ok());
        found.memory = top.number("memory", 64..=2 << 20, &mut faults).map(|it| it.value);
        top.finish(&mut faults);
    }
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

/// The rows `PREFIX1`, `PREFIX2` ... of a file by their numbers, which have no gaps: a gap would
/// move what comes after it.
fn numbered<T>(
    text: &str,
    outer: &str,
    prefix: &str,
    most: u64,
    read: impl Fn(&mut Mapping<'_>, &mut Faults) -> Option<T>,
) -> Result<Vec<T>, Faults> {
    let document = yaml::parse(text)?;
    let mut faults = Faults::new();
    let top = yaml::top(document.as_ref(), outer, &mut faults);
    let mut rows: Vec<(At<u64>, T)> = Vec::new();
    let mut taken = Vec::new();
    for (name, node) in top.map(Mapping::into_entries).unwrap_or_default() {
        let Some(mut row) = yaml::mapping(&name.value, node, &mut faults) else { continue };
        let id = row.number("id", 1..=most, &mut faults);
        let in_name = name.value.strip_prefix(prefix).and_then(|number| number.parse().ok());
        let in_name = in_name.filter(|number| (1..=most).contains(number));
        if in_name.is_none() && !(id.is_some() && name.value.starts_with(prefix)) {
            let hint = format!("write `{prefix}1`, `{prefix}2` ... up to `{prefix}{most}`");
            let message = format!("`{}` is not an entry of `{outer}`", name.value);
            faults.push(fault(name.line, message, Some(hint)));
            continue;
        }
        let id = id.map_or(in_name, |id| Some(id.value));
        let value = read(&mut row, &mut faults);
        row.finish(&mut faults);
        let Some(id) = id else { continue };
        if taken.contains(&id) {
            faults.push(fault(name.line, format!("two entries have the number {id}"), None));
        }
        taken.push(id);
        rows.extend(value.map(|value| (At { line: name.line, value: id }, value)));
    }
    rows.sort_by_key(|(id, _)| id.value);
    if faults.is_empty() {
        let gap = (1..).zip(&rows).find(|(expected, (id, _))| id.value != *expected);
        if let Some((expected, (id, _))) = gap {
            let message =
                format!("number {} comes here, but there is no number {expected}", id.value);
            let hint = "number the entries from 1, without gaps".to_string();
            faults.push(fault(id.line, message, Some(hint)));
        }
    }
    match faults.is_empty() {
        true => Ok(rows.into_iter().map(|(_, value)| value).collect()),
        false => Err(faults),
    }
}

#[cfg(test)]
mod tests;
