//! GRUB 2 without grub-install: the two i386-pc images patched so that one finds the other, and
//! the configuration files. It knows no partition table: where core.img goes is an argument.
//!
//! Source: the positions in GRUB's include/grub/i386/pc/boot.h (`GRUB_BOOT_MACHINE_*`), which
//! have not moved since 2.00; the images are checked to look so before they are touched.

use super::Fault;
use super::fields::{Fields, put};
use crate::units::{SECTOR, Sectors};

const FORMAT: &str = "grub";

/// boot.img: the sector core.img begins at, 64 bits; 1 as built.
const KERNEL_SECTOR: usize = 0x5c;
/// boot.img: the BIOS drive, 0xff for the one booted from.
const BOOT_DRIVE: usize = 0x64;
/// boot.img: a jump over the check of the drive number, for floppies; a hard disk needs it.
const DRIVE_CHECK: usize = 0x66;
/// boot.img: bytes past these belong to the partition table.
const CODE: usize = 440;
/// core.img: its first block list, at the end of its first sector: sector, count, segment.
const BLOCKLIST: usize = 0x1f4;
/// core.img: the list grows downwards and ends with one of zeros.
const BLOCKLIST_END: usize = 0x1e8;
/// core.img: the segment the rest is loaded to.
const SEGMENT: u16 = 0x820;

/// Room for core.img on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Its first sector, counted from the start of the disk.
    pub first: Sectors,
    /// How many sectors may be used.
    pub length: Sectors,
}

impl Room {
    /// The gap between an MBR and the first partition.
    pub fn mbr_gap(first_partition: Sectors) -> Room {
        Room { first: Sectors(1), length: Sectors(first_partition.0.saturating_sub(1)) }
    }
}

/// What makes a disk boot by BIOS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// For the start of the first sector.
    pub code: [u8; CODE],
    /// For the first sector of the [`Room`]; whole sectors.
    pub core: Vec<u8>,
}

/// Points boot.img at `room` and core.img at its own rest. Refuses images that do not look like
/// GRUB's for i386-pc, and a core.img larger than the room.
pub fn install(boot_img: &[u8], core_img: &[u8], room: Room) -> Result<Boot, Fault> {
    let boot = Fields::of(FORMAT, boot_img);
    let looks_right = boot_img.len() == SECTOR as usize
        && boot.array(510)? == [0x55, 0xaa]
        && boot.le64(KERNEL_SECTOR)? == 1
        && boot.u8(BOOT_DRIVE)? == 0xff
        && boot.array(DRIVE_CHECK)? == [0xeb, 0x05];
    Fault::unless(looks_right, FORMAT, || "boot.img is not GRUB's boot.img for i386-pc".into())?;
    let core = Fields::of(FORMAT, core_img);
    let looks_right = core.le64(BLOCKLIST)? == 2
        && core.le16(BLOCKLIST + 10)? == SEGMENT
        && core.array(BLOCKLIST_END)? == [0; 12];
    Fault::unless(looks_right, FORMAT, || {
        "core.img is not an i386-pc image of grub-mkimage".into()
    })?;
    let sectors = (core_img.len() as u64).div_ceil(SECTOR);
    Fault::unless(sectors <= room.length.0, FORMAT, || {
        format!("core.img has {sectors} sectors, its place only {}", room.length.0)
    })?;
    let rest = u16::try_from(sectors - 1)
        .ok()
        .filter(|rest| *rest > 0)
        .ok_or_else(|| Fault::new(FORMAT, format!("core.img has {sectors} sectors")))?;

    let mut code = [0; CODE];
    code.copy_from_slice(&boot_img[..CODE]);
    put(&mut code, KERNEL_SECTOR, &room.first.0.to_le_bytes());
    put(&mut code, DRIVE_CHECK, &[0x90, 0x90]);
    let mut core = core_img.to_vec();
    core.resize((sectors * SECTOR) as usize, 0);
    put(&mut core, BLOCKLIST, &(room.first.0 + 1).to_le_bytes());
    put(&mut core, BLOCKLIST + 8, &rest.to_le_bytes());
    Ok(Boot { code, core })
}

/// Where GRUB finds its files: on the filesystem of this UUID, in this directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// As `search.fs_uuid` compares it: a UUID, or `1234-ABCD` for FAT.
    pub fs_uuid: String,
    /// `/grub` where /boot is a filesystem of its own, else `/boot/grub`.
    pub directory: String,
}

impl Home {
    /// What core.img carries inside: finds the directory, so that `normal` reads grub.cfg there.
    pub fn early_config(&self) -> Result<String, Fault> {
        let uuid_fits = |c: char| c.is_ascii_hexdigit() || c == '-';
        Fault::unless(
            !self.fs_uuid.is_empty() && self.fs_uuid.chars().all(uuid_fits),
            FORMAT,
            || format!("`{}` is not a filesystem's UUID", self.fs_uuid.escape_default()),
        )?;
        let directory = bare("the directory", &self.directory)?;
        Ok(format!("search.fs_uuid {} root\nset prefix=($root){directory}\n", self.fs_uuid))
    }

    /// What the EFI image reads first, on the ESP: finds the directory and its grub.cfg.
    pub fn esp_config(&self) -> Result<String, Fault> {
        Ok(self.early_config()? + "configfile $prefix/grub.cfg\n")
    }
}

/// A serial line that shows the menu too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial {
    /// 0 is the first port.
    pub unit: u8,
    /// Bits a second.
    pub speed: u32,
}

/// One line of the menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the line says.
    pub title: String,
    /// The kernel's path on the filesystem GRUB reads.
    pub kernel: String,
    /// The initrd's path; a kernel may do without.
    pub initrd: Option<String>,
    /// The kernel's command line.
    pub cmdline: String,
}

/// A grub.cfg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Menu {
    /// The filesystem that holds the kernels.
    pub home: Home,
    /// Seconds before the first entry starts.
    pub timeout: u32,
    /// A serial console, beside the screen.
    pub serial: Option<Serial>,
    /// In order; the first is the default.
    pub entries: Vec<Entry>,
}

impl Menu {
    /// The text of grub.cfg. Refuses values that would end their line or their quotes.
    pub fn config(&self) -> Result<String, Fault> {
        let mut text = format!("set default=0\nset timeout={}\n", self.timeout);
        if let Some(Serial { unit, speed }) = self.serial {
            text += &format!("serial --unit={unit} --speed={speed}\n");
            text += "terminal_input console serial\nterminal_output console serial\n";
        }
        text += &self.home.early_config()?;
        for entry in &self.entries {
            let title = &entry.title;
            Fault::unless(!title.contains(['\'', '\n', '\0']), FORMAT, || {
                format!("the title `{}` cannot be quoted", title.escape_default())
            })?;
            text += &format!("menuentry '{title}' {{\n");
            let cmdline = quoted(&entry.cmdline)?;
            text += &format!("    linux {} {cmdline}\n", bare("the kernel", &entry.kernel)?);
            if let Some(initrd) = &entry.initrd {
                text += &format!("    initrd {}\n", bare("the initrd", initrd)?);
            }
            text += "}\n";
        }
        Ok(text)
    }
}

/// A path that GRUB's shell takes as one word.
fn bare<'a>(what: &str, path: &'a str) -> Result<&'a str, Fault> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@~".contains(c);
    Fault::unless(path.starts_with('/') && path.chars().all(plain), FORMAT, || {
        format!("{what} `{}` is not a plain absolute path", path.escape_default())
    })?;
    Ok(path)
}

/// The words of a kernel command line, each quoted where GRUB's shell would read more into it.
fn quoted(cmdline: &str) -> Result<String, Fault> {
    let fits = cmdline.chars().all(|c| !c.is_control() && c != '\'');
    Fault::unless(fits, FORMAT, || {
        format!("the command line `{}` cannot be quoted", cmdline.escape_default())
    })?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@~=,%".contains(c);
    let words = cmdline.split(' ').filter(|word| !word.is_empty());
    let words = words.map(|word| match word.chars().all(plain) {
        true => word.to_string(),
        false => format!("'{word}'"),
    });
    Ok(words.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A boot.img with only what the check looks at.
    fn boot_img() -> [u8; 512] {
        let mut image = [0; 512];
        put(&mut image, KERNEL_SECTOR, &[1]);
        put(&mut image, BOOT_DRIVE, &[0xff, 0xfa, 0xeb, 0x05]);
        put(&mut image, 440, &[0xcc; 6]);
        put(&mut image, 510, &[0x55, 0xaa]);
        image
    }

    fn core_img(length: usize) -> Vec<u8> {
        let mut image = vec![0; length];
        put(&mut image, BLOCKLIST, &[2, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0x20, 0x08]);
        image
    }

    #[test]
    fn images_point_at_each_other() {
        let room = Room { first: Sectors(2048), length: Sectors(2048) };
        let Boot { code, core } = install(&boot_img(), &core_img(1025), room).unwrap();
        assert_eq!(code[KERNEL_SECTOR..][..12], [0, 8, 0, 0, 0, 0, 0, 0, 0xff, 0xfa, 0x90, 0x90]);
        assert_eq!(core.len(), 1536);
        assert_eq!(core[BLOCKLIST..512], [1, 8, 0, 0, 0, 0, 0, 0, 2, 0, 0x20, 0x08]);
        let gap = install(&boot_img(), &core_img(1025), Room::mbr_gap(Sectors(2048))).unwrap();
        assert_eq!((gap.code[KERNEL_SECTOR], gap.core[BLOCKLIST]), (1, 2));
    }

    #[test]
    fn other_images_and_small_rooms_are_refused() {
        let room = Room::mbr_gap(Sectors(63));
        let fault = |boot: &[u8], core: &[u8]| install(boot, core, room).unwrap_err().to_string();
        assert!(fault(&[0; 512], &core_img(1024)).contains("boot.img"));
        assert!(fault(&[0; 100], &core_img(1024)).contains("grub"));
        assert!(fault(&boot_img(), &[0; 1024]).contains("core.img"));
        assert!(fault(&boot_img(), &core_img(512)).contains("1 sectors"));
        let large = fault(&boot_img(), &core_img(63 * 512));
        assert_eq!(large, "grub: core.img has 63 sectors, its place only 62");
    }

    #[test]
    fn configurations_read_as_written() {
        let home = Home {
            fs_uuid: "6c766d00-0000-4000-8000-0000000000b0".into(),
            directory: "/grub".into(),
        };
        let menu = Menu {
            home: home.clone(),
            timeout: 1,
            serial: Some(Serial { unit: 0, speed: 115_200 }),
            entries: vec![Entry {
                title: "Debian GNU/Linux 13".into(),
                kernel: "/vmlinuz-6.12".into(),
                initrd: Some("/initrd.img-6.12".into()),
                cmdline: "root=/dev/mapper/vg0-root ro console=ttyS0,115200 ds=nocloud;s=/x".into(),
            }],
        };
        let text = menu.config().unwrap();
        assert_eq!(
            text,
            "set default=0\nset timeout=1\nserial --unit=0 --speed=115200\n\
             terminal_input console serial\nterminal_output console serial\n\
             search.fs_uuid 6c766d00-0000-4000-8000-0000000000b0 root\nset prefix=($root)/grub\n\
             menuentry 'Debian GNU/Linux 13' {\n    linux /vmlinuz-6.12 root=/dev/mapper/vg0-root ro \
             console=ttyS0,115200 'ds=nocloud;s=/x'\n    initrd /initrd.img-6.12\n}\n"
        );
        assert!(home.esp_config().unwrap().ends_with("configfile $prefix/grub.cfg\n"));
        let sly = Home { fs_uuid: "x; reboot".into(), ..home };
        assert!(sly.early_config().is_err());
        let mut sly = menu.clone();
        sly.entries[0].title = "a' { reboot }".into();
        assert!(sly.config().is_err());
        let mut sly = menu;
        sly.entries[0].kernel = "/a b".into();
        assert!(sly.config().unwrap_err().to_string().contains("the kernel `/a b`"));
    }
}
