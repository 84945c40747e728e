//! GRUB for BIOS and UEFI at once, without grub-install: the files come from the tools tree, find
//! their directory by the UUID of the filesystem that holds /boot, and read one grub.cfg there.
//! Nothing of GRUB needs to be installed in the tree.

use crate::error::{Context, Result, anyhow, bail, ensure, with_hint};
use crate::format::grub::{self, Entry, Home, Menu, Room, Serial};
use crate::stage_context::StageContext;
use crate::tools::{SignedBoot, ToolsTree};

use super::config::{Firmware, Table};
use super::layout::{Layout, Role};
use super::survey::Survey;

/// Seconds before the first entry starts.
const TIMEOUT: u32 = 1;

/// What core.img can do before it reads anything else: it holds every module grub.cfg uses, so no
/// directory of modules lies in /boot.
const MODULES: [&str; 21] = [
    "biosdisk",
    "part_gpt",
    "part_msdos",
    "ext2",
    "xfs",
    "fat",
    "lvm",
    "search",
    "search_fs_uuid",
    "normal",
    "configfile",
    "linux",
    "echo",
    "serial",
    "terminal",
    "test",
    "minicmd",
    "ls",
    "cat",
    "reboot",
    "halt",
];

/// Names of EFI files by architecture.
struct Efi {
    /// Debian's word for the architecture.
    architecture: &'static str,
    /// GRUB as one file in the tools tree, without a signature.
    unsigned: &'static str,
    /// The name under which firmware looks for what it starts.
    first: &'static str,
    /// The name under which shim looks for GRUB, beside it.
    second: &'static str,
}

const EFI: [Efi; 2] = [
    Efi {
        architecture: "amd64",
        unsigned: "usr/lib/grub/x86_64-efi/monolithic/grubx64.efi",
        first: "BOOTX64.EFI",
        second: "grubx64.efi",
    },
    Efi {
        architecture: "arm64",
        unsigned: "usr/lib/grub/arm64-efi/monolithic/grubaa64.efi",
        first: "BOOTAA64.EFI",
        second: "grubaa64.efi",
    },
];

/// A signed boot loader, and whose it is.
pub struct Signed<'a> {
    /// The directory below `EFI` where its GRUB looks for its configuration: `debian`, `ubuntu`.
    pub vendor: &'a str,
    /// Its files.
    pub boot: &'a SignedBoot,
}

/// Where grub.cfg goes in the tree.
pub const MENU: &str = "/boot/grub/grub.cfg";

/// Where GRUB's directory is: on /boot if that is a filesystem of its own, else below /.
pub fn home(layout: &Layout) -> Result<Home> {
    let holder = layout.holding("/boot").context("finding the filesystem of /boot")?;
    let own = holder.mount.as_deref() == Some("/boot");
    let directory = if own { "/grub" } else { "/boot/grub" };
    Ok(Home { fs_uuid: holder.uuid_text(), directory: directory.to_string() })
}

/// Refuses firmware that machines of this architecture do not have.
pub fn check_firmware(layout: &Layout, architecture: &str) -> Result<()> {
    if architecture != "amd64" && layout.firmware.contains(&Firmware::Bios) {
        return Err(with_hint(
            anyhow!("machines of the architecture {architecture} have no BIOS"),
            "write `firmware = [\"uefi\"]`",
        ));
    }
    if !EFI.iter().any(|efi| efi.architecture == architecture) {
        bail!("kuth cannot make disks for the architecture {architecture} bootable");
    }
    Ok(())
}

/// The text of grub.cfg: what Debian's links lead to first where there are links (so that a
/// kernel upgraded in the guest is started without GRUB's own tools there), then each version.
pub fn menu(layout: &Layout, survey: &Survey) -> Result<String> {
    let home = home(layout)?;
    let root = layout.mounted("/").context("finding the root filesystem")?;
    let directory = home.directory.strip_suffix("/grub").unwrap_or_default();
    let cmdline = format!("root={} ro {}", root.device(), layout.cmdline);
    let entry = |kernel: super::survey::Kernel| Entry {
        title: match &kernel.version {
            Some(version) => format!("{}, Linux {version}", survey.name()),
            None => survey.name().to_string(),
        },
        kernel: format!("{directory}/{}", kernel.kernel),
        initrd: Some(format!("{directory}/{}", kernel.initrd)),
        cmdline: cmdline.trim_end().to_string(),
    };
    let entries = survey.bootable().into_iter().map(entry).collect();
    let menu = Menu { home, timeout: TIMEOUT, serial: serial(&layout.cmdline), entries };
    Ok(format!("# written by kuth from the layout of the disk\n{}", menu.config()?))
}

/// The serial line that the kernel writes to, for GRUB to write to as well.
fn serial(cmdline: &str) -> Option<Serial> {
    cmdline.split(' ').find_map(|word| {
        let console = word.strip_prefix("console=ttyS")?;
        let (unit, speed) = console.split_once(',').unwrap_or((console, "9600"));
        let digits: String = speed.chars().take_while(char::is_ascii_digit).collect();
        Some(Serial { unit: unit.parse().ok()?, speed: digits.parse().ok()? })
    })
}

/// The files on the EFI system partition, by their paths in the tree; empty without UEFI. Without a
/// signed boot loader GRUB comes from the tools.
pub fn esp_files(
    layout: &Layout,
    architecture: &str,
    tools: &ToolsTree,
    signed: Option<&Signed<'_>>,
) -> Result<Vec<(String, Vec<u8>)>> {
    if !layout.firmware.contains(&Firmware::Uefi) {
        return Ok(Vec::new());
    }
    let esp = layout.filesystems.iter().find(|filesystem| filesystem.is_esp);
    let mount = esp.and_then(|esp| esp.mount.as_deref());
    let mount = mount.context("finding the EFI system partition")?;
    let efi = EFI.iter().find(|efi| efi.architecture == architecture);
    let efi = efi.with_context(|| format!("finding GRUB for the architecture {architecture}"))?;
    let config = home(layout)?.esp_config()?.into_bytes();
    let first = format!("{mount}/EFI/BOOT/{}", efi.first);
    let files = match signed {
        // Where Debian's monolithic images look for their configuration.
        None => vec![
            (first, tools.read(efi.unsigned)?),
            (format!("{mount}/EFI/debian/grub.cfg"), config),
        ],
        Some(Signed { vendor, boot }) => vec![
            (first, boot.shim.clone()),
            (format!("{mount}/EFI/BOOT/{}", efi.second), boot.grub.clone()),
            (format!("{mount}/EFI/{vendor}/grub.cfg"), config),
        ],
    };
    Ok(files)
}

/// Boot code and core.img, and the room they were made for; `None` without BIOS.
pub fn bios(
    layout: &Layout,
    tools: &ToolsTree,
    context: &StageContext,
) -> Result<Option<(Room, grub::Boot)>> {
    if !layout.firmware.contains(&Firmware::Bios) {
        return Ok(None);
    }
    let room = match layout.table {
        Table::Gpt => {
            let place = layout.partitions.iter().find(|p| p.role == Role::BiosBoot);
            let place = place.context("finding the BIOS boot partition")?;
            Room { first: place.offset.sectors(), length: place.size.sectors() }
        }
        Table::Mbr => {
            let first = layout.partitions.first().context("finding the first partition")?;
            Room::mbr_gap(first.offset.sectors())
        }
    };
    let (early, core) = (context.scratch("early.cfg"), context.scratch("core.img"));
    let home = home(layout)?;
    std::fs::write(&early, home.early_config()?)
        .with_context(|| format!("writing {}", early.display()))?;
    tools
        .command("usr/bin/grub-mkimage", context.settings.epoch)
        .arg("-d")
        .arg(tools.file("usr/lib/grub/i386-pc"))
        .args(["-O", "i386-pc", "-p", &home.directory, "-c"])
        .arg(&early)
        .arg("-o")
        .arg(&core)
        .args(MODULES)
        .run(&context.log, &context.cancel)
        .context("making GRUB's core.img")?;
    let core = std::fs::read(&core).with_context(|| format!("reading {}", core.display()))?;
    let boot = grub::install(&tools.read("usr/lib/grub/i386-pc/boot.img")?, &core, room)?;
    ensure!(
        boot.core.len() as u64 <= room.length.bytes().0,
        "core.img is larger than the room for it"
    );
    Ok(Some((room, boot)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serial_line_follows_the_kernel() {
        assert_eq!(
            serial("console=tty0 console=ttyS0,115200n8"),
            Some(Serial { unit: 0, speed: 115_200 })
        );
        assert_eq!(serial("console=ttyS1"), Some(Serial { unit: 1, speed: 9600 }));
        assert_eq!(serial("console=tty0 console=ttyAMA0"), None);
    }
}
