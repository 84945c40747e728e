//! The format of a file by its first bytes. It opens nothing; whether the rest is sound is for the
//! reader of the format.
//!
//! Source: the magic number in the specification of each format.

use std::fmt;

/// The formats that [`probe`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageFormat {
    /// A disk with a GUID partition table.
    Gpt,
    /// A disk with a DOS partition table.
    Mbr,
    /// A qcow2 image of QEMU.
    Qcow2,
    /// A VDI image of VirtualBox.
    Vdi,
    /// A VMDK of VMware: a sparse extent or a descriptor.
    Vmdk,
    /// A dynamic VHD of Microsoft; a fixed one has its cookie at its end alone.
    Vhd,
    /// An ISO 9660 image of a CD or DVD.
    Iso9660,
    /// A tar archive, an OVA among them.
    Tar,
    /// Compressed by gzip.
    Gzip,
    /// Compressed by bzip2.
    Bzip2,
    /// Compressed by xz.
    Xz,
    /// Compressed by Zstandard.
    Zstd,
    /// A ZIP archive.
    Zip,
    /// A squashfs filesystem.
    Squashfs,
    /// An ext2, ext3 or ext4 filesystem.
    Ext4,
    /// An XFS filesystem.
    Xfs,
    /// A FAT filesystem.
    Fat,
    /// An LVM2 physical volume.
    Lvm2,
    /// A Linux swap area.
    Swap,
    /// A Debian package.
    Deb,
    /// An HTML page.
    Html,
}

/// An offset and the bytes there.
type Magic = (usize, &'static [u8]);

/// Each format, its name, and its magic numbers, of which one suffices. The first row that fits counts:
/// an isohybrid medium is also an MBR disk, and a GPT disk always is.
const FORMATS: [(ImageFormat, &str, &[Magic]); 19] = [
    (ImageFormat::Qcow2, "qcow2", &[(0, b"QFI\xfb")]),
    (ImageFormat::Vdi, "vdi", &[(64, b"\x7f\x10\xda\xbe")]),
    (ImageFormat::Vmdk, "vmdk", &[(0, b"KDMV"), (0, b"# Disk DescriptorFile")]),
    (ImageFormat::Vhd, "vhd", &[(0, b"conectix")]),
    (ImageFormat::Gzip, "gzip", &[(0, b"\x1f\x8b\x08")]),
    (ImageFormat::Bzip2, "bzip2", &[(0, b"BZh")]),
    (ImageFormat::Xz, "xz", &[(0, b"\xfd7zXZ\0")]),
    (ImageFormat::Zstd, "zstd", &[(0, b"\x28\xb5\x2f\xfd")]),
    (
        ImageFormat::Zip,
        "zip",
        // The last two: what was to be in several parts, and fits in one.
        &[
            (0, b"PK\x03\x04"),
            (0, b"PK\x05\x06"),
            (0, b"PK00PK\x03\x04"),
            (0, b"PK\x07\x08PK\x03\x04"),
        ],
    ),
    (ImageFormat::Deb, "deb", &[(0, b"!<arch>\ndebian")]),
    (ImageFormat::Tar, "tar", &[(257, b"ustar")]),
    (ImageFormat::Squashfs, "squashfs", &[(0, b"hsqs")]),
    (ImageFormat::Xfs, "xfs", &[(0, b"XFSB")]),
    (ImageFormat::Iso9660, "iso9660", &[(32_769, b"CD001")]),
    (
        ImageFormat::Lvm2,
        "lvm2",
        &[(512, b"LABELONE"), (0, b"LABELONE"), (1024, b"LABELONE"), (1536, b"LABELONE")],
    ),
    (ImageFormat::Swap, "swap", &[(4086, b"SWAPSPACE2")]),
    (ImageFormat::Gpt, "gpt", &[(512, b"EFI PART")]),
    (ImageFormat::Fat, "fat", &[(54, b"FAT1"), (82, b"FAT32")]),
    (ImageFormat::Ext4, "ext4", &[(1080, b"\x53\xef")]),
];

/// How much of a file [`probe`] needs at most.
pub const PROBE_LENGTH: usize = 36 << 10;

/// The format of a file that begins with `head`: its first [`PROBE_LENGTH`] bytes, or all there are.
pub fn probe(head: &[u8]) -> Option<ImageFormat> {
    let has = |(at, magic): &Magic| head.get(*at..).is_some_and(|rest| rest.starts_with(magic));
    let row = FORMATS.iter().find(|(_, _, magics)| magics.iter().any(has));
    match row {
        // Two bytes are few; a partition table's boot code may hold them by chance.
        Some((ImageFormat::Ext4, ..)) if !ext4_is_plausible(head) => mbr(head),
        Some((format, ..)) => Some(*format),
        None if is_skippable(head) => Some(ImageFormat::Zstd),
        None if is_html(head) => Some(ImageFormat::Html),
        None => mbr(head),
    }
}

/// Zstandard's skippable frames may come before the first real one.
fn is_skippable(head: &[u8]) -> bool {
    head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == [0x2a, 0x4d, 0x18]
}

fn is_html(head: &[u8]) -> bool {
    let text = head.strip_prefix("\u{feff}".as_bytes()).unwrap_or(head).trim_ascii_start();
    let begins = |word: &str| {
        text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
    };
    let has_html = || text.windows(5).any(|word| word.eq_ignore_ascii_case(b"<html"));
    begins("<!doctype html") || begins("<html") || (begins("<!--") && has_html())
}

fn mbr(head: &[u8]) -> Option<ImageFormat> {
    super::mbr::Table::read(head).is_ok().then_some(ImageFormat::Mbr)
}

/// Whether the superblock's block size and revision are ones that exist.
fn ext4_is_plausible(head: &[u8]) -> bool {
    let fields = super::fields::Fields::of("ext4", head);
    let small = |at, most| fields.le32(at).is_ok_and(|number| number <= most);
    small(1024 + 24, 6) && small(1024 + 76, 1)
}

/// The short name: `qcow2`.
impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = FORMATS.iter().find(|(format, ..)| format == self);
        f.write_str(match row {
            Some((_, name, _)) => name,
            None if *self == ImageFormat::Html => "html",
            None => "mbr",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;
    use crate::{Guid, gpt, mbr, swap};
    use proptest::prelude::*;

    #[test]
    fn each_magic_number_is_found() {
        for (format, name, magics) in FORMATS {
            for (at, magic) in magics {
                let mut head = vec![0; PROBE_LENGTH];
                head[*at..at + magic.len()].copy_from_slice(magic);
                assert_eq!(probe(&head), Some(format), "{name} at {at}");
            }
            assert_eq!(format.to_string(), name);
        }
        assert_eq!(ImageFormat::Mbr.to_string(), "mbr");
        assert_eq!(ImageFormat::Html.to_string(), "html");
    }

    #[test]
    fn formats_without_a_fixed_magic_number_are_found() {
        assert_eq!(probe(b"\x50\x2a\x4d\x18...."), Some(ImageFormat::Zstd));
        assert_eq!(probe(b"\n  <!DOCTYPE HTML><p>"), Some(ImageFormat::Html));
        assert_eq!(probe("\u{feff}<html>".as_bytes()), Some(ImageFormat::Html));
        assert_eq!(probe(b"<!-- x --><a>"), None);
        assert_eq!(probe(b""), None);
    }

    #[test]
    fn written_disks_are_found() {
        let mbr = mbr::Table::default().write(None).unwrap();
        assert_eq!(probe(&mbr), Some(ImageFormat::Mbr));
        let gpt = gpt::Table { disk_guid: Guid([1; 16]), disk: Bytes::mib(8), partitions: vec![] };
        assert_eq!(probe(&gpt.write(None).unwrap()[0].1), Some(ImageFormat::Gpt));
        let swap = swap::Swap { size: Bytes::mib(1), uuid: Guid([1; 16]), label: String::new() };
        assert_eq!(probe(&swap.write().unwrap()), Some(ImageFormat::Swap));
        assert_eq!(probe(&vec![0; PROBE_LENGTH]), None);
        assert_eq!(probe(b"#!/bin/sh\n"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_probed(head in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = probe(&head);
        }
    }
}
