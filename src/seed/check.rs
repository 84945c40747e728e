//! What is wrong with the files of a seed, as far as that shows before a boot: cloud-init skips a
//! file with a wrong first line, and a key it does not know, without a word on the console.
//!
//! The values of most modules are theirs to judge: `cloud-init schema` knows them all.

use std::collections::BTreeSet;

use super::fill::card;
use super::{SeedFault, Template, config, secret};
use crate::format::yaml::{self, Broken, Data, Node};
use crate::hardware::Nic;
use crate::pipeline::suggest;

/// cloud-init refuses what is larger over most transports, and so do we.
const LARGEST: usize = 64 << 10;

/// First lines (or their beginnings) that cloud-init takes.
const HEADERS: &[&str] = &[
    "#cloud-config",
    "#!",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "## template: jinja",
    "Content-Type:",
    "MIME-Version:",
];

/// The words of placeholders besides `MAC1` and `SECRET:name`.
const PLACEHOLDERS: &[&str] = &["HOSTNAME", "UUID", "SSH-PUB-KEY"];

/// The keys at the top of netplan's version 2.
const NETWORK_KEYS: &[&str] = &[
    "bonds",
    "bridges",
    "dummy-devices",
    "ethernets",
    "modems",
    "nm-devices",
    "openvswitch",
    "renderer",
    "tunnels",
    "version",
    "virtual-ethernets",
    "vlans",
    "vrfs",
    "wifis",
];

/// Every fault of a user-data file that was filled in.
pub fn user_data(text: &str) -> Vec<SeedFault> {
    let mut faults = Vec::new();
    if text.len() > LARGEST {
        let message = format!("user-data of {} bytes is larger than 64 KiB", text.len());
        faults.push(SeedFault::new(0, message, Some("move files into the image".into())));
    }
    let first = text.lines().next().unwrap_or_default();
    if !HEADERS.iter().any(|header| first.starts_with(header)) {
        let message = "the first line says not what this is, so cloud-init would skip it";
        let hint = match text.lines().any(|line| line.trim_end() == "#cloud-config") {
            true => "`#cloud-config` must be the very first line, without a space before it",
            false => "begin with the line `#cloud-config`, or with `#!` for a script",
        };
        faults.push(SeedFault::new(1, message, Some(hint.into())));
    }
    // What jinja has not filled in yet is not YAML.
    if first.trim_end() == "#cloud-config"
        && let Some(root) = mapping(text, "a #cloud-config", &mut faults)
    {
        config::check(&root, &mut faults);
    }
    faults
}

/// Every fault of a meta-data file that was filled in, with `id` for the instance.
pub fn meta_data(text: &str, id: &str) -> Vec<SeedFault> {
    let mut faults = Vec::new();
    let Some(root) = mapping(text, "meta-data", &mut faults) else { return faults };
    let hint = "write `instance-id: #UUID#`: that changes when the seed does";
    match root.get("instance-id") {
        None => faults.push(SeedFault::of(&root, "there is no `instance-id`").hint(hint)),
        Some(found) if found.text().is_some_and(|found| found.contains(id)) => {}
        Some(found) => {
            let message = "an `instance-id` of one's own: cloud-init would not see a changed seed";
            faults.push(SeedFault::of(found, message).hint(hint));
        }
    }
    faults
}

/// Every fault of a network-config file that was filled in, for a machine with these cards.
pub fn network_config(text: &str, nics: &[Nic]) -> Vec<SeedFault> {
    let mut faults = Vec::new();
    let Some(root) = mapping(text, "network-config", &mut faults) else { return faults };
    addresses_as_numbers(&root, &mut faults);
    let root = root.get("network").unwrap_or(&root);
    // The one thing without a version: cloud-init leaves the network to the image.
    if root.get("config").and_then(Node::text) == Some("disabled") {
        return faults;
    }
    let version = root.get("version");
    match version.and_then(Node::text) {
        Some("1") => version_1(root, nics, &mut faults),
        Some("2") => version_2(root, nics, &mut faults),
        _ => {
            let message = "`version` is neither 1 nor 2";
            let fault = SeedFault::of(version.unwrap_or(root), message);
            faults.push(fault.hint("begin with `version: 2`"));
        }
    }
    faults
}

/// Version 1: a list of devices, of which those of the type `physical` are found by their addresses.
/// What bonds, bridges and others have is an address to give them.
fn version_1(root: &Node, nics: &[Nic], faults: &mut Vec<SeedFault>) {
    for device in root.get("config").map(Node::elements).unwrap_or_default() {
        if device.get("type").and_then(Node::text) == Some("physical")
            && let Some(address) = device.get("mac_address")
        {
            faults.extend(foreign(address, nics));
        }
    }
}

fn version_2(root: &Node, nics: &[Nic], faults: &mut Vec<SeedFault>) {
    for (key, _) in root.pairs() {
        let word = key.text().unwrap_or_default();
        if !NETWORK_KEYS.contains(&word) {
            let hint = suggest::hint(word, NETWORK_KEYS, "netplan's are");
            let message = format!("network-config has no key `{word}`");
            faults.push(SeedFault { hint, ..SeedFault::of(key, message) });
        }
    }
    for (_, card) in root.get("ethernets").map(Node::pairs).unwrap_or_default() {
        if let Some(address) = card.get("match").and_then(|it| it.get("macaddress")) {
            faults.extend(foreign(address, nics));
        }
    }
}

/// The fault of an address by which a card is looked for, and which none of the machine's has.
fn foreign(address: &Node, nics: &[Nic]) -> Option<SeedFault> {
    let text = address.text()?;
    if nics.iter().any(|nic| nic.mac.to_string() == text.to_lowercase()) {
        return None;
    }
    let message = format!("`{text}` is the address of no card of this machine");
    Some(SeedFault::of(address, message).hint("write `\"#MAC1#\"`, `\"#MAC2#\"` ..."))
}

/// Addresses of cards that PyYAML, cloud-init's reader, takes for a number to the base of 60: digits
/// alone, without quotes.
fn addresses_as_numbers(node: &Node, faults: &mut Vec<SeedFault>) {
    for (key, value) in node.pairs() {
        let is_address = matches!(key.text(), Some("macaddress" | "mac_address"));
        if let Data::Scalar { text, plain: true } = &value.data
            && is_address
            && yaml::is_sexagesimal(text)
        {
            let message = format!("`{text}` is read as a number");
            faults.push(SeedFault::of(value, message).hint("write the address in quotes"));
        }
        addresses_as_numbers(value, faults);
    }
    node.elements().iter().for_each(|element| addresses_as_numbers(element, faults));
}

/// The mapping that a file is; an empty one where there is nothing in it.
fn mapping(text: &str, what: &str, faults: &mut Vec<SeedFault>) -> Option<Node> {
    match yaml::read(text) {
        Err(broken) => faults.push(not_yaml(text, broken)),
        Ok(None) => {
            return Some(Node { place: Default::default(), data: Data::Mapping(Vec::new()) });
        }
        Ok(Some(root)) => {
            twice(&root, faults);
            if let Data::Mapping(_) = root.data {
                return Some(root);
            }
            let message = format!("{what} is keys with values; this is {}", root.describe());
            let close = colon(text, root.place.line);
            faults.push(close.unwrap_or_else(|| SeedFault::of(&root, message)));
        }
    }
    None
}

/// A plainer word for what the parser says, where one is at hand.
fn not_yaml(text: &str, broken: Broken) -> SeedFault {
    let Broken { place, why } = broken;
    let line = text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
    let indentation = &line[..line.len() - line.trim_start().len()];
    if let Some(column) = indentation.find('\t') {
        let message = "a tab in the indentation, which YAML does not take".to_string();
        let place = yaml::Place { columns: column..column + 1, ..place };
        return SeedFault { place, message, hint: Some("indent with spaces".into()) };
    }
    // What is missing is often found out on the next line.
    let before = (0..2).find_map(|back| colon(text, place.line.checked_sub(back)?));
    before.unwrap_or_else(|| SeedFault {
        place,
        message: format!("this is not YAML: {why}"),
        hint: None,
    })
}

/// The fault of a line that has no space behind the colon of its key.
fn colon(text: &str, line: usize) -> Option<SeedFault> {
    let code = text.lines().nth(line.checked_sub(1)?)?.trim().trim_start_matches("- ").trim();
    let (key, value) = code.split_once(':')?;
    let word = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if key.is_empty() || !key.chars().all(word) || value.is_empty() || value.starts_with([' ', '/'])
    {
        return None;
    }
    let hint = format!("write `{key}: {value}`");
    Some(SeedFault::new(line, format!("no space after `{key}:`"), Some(hint)))
}

/// Keys that come again in their mapping, wherever that is.
fn twice(node: &Node, faults: &mut Vec<SeedFault>) {
    let mut keys = BTreeSet::new();
    for (key, value) in node.pairs() {
        if let Some(text) = key.text().filter(|text| *text != "<<")
            && !keys.insert(text)
        {
            let message = format!("`{text}` is there twice; the second wins");
            faults.push(SeedFault::of(key, message));
        }
        twice(value, faults);
    }
    node.elements().iter().for_each(|element| twice(element, faults));
}

/// The placeholders of `text`, the file called `file`, that `template` cannot fill in.
pub fn placeholders(file: &str, text: &str, template: &Template) -> Vec<SeedFault> {
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for name in secret::asked(line).filter(|name| !secret::is_legal(name)) {
            let hint = "write `#SECRET:name#`, in lower-case letters, digits, `-`, `_` and `.`";
            let message = format!("`{name}` cannot be the name of a secret");
            faults.push(SeedFault::new(index + 1, message, Some(hint.into())));
        }
        for word in line.split('#').skip(1) {
            let capitals =
                |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "-_".contains(c);
            if !line.contains(&format!("#{word}#")) || !word.chars().all(capitals) {
                continue;
            }
            let cards = template.nics.len();
            let (message, hint) = match card(word) {
                Some(number) if (1..=cards).contains(&number) => continue,
                Some(_) => (
                    format!("`#{word}#` names a card, but `{}` has {cards}", template.hostname),
                    None,
                ),
                None if word == "UUID" && file == "network-config" => {
                    (format!("`#{word}#` is not known in {file}"), None)
                }
                None if PLACEHOLDERS.contains(&word) => continue,
                None => match suggest::nearest(word, PLACEHOLDERS.iter().copied()) {
                    Some(near) => (
                        format!("`#{word}#` is not a placeholder"),
                        Some(format!("did you mean `#{near}#`?")),
                    ),
                    None => continue,
                },
            };
            faults.push(SeedFault::new(index + 1, message, hint));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<String> {
        user_data(text).iter().map(SeedFault::to_string).collect()
    }

    #[test]
    fn sound_files_have_no_faults() {
        let sound = "#cloud-config\n# comment\n---\npackages: [a]\nwrite_files:\n- path: /x\n  \
                     content: |\n    hostnam: x\n    \tindented by a tab\n\n    more\nruncmd:\n  - x\n";
        for text in [sound, "#!/bin/sh\nx\n", "#include\nx:y\n", "#cloud-config\r\npackages:\r\n"] {
            assert_eq!(said(text), [] as [String; 0], "{text}");
        }
    }

    #[test]
    fn what_cloud_init_skips_in_silence_is_reported() {
        let begin = "(begin with the line `#cloud-config`, or with `#!` for a script)";
        let skip = "1: the first line says not what this is, so cloud-init would skip it";
        for (text, expected) in [
            ("packages: [a]\n", vec![format!("{skip} {begin}")]),
            ("", vec![format!("{skip} {begin}")]),
            (
                "\n#cloud-config\n",
                vec![format!(
                    "{skip} (`#cloud-config` must be the very first line, without a space before it)"
                )],
            ),
            (
                "#cloud-config\nhostnam: a\n",
                vec!["2: cloud-init knows no key `hostnam` (did you mean `hostname`?)".into()],
            ),
            (
                "#cloud-config\nusers:\n\t- name: a\n",
                vec![
                    "3: a tab in the indentation, which YAML does not take (indent with spaces)"
                        .into(),
                ],
            ),
            (
                "#cloud-config\nzzz\n",
                vec!["2: a #cloud-config is keys with values; this is text".into()],
            ),
            ("#cloud-config\nfqdn:a\n", vec!["2: no space after `fqdn:` (write `fqdn: a`)".into()]),
            (
                "#cloud-config\nruncmd: [a]\nruncmd: [b]\n",
                vec!["3: `runcmd` is there twice; the second wins".into()],
            ),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
    }

    #[test]
    fn too_large_is_reported() {
        let text = format!("#cloud-config\n#{}\n", "x".repeat(LARGEST));
        assert!(said(&text)[0].contains("larger than 64 KiB"));
    }
}
