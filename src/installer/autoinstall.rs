//! Answers as an autoinstall file of subiquity, Ubuntu's live server installer, on the disk that
//! cloud-init looks for. The storage is told partition by partition, in curtin's words, so nothing is
//! left to its guided layouts. JSON is YAML too, and has one way of quoting.
//!
//! Source: Ubuntu's autoinstall reference; curtin's storage configuration, version 1.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use crate::disk::config::{Content, Firmware, Format, Table};
use crate::disk::layout::{Filesystem, Role};
use crate::error::Result;
use crate::format::iso9660::{File, Volume};
use crate::pipeline::Size;
use crate::units::Bytes;

use super::answers::{Answers, FAILED, INSTALLED, only_for_preseed, say};
use super::serial_lines;

/// The disk in curtin's words.
const DISK: &str = "disk";

/// The user-data with everything that subiquity asks.
pub fn text(answers: &Answers) -> Result<String> {
    only_for_preseed(answers)?;
    let (serial, _) = serial_lines(&answers.architecture);
    let script = BASE64_STANDARD.encode(format!("set -e\n{}", answers.script).as_bytes());
    let inside = "/root/kuth-inside";
    let mut autoinstall = json!({
        "version": 1,
        "locale": answers.locale,
        "keyboard": { "layout": "us" },
        "timezone": answers.timezone,
        "refresh-installer": { "update": false },
        "source": { "search_drivers": false },
        // Users are made by the script, so subiquity asks for none.
        "user-data": { "hostname": answers.hostname, "users": [] },
        "ssh": { "install-server": false },
        "packages": answers.packages,
        "updates": "security",
        "shutdown": "poweroff",
        "storage": { "swap": { "size": 0 }, "config": storage(answers) },
        "late-commands": [
            ["sh", "-c", format!("echo {script} | base64 -d >/target{inside}")],
            ["curtin", "in-target", "--target=/target", "--", "sh", inside],
            ["rm", format!("/target{inside}")],
            ["sh", "-c", format!("sync; {}", say(INSTALLED, serial))],
        ],
        "error-commands": [
            ["sh", "-c", format!(
                "tail -n 12 /var/log/installer/curtin-install.log >/dev/{serial}; {}; sleep 5; \
                 poweroff -f",
                say(FAILED, serial)
            )],
        ],
    });
    match &answers.mirror {
        Some(mirror) => {
            let address = mirror.address();
            autoinstall["apt"] = json!({
                "mirror-selection": { "primary": [{ "uri": address }] },
                "geoip": false,
            });
        }
        // What the medium has not cannot be had, and waiting for it changes nothing.
        None => autoinstall["apt"] = json!({ "fallback": "offline-install", "geoip": false }),
    }
    let document = json!({ "autoinstall": autoinstall });
    Ok(format!("#cloud-config\n{}\n", serde_json::to_string_pretty(&document)?))
}

/// The disk with the answers, by the label that cloud-init looks for.
pub fn seed(answers: &Answers, epoch: u64) -> Result<Vec<u8>> {
    let file = |path: &str, text: String| File { path: path.into(), bytes: text.into_bytes() };
    let files = vec![
        file("meta-data", "instance-id: kuth-install\n".into()),
        file("user-data", text(answers)?),
    ];
    Ok(Volume { label: "CIDATA".into(), time: epoch, files }.write()?)
}

/// The kernel's arguments.
pub fn arguments(architecture: &str) -> String {
    let (serial, _) = serial_lines(architecture);
    // A live medium's init passes what is behind `---` on to the installed system.
    format!("autoinstall ds=nocloud console={serial},115200n8 ---")
}

/// The disk, its partitions, the group and its volumes, file systems and mounts, in an order in
/// which each knows what it stands on.
fn storage(answers: &Answers) -> Vec<Value> {
    let Answers { layout, config, .. } = answers;
    let is_bios = layout.firmware.contains(&Firmware::Bios);
    let mut actions = vec![json!({
        "id": DISK,
        "type": "disk",
        "match": { "size": "largest" },
        "ptable": match layout.table { Table::Gpt => "gpt", Table::Mbr => "msdos" },
        "wipe": "superblock-recursive",
        "preserve": false,
        "grub_device": is_bios,
    })];
    let automatic = layout.partitions.len() - config.partitions.len();
    for (index, partition) in layout.partitions.iter().enumerate() {
        let row = index.checked_sub(automatic).and_then(|index| config.partitions.get(index));
        let is_rest = row.is_some_and(|row| row.size.value == Size::Rest);
        let mut action = json!({
            "id": format!("partition-{}", partition.name),
            "type": "partition",
            "device": DISK,
            "number": index + 1,
            "size": size(partition.size, is_rest),
            "wipe": "superblock",
            "preserve": false,
        });
        match partition.role {
            Role::BiosBoot => action["flag"] = json!("bios_grub"),
            Role::Esp => {
                action["flag"] = json!("boot");
                action["grub_device"] = json!(!is_bios);
            }
            Role::Swap => action["flag"] = json!("swap"),
            Role::Linux | Role::Lvm => {}
        }
        actions.push(action);
    }
    let group = config.partitions.iter().find_map(|row| match &row.content {
        Content::Lvm(name) => Some((name.as_str(), row.name.as_str())),
        Content::Filesystem(_) => None,
    });
    if let Some((group, partition)) = group {
        actions.push(json!({
            "id": "group",
            "type": "lvm_volgroup",
            "name": group,
            "devices": [format!("partition-{partition}")],
            "preserve": false,
        }));
        let filesystems = layout.filesystems.iter().filter(|fs| fs.group.is_some());
        for (row, volume) in config.volumes.iter().zip(filesystems) {
            actions.push(json!({
                "id": format!("volume-{}", volume.name),
                "type": "lvm_partition",
                "volgroup": "group",
                "name": volume.name,
                "size": size(volume.size, row.size.value == Size::Rest),
                "wipe": "superblock",
                "preserve": false,
            }));
        }
    }
    layout.filesystems.iter().for_each(|filesystem| actions.push(format(filesystem)));
    // What lies in another is mounted behind it.
    let mut mounts: Vec<_> = layout.filesystems.iter().collect();
    mounts.sort_by_key(|filesystem| filesystem.mount.clone());
    actions.extend(mounts.into_iter().filter_map(mount));
    actions
}

/// A size in MiB, of which everything here is whole ones; -1 is the rest.
fn size(size: Bytes, is_rest: bool) -> Value {
    match is_rest {
        true => json!(-1),
        false => json!(format!("{}M", size.0 / Bytes::MIB.0)),
    }
}

fn volume_of(filesystem: &Filesystem) -> String {
    match &filesystem.group {
        Some(_) => format!("volume-{}", filesystem.name),
        None => format!("partition-{}", filesystem.name),
    }
}

fn format(filesystem: &Filesystem) -> Value {
    let kind = match filesystem.format {
        Format::Vfat => "fat32",
        other => other.word(),
    };
    let volume = volume_of(filesystem);
    let id = format!("format-{volume}");
    let mut action = json!({
        "id": id, "type": "format", "volume": volume, "fstype": kind, "preserve": false,
    });
    if !filesystem.label.is_empty() {
        action["label"] = json!(filesystem.label);
    }
    action
}

fn mount(filesystem: &Filesystem) -> Option<Value> {
    let volume = volume_of(filesystem);
    let path = match (&filesystem.mount, filesystem.format) {
        (Some(mount), _) => mount.as_str(),
        // A swap area is in the table of mounts as well.
        (None, Format::Swap) => "",
        (None, _) => return None,
    };
    let (id, device) = (format!("mount-{volume}"), format!("format-{volume}"));
    Some(json!({ "id": id, "type": "mount", "device": device, "path": path }))
}
