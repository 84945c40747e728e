//! Reads the settings that a new machine around the same disk takes over: processors, memory,
//! firmware, and the storage controllers with their disks. The rest is not read, above all what
//! belongs to the host that the file was written on: shared folders, files of serial ports, network
//! cards.

use std::path::PathBuf;

use roxmltree::{Document, Node};

use super::FORMAT;
use crate::Fault;

/// The settings of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `OSType`, such as `Debian_64`.
    pub system: String,
    /// The number of processors, from 1 to 256.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u64,
    /// Video memory in MiB.
    pub vram: u64,
    /// Whether its firmware is EFI.
    pub efi: bool,
    /// Its storage controllers in order, without those for floppies and USB.
    pub controllers: Vec<Controller>,
    /// Its hard disks, in the order of their controllers.
    pub disks: Vec<Attached>,
}

/// A storage controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Its name, a free text.
    pub name: String,
    /// Its model.
    pub model: Model,
    /// The number of ports.
    pub ports: u32,
}

/// A model of storage controller, as settings and VBoxManage name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// In settings.
    pub word: &'static str,
    /// After `storagectl --add`.
    pub bus: &'static str,
    /// After `storagectl --controller`.
    pub chip: &'static str,
}

const fn model(word: &'static str, bus: &'static str, chip: &'static str) -> Model {
    Model { word, bus, chip }
}

/// IDE of the chipset that VirtualBox machines have by default.
pub const PIIX4: Model = model("PIIX4", "ide", "PIIX4");
/// SATA.
pub const AHCI: Model = model("AHCI", "sata", "IntelAhci");

const MODELS: [Model; 9] = [
    PIIX4,
    AHCI,
    model("PIIX3", "ide", "PIIX3"),
    model("ICH6", "ide", "ICH6"),
    model("LsiLogic", "scsi", "LSILogic"),
    model("BusLogic", "scsi", "BusLogic"),
    model("LsiLogicSas", "sas", "LSILogicSAS"),
    model("NVMe", "pcie", "NVMe"),
    model("VirtioSCSI", "virtio", "VirtIO"),
];

/// Models of controllers without hard disks.
const NOT_OF_DISKS: [&str; 2] = ["I82078", "USB"];

/// A hard disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The index of its controller.
    pub controller: usize,
    /// Its port there, from 0.
    pub port: u32,
    /// Its device on the port: 0, or 1 for the second of IDE.
    pub device: u32,
    /// The image file, absolute or relative to the settings.
    pub file: PathBuf,
    /// The image's format, as VirtualBox calls it: `VDI`, `VMDK` ...
    pub format: String,
}

/// Reads the text of a `.vbox` file.
pub fn read(text: &str) -> Result<Settings, Fault> {
    let fault = |why: String| Fault::new(FORMAT, why);
    let document = Document::parse(text).map_err(|error| fault(error.to_string()))?;
    let root = document.root_element();
    let machine = child(root, "Machine").filter(|_| root.tag_name().name() == "VirtualBox");
    let machine = machine.ok_or_else(|| fault("no settings of a machine, or encrypted".into()))?;
    if child(machine, "Snapshot").is_some() {
        return Err(fault("the machine has snapshots, so no single file holds its disk".into()));
    }
    let hardware = child(machine, "Hardware");
    let number = |element: &str, name: &str, default: u64| -> Result<u64, Fault> {
        let found = hardware.and_then(|it| child(it, element)?.attribute(name));
        let number = found.map(|text| text.parse().map_err(|_| unreadable(element, name, text)));
        number.unwrap_or(Ok(default))
    };
    let firmware = hardware.and_then(|it| child(it, "Firmware")?.attribute("type"));
    // 7.1 moved them.
    let list = |node| child(node, "StorageControllers");
    let list = list(machine).or_else(|| list(hardware?));
    let media = media(machine);
    let (mut controllers, mut disks) = (Vec::new(), Vec::new());
    for node in list.into_iter().flat_map(|it| children(it, "StorageController")) {
        let word = node.attribute("type").unwrap_or_default();
        if NOT_OF_DISKS.contains(&word) {
            continue;
        }
        let model = MODELS.into_iter().find(|model| model.word == word);
        let model = model.ok_or_else(|| fault(format!("a controller of the type `{word}`")))?;
        let name = node.attribute("name").unwrap_or(word).to_string();
        let ports = place(node, "PortCount")?.max(1);
        for device in children(node, "AttachedDevice") {
            if device.attribute("type") != Some("HardDisk") {
                continue;
            }
            let Some(image) = child(device, "Image") else { continue };
            let uuid = image.attribute("uuid").unwrap_or_default();
            let (_, file, format) = media
                .iter()
                .find(|(other, ..)| *other == uuid)
                .ok_or_else(|| fault(format!("the disk {uuid} is attached but not listed")))?;
            disks.push(Attached {
                controller: controllers.len(),
                port: place(device, "port")?,
                device: place(device, "device")?,
                file: PathBuf::from(file),
                format: (*format).to_string(),
            });
        }
        controllers.push(Controller { name, model, ports });
    }
    Ok(Settings {
        system: machine.attribute("OSType").unwrap_or("Other_64").to_string(),
        cpus: number("CPU", "count", 1)?.clamp(1, 256) as u32,
        memory: number("Memory", "RAMSize", 128)?,
        vram: number("Display", "VRAMSize", 8)?,
        efi: firmware.is_some_and(|it| it.starts_with("EFI")),
        controllers,
        disks,
    })
}

/// The listed hard disks: UUID, place, format.
fn media<'a>(machine: Node<'a, '_>) -> Vec<(&'a str, &'a str, &'a str)> {
    let list = child(machine, "MediaRegistry").and_then(|it| child(it, "HardDisks"));
    let disks = list.into_iter().flat_map(|it| children(it, "HardDisk"));
    let get = |node: Node<'a, '_>, name: &str| node.attribute(name).unwrap_or_default();
    disks.map(|it| (get(it, "uuid"), get(it, "location"), get(it, "format"))).collect()
}

fn place(node: Node<'_, '_>, name: &str) -> Result<u32, Fault> {
    let text = node.attribute(name).unwrap_or("0");
    text.parse().map_err(|_| unreadable(node.tag_name().name(), name, text))
}

fn unreadable(element: &str, name: &str, text: &str) -> Fault {
    Fault::new(FORMAT, format!("`{text}` is not a number, as `{name}` of {element}"))
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    children(node, name).next()
}

/// By name alone: Oracle's and innotek's files differ in the namespace.
fn children<'a, 'i>(node: Node<'a, 'i>, name: &str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |it| it.tag_name().name() == name)
}

#[cfg(test)]
mod tests {
    use super::super::{Ids, settings};
    use super::*;
    use crate::Guid;
    use crate::appliance::tests::appliance;

    fn written() -> String {
        let ids = Ids { machine: Guid([1; 16]), disk: Guid([2; 16]) };
        settings(&appliance(), "web-1.vdi", ids).unwrap()
    }

    #[test]
    fn written_settings_are_read() {
        let (found, it) = (read(&written()).unwrap(), appliance());
        assert_eq!((found.cpus, found.memory, found.vram), (it.cpus, it.memory.0 >> 20, it.vram));
        assert_eq!((found.system.as_str(), found.efi), ("Debian_64", false));
        let names: Vec<_> = found.controllers.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["IDE", "SATA"]);
        let [disk] = found.disks.as_slice() else { panic!("{found:?}") };
        assert_eq!((disk.controller, disk.port, disk.device), (1, 0, 0));
        assert_eq!((disk.file.to_str(), disk.format.as_str()), (Some("web-1.vdi"), "VDI"));
    }

    #[test]
    fn controllers_of_newer_versions_are_found() {
        let text = written()
            .replace("</Hardware>", "")
            .replace("</StorageControllers>", "</StorageControllers></Hardware>");
        assert_eq!(read(&text), read(&written()));
    }

    #[test]
    fn unsupported_settings_are_refused() {
        let refused = |from: &str, to: &str| {
            let text = written();
            assert!(text.contains(from), "{from}");
            read(&text.replacen(from, to, 1)).unwrap_err().to_string()
        };
        let snapshot = "<Snapshot uuid=\"{3}\" name=\"a\"/><Hardware>";
        assert!(refused("<Hardware>", snapshot).contains("has snapshots"));
        assert!(refused("type=\"AHCI\"", "type=\"Quantum\"").contains("`Quantum`"));
        assert!(refused("count=\"", "count=\"x").contains("of CPU"));
        assert!(refused("<HardDisk ", "<Disk ").contains("not listed"));
        assert!(refused("<Machine ", "<MachineEncrypted ").starts_with("vbox: "));
        assert!(read("<a/>").unwrap_err().to_string().contains("no settings of a machine"));
        let bomb = "<!DOCTYPE x [<!ENTITY a \"b\">]><VirtualBox><Machine/></VirtualBox>";
        assert!(read(bomb).is_err());
    }
}
