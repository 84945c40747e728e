//! Writes the descriptor and the manifest of an OVA: OVF 1.0, as far as VirtualBox and VMware need
//! it. MAC addresses are left to the importer.
//!
//! Source: DMTF DSP0243; what importers require in practice was tried.

use std::fmt::Write;

use super::Fault;
use super::appliance::{Appliance, Plug};
use crate::digest::Digest;
use crate::xml::escaped;

const FORMAT: &str = "ova";
const STREAM: &str = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";
const SCHEMA: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_";
/// CIM's number of 64-bit Debian.
const DEBIAN: u32 = 96;

/// The resource types of CIM.
mod kind {
    pub const PROCESSOR: u32 = 3;
    pub const MEMORY: u32 = 4;
    pub const ETHERNET: u32 = 10;
    pub const DISK: u32 = 17;
    pub const SATA: u32 = 20;
}

/// The names of the files in an OVA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The descriptor.
    pub ovf: String,
    /// The manifest.
    pub manifest: String,
    /// The disk.
    pub disk: String,
}

impl Names {
    /// The names for an appliance of this name.
    pub fn of(name: &str) -> Names {
        Names {
            ovf: format!("{name}.ovf"),
            manifest: format!("{name}.mf"),
            disk: format!("{name}-disk1.vmdk"),
        }
    }
}

/// The text of the descriptor.
pub fn descriptor(appliance: &Appliance) -> Result<String, Fault> {
    appliance.check(FORMAT)?;
    let mut networks: Vec<String> =
        appliance.cards.iter().map(|card| network(&card.plug)).collect();
    networks.sort();
    networks.dedup();
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = write_all(&mut text, appliance, &networks);
    Ok(text)
}

/// VirtualBox's name of the kind of network; other importers ask for one of their networks.
fn network(plug: &Plug) -> String {
    match plug {
        // There is no name for a NAT network.
        Plug::Nat | Plug::NatNetwork(_) => "NAT",
        Plug::HostOnly(_) => "HostOnly",
        Plug::Internal(_) => "Internal",
        Plug::Bridged(_) => "Bridged",
    }
    .to_string()
}

fn write_all(out: &mut String, it: &Appliance, networks: &[String]) -> std::fmt::Result {
    let name = escaped(&it.name);
    let disk = escaped(&Names::of(&it.name).disk);
    writeln!(
        out,
        "<?xml version=\"1.0\"?>\n\
         <Envelope ovf:version=\"1.0\" xml:lang=\"en-US\"\n \
         xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\"\n \
         xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\"\n \
         xmlns:rasd=\"{SCHEMA}ResourceAllocationSettingData\"\n \
         xmlns:vssd=\"{SCHEMA}VirtualSystemSettingData\"\n \
         xmlns:vmw=\"http://www.vmware.com/schema/ovf\">\n \
         <References>\n  <File ovf:id=\"file1\" ovf:href=\"{disk}\"/>\n </References>\n \
         <DiskSection>\n  <Info>Virtual disks</Info>\n  \
         <Disk ovf:capacity=\"{}\" ovf:diskId=\"disk1\" ovf:fileRef=\"file1\" \
         ovf:format=\"{STREAM}\"/>\n </DiskSection>",
        it.disk.0
    )?;
    writeln!(out, " <NetworkSection>\n  <Info>Networks</Info>")?;
    for network in networks {
        writeln!(
            out,
            "  <Network ovf:name=\"{network}\"><Description>{network}</Description></Network>"
        )?;
    }
    writeln!(
        out,
        " </NetworkSection>\n <VirtualSystem ovf:id=\"{name}\">\n  <Info>A machine</Info>\n  \
         <Name>{name}</Name>\n  <OperatingSystemSection ovf:id=\"{DEBIAN}\">\n   \
         <Info>Linux</Info>\n  </OperatingSystemSection>\n  <VirtualHardwareSection>\n   \
         <Info>Virtual hardware</Info>\n   <System>\n    \
         <vssd:ElementName>Virtual hardware</vssd:ElementName>\n    \
         <vssd:InstanceID>0</vssd:InstanceID>\n    \
         <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>\n    \
         <vssd:VirtualSystemType>virtualbox-2.2 vmx-10</vssd:VirtualSystemType>\n   </System>"
    )?;
    let mut id = 0;
    let mut item = |out: &mut String, kind: u32, fields: &[(&str, String)]| -> std::fmt::Result {
        id += 1;
        let (instance, kind) =
            (("InstanceID", format!("{id}")), ("ResourceType", kind.to_string()));
        let mut all: Vec<&(&str, String)> = fields.iter().chain([&instance, &kind]).collect();
        // The schema requires them sorted.
        all.sort();
        out.write_str("   <Item>\n")?;
        for (name, value) in all {
            writeln!(out, "    <rasd:{name}>{}</rasd:{name}>", escaped(value))?;
        }
        out.write_str("   </Item>\n")
    };
    let text = |text: &str| text.to_string();
    let (cpus, memory) = (it.cpus, it.memory.0 >> 20);
    item(
        out,
        kind::PROCESSOR,
        &[
            ("AllocationUnits", text("hertz * 10^6")),
            ("ElementName", format!("{cpus} processors")),
            ("VirtualQuantity", cpus.to_string()),
        ],
    )?;
    item(
        out,
        kind::MEMORY,
        &[
            ("AllocationUnits", text("byte * 2^20")),
            ("ElementName", format!("{memory} MiB of memory")),
            ("VirtualQuantity", memory.to_string()),
        ],
    )?;
    item(
        out,
        kind::SATA,
        &[("Address", text("0")), ("ElementName", text("SATA")), ("ResourceSubType", text("AHCI"))],
    )?;
    item(
        out,
        kind::DISK,
        &[
            ("AddressOnParent", text("0")),
            ("ElementName", text("disk1")),
            ("HostResource", text("ovf:/disk/disk1")),
            // The controller.
            ("Parent", text("3")),
        ],
    )?;
    for (at, card) in it.cards.iter().enumerate() {
        item(
            out,
            kind::ETHERNET,
            &[
                ("AddressOnParent", at.to_string()),
                ("AutomaticAllocation", text("true")),
                ("Connection", network(&card.plug)),
                ("ElementName", format!("ethernet{at}")),
                ("ResourceSubType", text("E1000")),
            ],
        )?;
    }
    if it.firmware == super::appliance::Firmware::Uefi {
        writeln!(
            out,
            "   <vmw:Config ovf:required=\"false\" vmw:key=\"firmware\" vmw:value=\"efi\"/>"
        )?;
    }
    writeln!(out, "  </VirtualHardwareSection>\n </VirtualSystem>\n</Envelope>")
}

/// The manifest: the digests of the other files. Its length depends on their names alone.
pub fn manifest(files: &[(&str, Digest)]) -> String {
    files.iter().map(|(name, digest)| format!("SHA256({name})= {digest}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::appliance::Firmware;
    use super::super::appliance::tests::appliance;
    use super::*;

    #[test]
    fn the_descriptor_is_pinned() {
        let text = descriptor(&appliance()).unwrap();
        assert!(text.contains("<Disk ovf:capacity=\"30064771072\""), "{text}");
        assert!(text.contains("<rasd:Connection>Internal</rasd:Connection>"));
        assert!(!text.contains("vmw:Config"));
        assert_eq!(Digest::of(&text).short(), "90549ee816c1");
        let uefi = Appliance { firmware: Firmware::Uefi, ..appliance() };
        assert!(descriptor(&uefi).unwrap().contains("vmw:value=\"efi\""));
    }

    #[test]
    fn the_manifest_names_every_file() {
        let digest = Digest::of("x");
        let text = manifest(&[("a.ovf", digest), ("a-disk1.vmdk", digest)]);
        assert_eq!(text, format!("SHA256(a.ovf)= {digest}\nSHA256(a-disk1.vmdk)= {digest}\n"));
    }
}
