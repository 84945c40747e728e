//! Writes the settings of a machine with one disk.

use std::fmt::Write;

use super::FORMAT;
use crate::appliance::{Appliance, Firmware, Plug};
use crate::xml::escaped;
use crate::{Fault, Guid};

/// The UUIDs of a machine and its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The machine.
    pub machine: Guid,
    /// The disk image, as in its header.
    pub disk: Guid,
}

/// The text of the settings; the disk is the file `disk` beside them.
pub fn settings(appliance: &Appliance, disk: &str, ids: Ids) -> Result<String, Fault> {
    appliance.check(FORMAT)?;
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = write_all(&mut text, appliance, disk, ids);
    Ok(text)
}

fn write_all(out: &mut String, it: &Appliance, disk: &str, ids: Ids) -> std::fmt::Result {
    let (name, disk) = (escaped(&it.name), escaped(disk));
    let (cpus, memory, vram) = (it.cpus, it.memory.0 >> 20, it.vram);
    writeln!(
        out,
        "<?xml version=\"1.0\"?>\n\
         <VirtualBox xmlns=\"http://www.virtualbox.org/\" version=\"1.16-linux\">\n  \
         <Machine uuid=\"{{{}}}\" name=\"{name}\" OSType=\"Debian_64\" \
         snapshotFolder=\"Snapshots\" lastStateChange=\"1970-01-01T00:00:00Z\">\n    \
         <MediaRegistry>\n      <HardDisks>\n        \
         <HardDisk uuid=\"{{{}}}\" location=\"{disk}\" format=\"VDI\" type=\"Normal\"/>\n      \
         </HardDisks>\n    </MediaRegistry>\n    <Hardware>\n      <CPU count=\"{cpus}\">\n        \
         <PAE enabled=\"true\"/>\n        <LongMode enabled=\"true\"/>\n      </CPU>\n      \
         <Memory RAMSize=\"{memory}\"/>",
        ids.machine, ids.disk
    )?;
    if it.firmware == Firmware::Uefi {
        writeln!(out, "      <Firmware type=\"EFI\"/>")?;
    }
    writeln!(
        out,
        "      <Boot>\n        <Order position=\"1\" device=\"HardDisk\"/>\n        \
         <Order position=\"2\" device=\"DVD\"/>\n        \
         <Order position=\"3\" device=\"None\"/>\n        \
         <Order position=\"4\" device=\"None\"/>\n      </Boot>\n      \
         <Display VRAMSize=\"{vram}\"/>\n      <BIOS>\n        <IOAPIC enabled=\"true\"/>\n      \
         </BIOS>\n      <Network>"
    )?;
    for (slot, card) in it.cards.iter().enumerate() {
        let mac: String = card.mac.iter().map(|byte| format!("{byte:02X}")).collect();
        let plug = match &card.plug {
            Plug::Nat => "<NAT/>".to_string(),
            Plug::HostOnly(None) => "<HostOnlyInterface name=\"vboxnet0\"/>".to_string(),
            Plug::HostOnly(Some(name)) => {
                format!("<HostOnlyInterface name=\"{}\"/>", escaped(name))
            }
            Plug::Internal(name) => format!("<InternalNetwork name=\"{}\"/>", escaped(name)),
            Plug::Bridged(name) => format!("<BridgedInterface name=\"{}\"/>", escaped(name)),
            Plug::NatNetwork(name) => format!("<NATNetwork name=\"{}\"/>", escaped(name)),
        };
        writeln!(
            out,
            "        <Adapter slot=\"{slot}\" enabled=\"true\" MACAddress=\"{mac}\" \
             type=\"82540EM\">\n          {plug}\n        </Adapter>"
        )?;
    }
    // The first card is there unless it is switched off.
    if it.cards.is_empty() {
        writeln!(out, "        <Adapter slot=\"0\" enabled=\"false\" type=\"82540EM\"/>")?;
    }
    writeln!(
        out,
        "      </Network>\n      <AudioAdapter enabled=\"false\"/>\n      \
         <RTC localOrUTC=\"UTC\"/>\n    </Hardware>\n    <StorageControllers>\n      \
         <StorageController name=\"IDE\" type=\"PIIX4\" PortCount=\"2\" useHostIOCache=\"true\" \
         Bootable=\"true\"/>\n      \
         <StorageController name=\"SATA\" type=\"AHCI\" PortCount=\"4\" useHostIOCache=\"false\" \
         Bootable=\"true\" IDE0MasterEmulationPort=\"0\" IDE0SlaveEmulationPort=\"1\" \
         IDE1MasterEmulationPort=\"2\" IDE1SlaveEmulationPort=\"3\">\n        \
         <AttachedDevice type=\"HardDisk\" hotpluggable=\"false\" port=\"0\" device=\"0\">\n          \
         <Image uuid=\"{{{}}}\"/>\n        </AttachedDevice>\n      </StorageController>\n    \
         </StorageControllers>\n  </Machine>\n</VirtualBox>",
        ids.disk
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::tests::appliance;
    use crate::digest::Digest;

    const IDS: Ids = Ids { machine: Guid([1; 16]), disk: Guid([2; 16]) };

    #[test]
    fn the_settings_are_pinned() {
        let text = settings(&appliance(), "web-1.vdi", IDS).unwrap();
        assert!(text.contains("MACAddress=\"525400010201\""), "{text}");
        assert!(text.contains("name=\"en0: Wi-Fi &quot;5&quot; &amp; &lt;x&gt;\""), "{text}");
        assert!(text.contains("location=\"web-1.vdi\""));
        assert!(!text.contains("EFI"));
        assert_eq!(Digest::of(&text).short(), "9554a1ed8990");
    }

    #[test]
    fn a_machine_without_cards_says_so() {
        let bare = Appliance { cards: Vec::new(), firmware: Firmware::Uefi, ..appliance() };
        let text = settings(&bare, "x.vdi", IDS).unwrap();
        assert!(text.contains("slot=\"0\" enabled=\"false\""));
        assert!(text.contains("<Firmware type=\"EFI\"/>"));
    }
}
