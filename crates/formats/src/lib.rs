//! Readers and writers for the formats of disk images. Every function takes bytes and returns values,
//! or takes values and returns bytes: it knows no files, clock, randomness, environment or commands.
//! UUIDs, serial numbers and times are arguments, so equal values give equal bytes on every machine.
//!
//! Readers do not trust their input. They return a [`Fault`], which names the format and the reason,
//! for damage and for unsupported features; they never panic.
//!
//! # Formats
//!
//! | format | module | specification | |
//! |---|---|---|---|
//! | GUID partition table | [`gpt`] | UEFI 2.10, chapter 5 | reads, writes |
//! | DOS partition table | [`mbr`] | UEFI 2.10, section 5.2.1 | reads, writes |
//! | LVM2 physical volumes and metadata | [`lvm2`] | lvm2's `label.h`, `layout.h`, `vgcfgbackup(8)` | reads, writes |
//! | ext2, ext3, ext4 and their journal | [`ext4`] | Linux, Documentation/filesystems/ext4 | reads |
//! | XFS 4 and 5 | [`xfs`] | "XFS Algorithms & Data Structures", 3rd edition | reads; normalizes inodes |
//! | FAT12, FAT16, FAT32 | [`fat`] | Microsoft, "FAT32 File System Specification" 1.03 | reads; writes FAT32 |
//! | SquashFS 4.0 | [`squashfs`] | Linux, `squashfs_fs.h` | reads |
//! | ISO 9660, Joliet, Rock Ridge | [`iso9660`] | ECMA-119, Joliet, IEEE P1281 and P1282 | reads, writes |
//! | Linux swap areas | [`swap`] | Linux, `union swap_header` | reads, writes |
//! | qcow2 2 and 3 | [`qcow2`] | QEMU, docs/interop/qcow2.txt | reads; writes 3 |
//! | VMDK | [`vmdk`] | VMware, "Virtual Disk Format 5.0" | reads; writes streamOptimized |
//! | VDI 1.1 | [`vdi`] | VirtualBox, VDICore.h | reads, writes |
//! | VHD | [`vhd`] | Microsoft, "Virtual Hard Disk Image Format Specification" 1.0 | reads; writes dynamic |
//! | xz: streams, blocks and indexes | [`xz`] | "The .xz File Format" 1.2.1 | reads, writes |
//! | Access control lists | [`acl`] | Linux, `posix_acl_xattr.h`; star(5) | reads |
//! | OCI image layouts, manifests and configurations | [`oci`] | OCI Image Format Specification 1.1 | reads, writes |
//! | OVF 1.0 descriptors and manifests | [`ovf`] | DMTF DSP0243 | writes |
//! | VirtualBox settings | [`vbox`] | VirtualBox-settings.xsd 1.16 | reads, writes |
//! | GRUB 2 images and grub.cfg | [`grub`] | GRUB, `boot.h` for i386-pc | patches, writes |
//! | cpio (newc) | [`cpio`] | Linux, buffer-format.rst | reads, writes |
//! | Debian packages: control data | [`deb`] | deb(5), deb-control(5) | reads |
//! | Control files | [`deb822`] | deb822(5) | reads |
//! | `Release`, `InRelease` | [`release`] | Debian Wiki, DebianRepository/Format | reads |
//! | dpkg's status database | [`dpkg`] | deb-control(5), dpkg(1) | reads |
//! | Foreign images, file systems and RAID | [`foreign`] | QEMU, libewf, util-linux | names |
//! | IBM 437 | [`ibm437`] | Unicode, CP437.TXT | decodes |
//! | Public keys of OpenSSH | [`authorized_keys`] | sshd(8) | checks |
//! | OpenPGP certificates | [`openpgp`] | RFC 9580 | reads fingerprints |
//! | os-release | [`os_release`] | os-release(5) | reads |
//! | `.disk/info` of installation media | [`disk_info`] | debian-cd, livecd-rootfs | reads |
//! | `install-sources.yaml` of Ubuntu | [`install_sources`] | Ubuntu media, 22.04 to 26.04 | reads |
//! | YAML with source positions | [`yaml`] | YAML 1.2, as far as PyYAML takes it | reads |
//! | CycloneDX 1.6, SPDX 2.3 | [`sbom`] | ECMA-424; SPDX 2.3 | reads package URLs, writes |
//! | Package URLs | [`purl`] | ECMA-427, type `deb` | reads, writes |
//! | in-toto Statement, SLSA provenance v1 | [`intoto`] | in-toto attestation framework; SLSA v1 | reads, writes |
//! | DSSE envelopes | [`dsse`] | secure-systems-lab/dsse 1.0 | reads, writes |
//!
//! [`probe`] finds out which of them a file has. [`blocks`], [`appliance`], [`fields`], [`guid`],
//! [`digest`], [`units`] and [`xml`] are what they share.

pub mod acl;
pub mod appliance;
pub mod authorized_keys;
pub mod blocks;
pub mod cpio;
pub mod crc32;
mod crc32c;
pub mod deb;
pub mod deb822;
pub mod debian_version;
pub mod digest;
pub mod disk_info;
pub mod dpkg;
pub mod dsse;
pub mod ext4;
pub mod fat;
pub mod fault;
pub mod fields;
pub mod foreign;
pub mod gpt;
pub mod grub;
pub mod guid;
pub mod ibm437;
pub mod install_sources;
pub mod intoto;
pub mod iso9660;
pub mod lvm2;
pub mod mbr;
pub mod oci;
pub mod openpgp;
pub mod os_release;
pub mod ovf;
pub mod probe;
pub mod purl;
pub mod qcow2;
pub mod release;
pub mod sbom;
pub mod squashfs;
pub mod swap;
pub mod units;
pub mod vbox;
pub mod vdi;
pub mod vhd;
pub mod vmdk;
pub mod xfs;
pub mod xml;
pub mod xz;
pub mod yaml;

pub use fault::Fault;
pub use guid::Guid;

use crate::units::Bytes;

/// Bytes to write at offsets, ascending and not overlapping; what lies between is zero.
pub type Pieces = Vec<(Bytes, Vec<u8>)>;

// The fuzz targets name this crate as every other user does.
#[cfg(test)]
extern crate self as kuth_formats;
#[cfg(test)]
mod fuzz_corpus;
#[cfg(test)]
#[path = "../fuzz/src/lib.rs"]
mod fuzz_targets;
