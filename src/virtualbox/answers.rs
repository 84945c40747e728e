//! Reads what VBoxManage answers: `showvminfo --machinereadable` and the two lists it has no such
//! form for. Text in, values out.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::host_network::{Adapter, Cidr};
use crate::units::Bytes;

/// What `showvminfo --machinereadable` says of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info(BTreeMap<String, String>);

/// A controller of disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// A free text: whoever made the machine chose it.
    pub name: String,
    /// `IntelAhci`, `PIIX4` ...
    pub kind: String,
    /// How many ports it has now.
    pub ports: u32,
    /// How many it can have.
    pub most_ports: u32,
    /// What is in which port and device.
    pub attached: BTreeMap<(u32, u32), PathBuf>,
}

impl Controller {
    /// An SATA controller of one port, as it is when it was just made.
    pub fn sata(name: &str) -> Controller {
        let (kind, attached) = ("IntelAhci".to_string(), BTreeMap::new());
        Controller { name: name.to_string(), kind, ports: 1, most_ports: 30, attached }
    }

    /// Whether it is SATA: one device a port, ports to add.
    pub fn is_sata(&self) -> bool {
        self.kind == "IntelAhci"
    }

    /// Whether it is IDE: two ports of two devices.
    pub fn is_ide(&self) -> bool {
        matches!(self.kind.as_str(), "PIIX3" | "PIIX4" | "ICH6")
    }

    /// The first free place.
    pub fn free(&self) -> Option<(u32, u32)> {
        let devices = if self.is_ide() { 2 } else { 1 };
        let places = (0..self.most_ports).flat_map(|port| (0..devices).map(move |it| (port, it)));
        places.into_iter().find(|place| !self.attached.contains_key(place))
    }
}

impl Info {
    /// Reads the answer. Lines that are not `name=value` are of no use here.
    pub fn parse(text: &str) -> Info {
        let mut values = BTreeMap::new();
        for line in text.lines() {
            // A name with other than letters and digits is quoted; it may have a `=`.
            let (name, value) = match line.strip_prefix('"').and_then(|rest| rest.split_once("\"="))
            {
                Some(split) => split,
                None => match line.split_once('=') {
                    Some(split) => split,
                    None => continue,
                },
            };
            let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            let value = bare.unwrap_or(value);
            values.insert(name.to_string(), value.to_string());
        }
        Info(values)
    }

    /// A value by its name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A number by its name.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// `poweroff`, `running` ...
    pub fn state(&self) -> &str {
        self.get("VMState").unwrap_or_default()
    }

    /// Whether a process runs the machine.
    pub fn is_running(&self) -> bool {
        matches!(self.state(), "running" | "paused" | "starting" | "stopping" | "stuck")
    }

    /// Whether a machine that ran does so no longer.
    pub fn has_ended(&self) -> bool {
        matches!(self.state(), "poweroff" | "aborted" | "saved")
    }

    /// When the state last changed, in seconds: VirtualBox forgets the rest when it restarts.
    pub fn state_change(&self) -> &str {
        let time = self.get("VMStateChangeTime").unwrap_or_default();
        time.split('.').next().unwrap_or_default()
    }

    /// The file of its settings.
    pub fn settings(&self) -> PathBuf {
        self.get("CfgFile").unwrap_or_default().into()
    }

    /// The directory of those.
    pub fn directory(&self) -> PathBuf {
        self.settings().parent().map(PathBuf::from).unwrap_or_default()
    }

    /// Its controllers of disks, in order.
    pub fn controllers(&self) -> Vec<Controller> {
        let mut controllers = Vec::new();
        for index in 0.. {
            let Some(name) = self.get(&format!("storagecontrollername{index}")) else { break };
            let number = |what: &str| self.number(&format!("storagecontroller{what}{index}"));
            let kind = self.get(&format!("storagecontrollertype{index}")).unwrap_or_default();
            let mut attached = BTreeMap::new();
            for (key, value) in &self.0 {
                let place = key.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
                if let Some(place) = place.and_then(place_of)
                    && value != "none"
                {
                    attached.insert(place, PathBuf::from(value));
                }
            }
            controllers.push(Controller {
                name: name.to_string(),
                kind: kind.to_string(),
                ports: number("portcount").unwrap_or(0) as u32,
                most_ports: number("maxportcount").unwrap_or(0) as u32,
                attached,
            });
        }
        controllers
    }

    /// The files in its drives.
    pub fn files(&self) -> Vec<PathBuf> {
        let controllers = self.controllers();
        let attached = controllers.into_iter().flat_map(|it| it.attached.into_values());
        attached.filter(|path| path.is_absolute()).collect()
    }

    /// The rules that forward ports: the card each is of, counted from 1, and its whole text.
    pub fn forwards(&self, nics: usize) -> Vec<(usize, String)> {
        let rules = (0..).map_while(|index| self.get(&format!("Forwarding({index})")));
        // The answer shows rules right after their card, but this map has lost the order; only a
        // card on `nat` shows any, and kuth gives rules to the first of them.
        let nat = (1..=nics).find(|number| self.get(&format!("nic{number}")) == Some("nat"));
        rules.filter_map(|rule| Some((nat?, rule.to_string()))).collect()
    }

    /// The names of its snapshots with their UUIDs.
    pub fn snapshots(&self) -> BTreeMap<String, String> {
        let named = self.0.iter().filter_map(|(key, name)| {
            let path = key.strip_prefix("SnapshotName")?;
            let uuid = self.get(&format!("SnapshotUUID{path}"))?;
            Some((name.clone(), uuid.to_string()))
        });
        named.collect()
    }
}

/// The port and device in `0-1`; `ImageUUID-0-1` is none.
fn place_of(text: &str) -> Option<(u32, u32)> {
    let (port, device) = text.split_once('-')?;
    Some((port.parse().ok()?, device.parse().ok()?))
}

/// The registered machines: UUID and name, from `list vms` (`"name" {uuid}` a line).
pub fn machines(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let (name, uuid) = line.rsplit_once(' ')?;
        let name = name.strip_prefix('"')?.strip_suffix('"')?;
        let uuid = uuid.strip_prefix('{')?.strip_suffix('}')?;
        Some((uuid.to_string(), name.to_string()))
    };
    text.lines().filter_map(line).collect()
}

/// The answer of `guestproperty enumerate`: `NAME = 'VALUE' @ TIME FLAGS` since version 7, before
/// `Name: NAME, value: VALUE, timestamp: TIME, flags: FLAGS`.
pub fn properties(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (name, value) = match line.strip_prefix("Name: ") {
            Some(rest) => {
                let (name, rest) = rest.split_once(", value: ")?;
                (name, rest.rsplit_once(", timestamp: ")?.0)
            }
            None => {
                let (name, rest) = line.split_once(" = '")?;
                (name, rest.rsplit_once('\'')?.0)
            }
        };
        Some((name.trim().to_string(), value.to_string()))
    };
    text.lines().filter_map(line).collect()
}

/// A disk that VirtualBox knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Medium {
    /// Its UUID.
    pub uuid: String,
    /// The UUID of the disk below it.
    pub parent: Option<String>,
    /// Its file.
    pub location: PathBuf,
}

/// The disks in `list hdds`: paragraphs of `Name: value`.
pub fn media(text: &str) -> Vec<Medium> {
    let paragraph = |text: &str| {
        Some(Medium {
            uuid: value(text, "UUID")?,
            parent: value(text, "Parent UUID").filter(|parent| parent != "base"),
            location: value(text, "Location")?.into(),
        })
    };
    text.split("\n\n").filter_map(paragraph).collect()
}

/// The files of the disks in `list hdds --long` that snapshots of the machine `uuid` hold. Each
/// machine that uses a disk has a line `NAME (UUID: ...) [SNAPSHOT (UUID: ...)]`, which ends before
/// the bracket where only its present state uses it.
pub fn media_in_snapshots(text: &str, uuid: &str) -> Vec<PathBuf> {
    let is_held = |text: &&str| text.contains(&format!("(UUID: {uuid}) ["));
    let held = text.split("\n\n").filter(is_held);
    held.filter_map(|text| value(text, "Location")).map(PathBuf::from).collect()
}

/// The size in `showmediuminfo`, which rounds down to whole MiB: `Capacity:       64 MBytes`.
pub fn capacity(text: &str) -> Option<Bytes> {
    let mib = value(text, "Capacity")?.strip_suffix(" MBytes")?.parse::<u64>().ok()?;
    mib.checked_mul(Bytes::MIB.0).map(Bytes)
}

/// The value of a line `NAME: value`.
fn value(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.map(|value| value.trim().to_string())
}

/// The answer of `list hostonlyifs`.
pub fn adapters(text: &str) -> Vec<Adapter> {
    let mut found: Vec<Adapter> = Vec::new();
    let mut ip = None;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match key {
            "Name" => found.push(Adapter { name: value.to_string(), address: None }),
            "IPAddress" => ip = value.parse().ok(),
            "NetworkMask" => {
                let mask = value.parse().ok();
                if let (Some(last), Some(ip), Some(mask)) = (found.last_mut(), ip.take(), mask)
                    && ip != Ipv4Addr::UNSPECIFIED
                {
                    last.address = Cidr::with_mask(ip, mask);
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = r#"name="ány"
UUID="11111111-2222-4333-8444-555555555555"
CfgFile="/m/base/base.vbox"
memory=512
VMState="poweroff"
VMStateChangeTime="2026-11-25T04:57:32.515000000"
storagecontrollername0="My SATA"
storagecontrollertype0="IntelAhci"
storagecontrollermaxportcount0="30"
storagecontrollerportcount0="2"
storagecontrollername1="IDE"
storagecontrollertype1="PIIX4"
storagecontrollermaxportcount1="2"
storagecontrollerportcount1="2"
"My SATA-0-0"="/m/base/Snapshots/{9a}.vdi"
"My SATA-ImageUUID-0-0"="9a39c827-a427-4371-8b33-6e84fb9bd6f6"
"My SATA-1-0"="none"
"IDE-0-0"="emptydrive"
"IDE-0-1"="none"
natnet1="nat"
macaddress1="5254001234AB"
nic1="nat"
Forwarding(0)="ssh,tcp,127.0.0.1,2222,,22"
nic2="none"
 rec_screen0
SnapshotName="golden"
SnapshotUUID="7fa117d7-8d27-4bc8-b35c-ea29f11a08a0"
SnapshotName-1="later"
SnapshotUUID-1="8fa117d7-8d27-4bc8-b35c-ea29f11a08a0"
CurrentSnapshotName="later"
"#;

    #[test]
    fn a_machine_is_read() {
        let info = Info::parse(INFO);
        assert_eq!(info.get("name"), Some("ány"));
        assert_eq!(info.number("memory"), Some(512));
        assert_eq!(info.state_change(), "2026-11-25T04:57:32");
        assert_eq!(info.directory(), PathBuf::from("/m/base"));
        assert_eq!(info.get("macaddress1"), Some("5254001234AB"));
        assert_eq!(info.forwards(8), [(1, "ssh,tcp,127.0.0.1,2222,,22".to_string())]);
        let names: Vec<String> = info.snapshots().into_keys().collect();
        assert_eq!(names, ["golden", "later"]);
        let controllers = info.controllers();
        assert_eq!(controllers.len(), 2);
        assert_eq!((controllers[0].ports, controllers[0].most_ports), (2, 30));
        assert!(controllers[0].is_sata() && controllers[1].is_ide());
        assert_eq!(controllers[0].attached.len(), 1);
        assert_eq!(controllers[0].free(), Some((1, 0)));
        assert_eq!(controllers[1].free(), Some((0, 1)));
    }

    #[test]
    fn lists_are_read() {
        let listed = machines("\"a b\" {11-22}\n\"<inaccessible>\" {33}\nnoise\n");
        let expected = [("11-22", "a b"), ("33", "<inaccessible>")];
        assert_eq!(listed, expected.map(|(a, b)| (a.to_string(), b.to_string())));
        let text = "UUID:           4d\nParent UUID:    base\nState:          created\n\
                    Location:       /m/a b/base.vdi\n\nUUID:  9a\nParent UUID: 4d\nLocation: /x: y\n";
        let found = media(text);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].parent.as_deref(), found[1].parent.as_deref()), (None, Some("4d")));
        assert_eq!(found[1].location, PathBuf::from("/x: y"));
        let text = "UUID: 4d\nLocation: /held\nIn use by VMs:  a (UUID: 1) [s (UUID: 2)]\n\n\
                    UUID: 5e\nLocation: /now\nIn use by VMs:  a (UUID: 1)\n\n\
                    UUID: 6f\nLocation: /both\nIn use by VMs:  b (UUID: 9) [t (UUID: 8)]\n\
                                a (UUID: 1) [s (UUID: 2)]\n";
        assert_eq!(media_in_snapshots(text, "1"), ["/held", "/both"].map(PathBuf::from));
        assert_eq!(media_in_snapshots(text, "2"), [] as [PathBuf; 0]);
        let text = "Name:            vboxnet3\nGUID: 1\n\nName: vboxnet4\n";
        assert_eq!(adapters(text)[0].name, "vboxnet3");
        let text = "UUID:           e4af\nCapacity:       200 MBytes\nSize on disk:   2 MBytes\n";
        assert_eq!(capacity(text), Some(Bytes::mib(200)));
        assert_eq!(capacity("Capacity: much\n"), None);
    }

    #[test]
    fn properties_of_both_forms_are_read() {
        let name = "/VirtualBox/GuestInfo/Net/0/V4/IP";
        for text in [
            "/VirtualBox/GuestInfo/Net/0/V4/IP     = '10.0.2.15' @ 2026-11-24T23:24:22.580Z RDONLYGUEST\n",
            "/VirtualBox/GuestInfo/Net/0/V4/IP = '10.0.2.15'\n",
            "Name: /VirtualBox/GuestInfo/Net/0/V4/IP, value: 10.0.2.15, timestamp: 1763, flags: TRANSIENT\n",
            "noise\nName: /VirtualBox/GuestInfo/Net/0/V4/IP, value: 10.0.2.15, timestamp: 1763, flags:\n",
        ] {
            let found = properties(text);
            assert_eq!(found.get(name).map(String::as_str), Some("10.0.2.15"), "{text}");
            assert_eq!(found.len(), 1);
        }
        assert!(properties("No value set!\n").is_empty());
    }

    #[test]
    fn adapters_have_a_name_and_an_address() {
        let text = "\
WARNING: The character device /dev/vboxdrv does not exist.
Name:            vboxnet0
GUID:            786f6276-656e-4074-8000-0a0027000000
DHCP:            Disabled
IPAddress:       192.168.254.1
NetworkMask:     255.255.0.0
IPV6Address:     fe80::800:27ff:fe00:0
Status:          Up
VBoxNetworkName: HostInterfaceNetworking-vboxnet0

Name:            vboxnet1
IPAddress:       0.0.0.0
NetworkMask:     0.0.0.0
";
        let address = "192.168.254.1/16".parse().ok();
        let expected = [
            Adapter { name: "vboxnet0".into(), address },
            Adapter { name: "vboxnet1".into(), address: None },
        ];
        assert_eq!(adapters(text), expected);
        assert_eq!(adapters(""), []);
    }
}
