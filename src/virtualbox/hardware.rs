//! The hardware of a machine, as VirtualBox reports it.

use crate::hardware::nic::reached;
use crate::hardware::{Firmware, Hardware, Network, VRAM};

use super::answers::Info;
use super::options::{MOST_NICS, Modification, firmware, kind, plain};

/// The first thing in which a machine is not what it was made to be.
pub fn difference(info: &Info, hardware: &Hardware) -> Option<String> {
    let mut differ = Vec::new();
    let mut compare = |what: &str, is: Option<&str>, wanted: String| {
        if is.unwrap_or_default() != wanted {
            differ.push(format!("{what} is {}, not {wanted}", is.unwrap_or("nothing")));
        }
    };
    compare("memory", info.get("memory"), hardware.memory.to_string());
    compare("cpus", info.get("cpus"), hardware.cpus.to_string());
    compare("vram", info.get("vram"), hardware.vram.to_string());
    let shown = info.get("firmware").map(str::to_lowercase);
    // `EFI`, or `EFI64` where it was asked for so.
    let shown = shown.as_deref().map(|it| if it.starts_with("efi") { "efi" } else { it });
    compare("firmware", shown, firmware(hardware.firmware).to_string());
    for number in 1..=MOST_NICS {
        let nic = hardware.nics.get(number - 1);
        let kind = nic.map_or("none", |nic| kind(&nic.network));
        compare(&format!("nic{number}"), info.get(&format!("nic{number}")), kind.to_string());
        if let Some(nic) = nic {
            let key = format!("macaddress{number}");
            compare(&key, info.get(&key), plain(nic.mac));
        }
    }
    differ.into_iter().next()
}

impl Modification<'_> {
    /// Whether a machine has been given all of it.
    pub fn is_applied(&self, info: &Info) -> bool {
        let console = format!("file,{}", self.console.display());
        let shown = info.forwards(MOST_NICS).into_iter().map(|(_, rule)| rule);
        let mut expected = match reached(&self.hardware.nics) {
            Some(at) if self.hardware.nics[at].network == Network::Nat => self.rules(),
            _ => Vec::new(),
        };
        let mut shown: Vec<String> = shown.collect();
        expected.sort();
        shown.sort();
        difference(info, self.hardware).is_none()
            && info.get("uartmode1") == Some(console.as_str())
            && shown == expected
    }
}

/// What a machine that kuth did not make is made of, as far as a clone of it takes that over.
pub fn of_others(info: &Info) -> Hardware {
    let number = |name, default| info.number(name).unwrap_or(default);
    let is_efi = info.get("firmware").is_some_and(|it| it.to_lowercase().starts_with("efi"));
    Hardware {
        architecture: "amd64".to_string(),
        cpus: number("cpus", 1) as u32,
        memory: number("memory", 1024),
        firmware: if is_efi { Firmware::Uefi } else { Firmware::Bios },
        vram: number("vram", VRAM).max(1),
        disks: Vec::new(),
        nics: Vec::new(),
        forwards: Vec::new(),
    }
}
