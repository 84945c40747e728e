//! Images, file systems and members of arrays that kuth knows by name alone: each with the tool that
//! helps. Without them an image would be taken for the disk itself, and a member of an array for the
//! file system that begins where it does.
//!
//! Source: QEMU, block/*.c, for images that it reads; libewf, "EWF specification"; util-linux,
//! libblkid, for file systems and RAID; Linux, include/uapi/linux/raid/md_p.h; SNIA, "Common RAID Disk
//! Data Format" 2.0.

use crate::fields::Fields;

/// Something that kuth does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// With its article where it has one: `a VHDX image`.
    pub name: &'static str,
    /// What to do, as a hint.
    pub help: &'static str,
}

/// So many bytes from the end of a file [`image`] needs.
pub const TAIL: usize = 512;

/// Where the magic number of an image is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Start(usize),
    /// So many bytes before the end.
    End(usize),
}
use Place::{End, Start};

const QEMU_IMG: &str = "convert it with `qemu-img convert -O qcow2 IMAGE NEW.qcow2`";
const EWF: &str = "get the disk out of it with `ewfexport -f raw IMAGE` (package ewf-tools)";

const IMAGES: &[(Place, &[u8], Foreign)] = &[
    (Start(0), b"vhdxfile", Foreign { name: "a VHDX image", help: QEMU_IMG }),
    (Start(0), b"WithoutFreeSpace", Foreign { name: "a Parallels image", help: QEMU_IMG }),
    (Start(0), b"WithouFreSpacExt", Foreign { name: "a Parallels image", help: QEMU_IMG }),
    (Start(0), b"Bochs Virtual HD Image", Foreign { name: "a Bochs image", help: QEMU_IMG }),
    (Start(0), b"QED\0", Foreign { name: "a QED image", help: QEMU_IMG }),
    (Start(0), b"COWD", Foreign { name: "a VMDK image of ESX (COWD)", help: QEMU_IMG }),
    (
        Start(0),
        b"#!/bin/sh\n#V",
        Foreign {
            name: "a cloop image",
            help: "convert it with `qemu-img convert -f cloop -O raw IMAGE NEW.img`, or \
                   `extract_compressed_fs` (package cloop-utils)",
        },
    ),
    (
        End(512),
        b"koly",
        Foreign {
            name: "a DMG image of macOS",
            help: "convert it with `qemu-img convert -f dmg -O raw IMAGE NEW.img`",
        },
    ),
    (
        Start(0),
        b"encrcdsa",
        Foreign {
            name: "an encrypted DMG image of macOS",
            help: "decrypt it with `hdiutil convert` on macOS",
        },
    ),
    (
        End(8),
        b"cdsaencr",
        Foreign {
            name: "an encrypted DMG image of macOS",
            help: "decrypt it with `hdiutil convert` on macOS",
        },
    ),
    (
        Start(0),
        b"sprs",
        Foreign {
            name: "a sparse image of macOS",
            help: "convert it with `hdiutil convert -format UDTO` on macOS",
        },
    ),
    (Start(0), b"EVF\x09\x0d\x0a\xff\0", Foreign { name: "an EnCase image (E01)", help: EWF }),
    (Start(0), b"EVF2\x0d\x0a\x81\0", Foreign { name: "an EnCase image (Ex01)", help: EWF }),
    (
        Start(0),
        b"LVF\x09\x0d\x0a\xff\0",
        Foreign { name: "an EnCase image of files (L01)", help: EWF },
    ),
    (
        Start(0),
        b"AFF10\r\n\0",
        Foreign {
            name: "an AFF image",
            help: "convert it with `affconvert -r IMAGE` (package afflib-tools)",
        },
    ),
    (
        Start(0),
        b"\x3a\xff\x26\xed",
        Foreign {
            name: "a sparse image of Android",
            help: "convert it with `simg2img IMAGE NEW.img`",
        },
    ),
    (
        Start(0),
        b"MSWIM\0\0\0",
        Foreign {
            name: "a WIM image of Windows",
            help: "unpack it with `wimapply` (package wimtools)",
        },
    ),
    (
        Start(0),
        b"partclone-image",
        Foreign {
            name: "a partclone image",
            help: "restore it with `partclone.restore -s IMAGE -o NEW.img`",
        },
    ),
];

/// What image a file is, by its first bytes, as many as a probe has, and its last [`TAIL`], or all
/// there are.
pub fn image(head: &[u8], tail: &[u8]) -> Option<&'static Foreign> {
    let has = |place: Place, magic: &[u8]| {
        let bytes = match place {
            Start(at) => head.get(at..),
            End(before) => tail.len().checked_sub(before).and_then(|at| tail.get(at..)),
        };
        bytes.is_some_and(|bytes| bytes.starts_with(magic))
    };
    IMAGES.iter().find(|(place, magic, _)| has(*place, magic)).map(|(_, _, foreign)| foreign)
}

const EXFAT: Foreign =
    Foreign { name: "exFAT", help: "mount it with `mount -o ro`, and make a tar of its files" };
const BITLOCKER: Foreign = Foreign {
    name: "BitLocker, encrypted",
    help: "decrypt it with `cryptsetup open --type bitlk`, or dislocker",
};
const RAID: Foreign = Foreign {
    name: "a member of a RAID",
    help: "assemble it with `mdadm --assemble --readonly`, and copy the array to an image",
};
const DDF: Foreign = Foreign { name: "a member of a RAID (DDF)", help: RAID.help };
const IMSM: Foreign = Foreign { name: "a member of a RAID (Intel)", help: RAID.help };

/// The GUID of BitLocker To Go, whose boot sector is that of a FAT32.
const TO_GO: &[u8] = b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01";
/// `MD_SB_MAGIC`.
const MD_MAGIC: u32 = 0xa92b_4efc;
/// Where md 0.90 has its superblock: at the start of the last whole unit.
const MD_UNIT: u64 = 64 << 10;
/// The bytes of a superblock of md that are looked at.
const MD: usize = 256;

/// Whether what is looked at has a partition table. A superblock of md 0.90 may then be that of its last
/// partition, as it does not say where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// It does.
    Partitioned,
    /// It does not.
    None,
}

/// What a disk, partition or volume of `size` bytes is, as far as it is foreign; `read` gives bytes
/// of it, all of which are within the size.
///
/// # Errors
///
/// Those of `read`.
pub fn volume<E>(
    size: u64,
    table: Table,
    mut read: impl FnMut(u64, usize) -> Result<Vec<u8>, E>,
) -> Result<Option<&'static Foreign>, E> {
    let mut bytes = |at: Option<u64>, length: usize| match at {
        Some(at) if at.checked_add(length as u64).is_some_and(|end| end <= size) => {
            read(at, length)
        }
        _ => Ok(Vec::new()),
    };
    let start = bytes(Some(0), 512)?;
    let has = |at: usize, magic: &[u8]| start.get(at..).is_some_and(|rest| rest.starts_with(magic));
    if has(3, b"EXFAT   ") {
        return Ok(Some(&EXFAT));
    }
    if has(3, b"-FVE-FS-") || has(3, b"MSWIN4.1") && has(424, TO_GO) {
        return Ok(Some(&BITLOCKER));
    }
    let last = (size / MD_UNIT).checked_sub(1).map(|unit| unit * MD_UNIT);
    if table == Table::None && is_md_0(&bytes(last, MD)?) {
        return Ok(Some(&RAID));
    }
    // Versions 1.1, 1.2 and 1.0.
    let near_end = (size / 512).checked_sub(16).map(|sector| (sector & !7) * 512);
    for at in [Some(0), Some(4096), near_end] {
        if is_md_1(&bytes(at, MD)?, at.unwrap_or(0)) {
            return Ok(Some(&RAID));
        }
    }
    let before_end = |sectors: u64| (size / 512).checked_sub(sectors).map(|sector| sector * 512);
    for sectors in [1, 257] {
        if bytes(before_end(sectors), 4)? == [0xde, 0x11, 0xde, 0x11] {
            return Ok(Some(&DDF));
        }
    }
    match bytes(before_end(2), 24)? == b"Intel Raid ISM Cfg Sig. " {
        true => Ok(Some(&IMSM)),
        false => Ok(None),
    }
}

/// A superblock of version 0.90, in either order of bytes.
fn is_md_0(block: &[u8]) -> bool {
    let (magic, version) = (MD_MAGIC, 0_u32);
    block.starts_with(&[magic, version].map(u32::to_le_bytes).concat())
        || block.starts_with(&[magic, version].map(u32::to_be_bytes).concat())
}

/// A superblock of version 1, which says in which sector it is.
fn is_md_1(block: &[u8], at: u64) -> bool {
    let fields = Fields::of("md", block);
    let word = |at| fields.le32(at).ok();
    word(0) == Some(MD_MAGIC)
        && word(4) == Some(1)
        && fields.le64(144).is_ok_and(|sector| sector == at / 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_their_start_or_end() {
        for (place, magic, foreign) in IMAGES {
            let (mut head, mut tail) = (vec![0; 1024], vec![0; TAIL]);
            match place {
                Start(at) => head[*at..][..magic.len()].copy_from_slice(magic),
                End(before) => tail[TAIL - before..][..magic.len()].copy_from_slice(magic),
            }
            assert_eq!(image(&head, &tail), Some(foreign), "{}", foreign.name);
        }
        assert_eq!(image(b"#!/bin/sh\necho\n", b""), None);
        assert_eq!(image(&[0; 512], &[0; 100]), None);
    }

    /// What a volume with these bytes at these places is.
    fn named(size: u64, table: Table, parts: &[(u64, Vec<u8>)]) -> Option<&'static str> {
        let mut all = vec![0; size as usize];
        for (at, bytes) in parts {
            all[*at as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        let read = |at: u64, length: usize| Ok::<_, ()>(all[at as usize..][..length].to_vec());
        volume(size, table, read).unwrap().map(|foreign| foreign.name)
    }

    fn md_0() -> Vec<u8> {
        [0xa92b_4efc_u32, 0, 90, 0].map(u32::to_le_bytes).concat()
    }

    fn md_1(at: u64) -> Vec<u8> {
        let mut block = vec![0; MD];
        block[..4].copy_from_slice(&0xa92b_4efc_u32.to_le_bytes());
        block[4] = 1;
        block[144..152].copy_from_slice(&(at / 512).to_le_bytes());
        block
    }

    #[test]
    fn members_of_arrays_are_known_by_their_superblocks() {
        // Not a multiple of 64 KiB.
        let size: u64 = (1 << 20) + 5 * 512;
        let place_0 = (1 << 20) - (64 << 10);
        let place_1 = (size / 512 - 16) / 8 * 8 * 512;
        let raid = Some("a member of a RAID");
        assert_eq!(named(size, Table::None, &[(place_0, md_0())]), raid);
        let big = [0xa92b_4efc_u32, 0, 90].map(u32::to_be_bytes).concat();
        assert_eq!(named(size, Table::None, &[(place_0, big)]), raid);
        assert_eq!(named(size, Table::Partitioned, &[(place_0, md_0())]), None);
        for at in [0, 4096, place_1] {
            assert_eq!(named(size, Table::None, &[(at, md_1(at))]), raid, "{at}");
            // A copy of another place.
            assert_eq!(named(size, Table::None, &[(at, md_1(at + 512))]), None, "{at}");
        }
        assert_eq!(named(size, Table::Partitioned, &[(place_1, md_1(place_1))]), raid);
        let ddf = vec![0xde, 0x11, 0xde, 0x11];
        for sectors in [1, 257] {
            let found = named(size, Table::Partitioned, &[(size - sectors * 512, ddf.clone())]);
            assert_eq!(found, Some("a member of a RAID (DDF)"));
        }
        let intel = b"Intel Raid ISM Cfg Sig. 1.3.00".to_vec();
        let found = named(size, Table::None, &[(size - 1024, intel)]);
        assert_eq!(found, Some("a member of a RAID (Intel)"));
    }

    #[test]
    fn foreign_file_systems_are_known_by_their_boot_sectors() {
        let boot = |name: &[u8]| vec![(3, name.to_vec())];
        let named = |parts: &[(u64, Vec<u8>)]| named(1 << 20, Table::None, parts);
        assert_eq!(named(&boot(b"EXFAT   ")), Some("exFAT"));
        assert_eq!(named(&boot(b"-FVE-FS-")), Some("BitLocker, encrypted"));
        assert_eq!(named(&boot(b"MSWIN4.1")), None);
        let to_go = [boot(b"MSWIN4.1"), vec![(424, TO_GO.to_vec())]].concat();
        assert_eq!(named(&to_go), Some("BitLocker, encrypted"));
        assert_eq!(named(&[]), None);
    }

    #[test]
    fn volumes_of_any_size_are_looked_at_within_it() {
        for size in [0, 1, 511, 512, 4095, 65_535, 65_536] {
            assert_eq!(named(size, Table::None, &[]), None, "{size}");
        }
    }
}
