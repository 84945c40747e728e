//! The fuzz targets as plain functions: each reads `data` in every way that its format has. None may
//! panic, hang, or take memory out of proportion, whatever the bytes are.
//!
//! cargo-fuzz runs them through the files in `fuzz_targets`; a unit test of kuth-formats includes
//! this file and runs them over a corpus on a stable toolchain.

use std::io::{Cursor, Read};

use kuth_formats::appliance::{Appliance, Card, Firmware, Plug};
use kuth_formats::units::Bytes;
use kuth_formats::{
    Guid, authorized_keys, cpio, deb, deb822, disk_info, dpkg, dsse, ext4, fat, foreign, gpt, grub,
    install_sources, intoto, iso9660, lvm2, mbr, oci, openpgp, os_release, ovf, probe, purl, qcow2,
    release, sbom, squashfs, swap, vbox, vdi, vhd, vmdk, xfs, xz, yaml,
};

/// A target's name, which is that of its file in `fuzz_targets` and of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 29] = [
    ("cpio", |data| ignore(cpio::read(data))),
    ("deb", |data| ignore(deb::read(Cursor::new(data)))),
    ("documents", documents),
    ("dpkg", |data| ignore(dpkg::read(&text(data)))),
    ("ext4", ext4),
    ("fat", fat),
    ("gpt", |data| ignore(gpt::Table::read_numbered(data))),
    ("grub", |data| ignore(grub::install(data, after(data, 512), ROOM))),
    ("install_sources", |data| ignore(install_sources::read(&text(data)))),
    ("iso9660", iso9660),
    ("lvm2", lvm2),
    ("lvm2_text", |data| ignore(lvm2::text::read(&text(data)))),
    ("mbr", |data| ignore((mbr::Table::read(data), mbr::Logical::read(data)))),
    ("openpgp", |data| ignore(openpgp::fingerprints(data))),
    ("os_release", |data| ignore((os_release::System::read(&text(data)), disk(data)))),
    ("ovf", ovf),
    ("probe", named),
    ("purl", |data| ignore(purl::read(&text(data)))),
    ("qcow2", qcow2),
    ("release", release),
    ("squashfs", squashfs),
    ("swap", |data| ignore(swap::Swap::read(data))),
    ("vbox", vbox),
    ("vdi", vdi),
    ("vhd", vhd),
    ("vmdk", vmdk),
    ("xfs", xfs),
    ("xz", xz),
    ("yaml", |data| ignore(yaml::read(&text(data)))),
];

/// Room for core.img that is never too small.
const ROOM: grub::Room = grub::Room {
    first: kuth_formats::units::Sectors(1),
    length: kuth_formats::units::Sectors(1 << 20),
};
/// Structures are read from each of these offsets, so that one input can hold several.
const OFFSETS: [usize; 6] = [0, 4, 60, 512, 1024, 4096];

/// Runs one target. Panics if there is none of this name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(other, _)| *other == name);
    target.unwrap_or_else(|| panic!("no target {name}")).1(data);
}

fn ignore<T>(_: T) {}

fn text(data: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(data)
}

fn after(data: &[u8], offset: usize) -> &[u8] {
    data.get(offset..).unwrap_or_default()
}

fn disk(data: &[u8]) -> disk_info::DiskInfo {
    disk_info::DiskInfo::read(&text(data))
}

/// What is known by its magic numbers alone.
fn named(data: &[u8]) {
    let read = |at: u64, length: usize| Ok::<_, ()>(data[at as usize..][..length].to_vec());
    let volume = foreign::volume(data.len() as u64, foreign::Table::None, read);
    let _ = (probe::probe(data), foreign::image(data, data), volume);
}

fn documents(data: &[u8]) {
    let _ = (oci::Document::read(data), oci::ImageConfig::read(data), oci::read_docker_table(data));
    let text = text(data);
    text.lines().for_each(|line| ignore(authorized_keys::check(line)));
    let _ = (dsse::Envelope::read(&text), intoto::Statement::read(data), sbom::packages(&text));
}

fn release(data: &[u8]) {
    let text = text(data);
    let _ = release::Release::read(&text).map(|it| it.lists("main", "amd64").len());
    let mut streamed = 0;
    let ended = deb822::for_each(text.as_bytes(), |it| streamed += it.fields().count());
    let read = deb822::paragraphs(&text).map(|it| it.fields().count());
    assert!(ended.is_err() || streamed == read.sum::<usize>());
}

fn ext4(data: &[u8]) {
    use ext4::{attribute, directory, extent, inode, journal, superblock};
    if let Ok(superblock) = superblock::Superblock::read(data) {
        for group in [0, superblock.groups() - 1] {
            let _ = superblock.descriptor_at(group);
            let _ = superblock.inode_table(after(data, superblock::LENGTH), group);
        }
        for offset in OFFSETS {
            let _ = inode::Inode::read(after(data, offset), 11, &superblock).map(|it| it.device());
        }
    }
    for seed in [None, Some(7)] {
        for bytes in OFFSETS.map(|offset| after(data, offset)) {
            let _ = extent::Node::read(bytes, seed);
            let _ = directory::read(bytes, seed);
            let _ = directory::Kind::of(bytes, 1, true).check(bytes, seed);
            let _ = (attribute::in_inode(bytes), attribute::in_block(bytes, 9, seed));
        }
    }
    if let Ok(journal) = journal::Journal::read(data) {
        let _ = (journal.refusal(), journal.after(journal.end - 1));
        let _ = journal.block(after(data, journal::LENGTH), journal.sequence);
        let _ = (journal.fast_commits(), journal::Journal::is_fast_commit(data, 7));
    }
}

fn xz(data: &[u8]) {
    use xz::{BlockHeader, Flags, Footer, Record};
    for rest in OFFSETS.map(|at| after(data, at)) {
        ignore((Flags::read_header(rest), Footer::read(rest)));
        ignore((Record::read_index(rest), BlockHeader::read(rest)));
    }
}

fn xfs(data: &[u8]) {
    use xfs::{attribute, directory, extent, inode, log, normalize, superblock};
    if let Ok(superblock) = superblock::Superblock::read(data) {
        for number in [0, superblock.root_inode, u64::MAX] {
            let _ = (superblock.block_at(number, 1), superblock.inode_at(number));
        }
        let inodes = after(data, superblock.inode_size.0 as usize);
        let _ = normalize::inodes(&superblock, inodes, superblock.inode_size, 1).count();
    }
    for bytes in OFFSETS.map(|offset| after(data, offset)) {
        let _ = inode::Inode::read(bytes, 128);
        let _ = (extent::records(bytes), extent::root(bytes), attribute::short_form(bytes));
        let _ = (attribute::remote(bytes, b"XARM"), log::record(bytes, 0), log::is_unmount(bytes));
        for flag in [false, true] {
            let _ = (extent::node(bytes, flag), attribute::block(bytes, flag));
            let _ = (directory::short_form(bytes, flag), directory::block(bytes, !flag, flag));
        }
    }
}

fn squashfs(data: &[u8]) {
    use squashfs::compression::Compression;
    use squashfs::{attribute, block, directory, inode, superblock};
    let _ = superblock::Superblock::read(data);
    for bytes in OFFSETS.map(|offset| after(data, offset)) {
        let _ = (inode::length(bytes), inode::Inode::read(bytes), inode::after_target(bytes));
        let _ = (directory::header(bytes), directory::entry(bytes, 3));
        let _ = (attribute::header(bytes), attribute::entry(bytes), attribute::name(bytes));
        let _ = (attribute::value(bytes), attribute::out_of_line(bytes));
        if let Ok((_, size)) = block::fragment(bytes) {
            let _ = block::StoredBlock::of_data(size, 4096);
        }
    }
    if let Some(head) = data.first_chunk() {
        let _ = block::StoredBlock::of_metadata(*head);
    }
    for compression in [Compression::Gzip, Compression::Xz, Compression::Zstd] {
        let unpacked = compression.unpack(data, squashfs::METADATA_SIZE);
        assert!(unpacked.is_err() || unpacked.is_ok_and(|it| it.len() <= squashfs::METADATA_SIZE));
    }
}

fn fat(data: &[u8]) {
    if let Ok(boot) = fat::BootSector::read(data) {
        for cluster in [0, 2, 3, boot.clusters + 1, u32::MAX] {
            let _ = (boot.cluster_at(cluster), boot.fat_entry(cluster));
            let _ = boot.next_cluster(cluster, after(data, fat::BOOT_SECTOR));
        }
    }
    let _ = (fat::entries(data), fat::entries(after(data, fat::BOOT_SECTOR)));
    let _ = fat::Item::read(data);
}

fn iso9660(data: &[u8]) {
    let Ok(mut image) = iso9660::Image::open(Cursor::new(data)) else { return };
    let mut directories = vec![image.root().clone()];
    for _ in 0..16 {
        let Some(directory) = directories.pop() else { return };
        for entry in image.entries(&directory).unwrap_or_default().into_iter().take(64) {
            match entry.kind {
                iso9660::Kind::Directory => directories.push(entry),
                _ => ignore(image.contents(&entry).take(1 << 16).read_to_end(&mut Vec::new())),
            }
        }
    }
}

fn lvm2(data: &[u8]) {
    let _ = (lvm2::header::label(data), lvm2::header::newest(after(data, 4096)));
    if let Ok((_, Some(group))) = lvm2::read(data) {
        for volume in &group.logical {
            let _ = group.runs(&volume.name);
        }
    }
}

fn qcow2(data: &[u8]) {
    let Ok(header) = qcow2::read::Header::read(data) else { return };
    let tables = after(data, 512);
    for index in [0, 1, header.l2_entries() - 1] {
        let _ = (header.l2_table_offset(tables, index), header.cluster(tables, index));
    }
}

fn vmdk(data: &[u8]) {
    use vmdk::read::{Descriptor, GrainMarker, Header, entry};
    let _ = Header::read(data).map(|header| header.grain_tables());
    let _ = (Descriptor::read(data), entry(data, 1), GrainMarker::read(data));
}

fn vdi(data: &[u8]) {
    let Ok(header) = vdi::Header::read(data) else { return };
    let _ = header.block_map();
    let _ = header.contents(after(data, vdi::HEADER_LENGTH), Bytes(data.len() as u64));
}

fn vhd(data: &[u8]) {
    use vhd::read::{Footer, Header};
    let size = Footer::read(data).map_or(Bytes::MIB, |footer| footer.current_size);
    if let Ok(header) = Header::read(after(data, vhd::FOOTER_LENGTH), size) {
        let _ = (header.bitmap_length(), header.block_offset(after(data, 1536), 0));
    }
}

fn appliance(name: &str, network: &str) -> Appliance {
    let plugs = [Plug::Nat, Plug::Bridged(network.into()), Plug::Internal(network.into())];
    Appliance {
        name: name.into(),
        cpus: 1,
        memory: Bytes::GIB,
        vram: 16,
        firmware: Firmware::Uefi,
        cards: plugs.map(|plug| Card { plug, mac: [2; 6] }).into(),
        disk: Bytes::GIB,
    }
}

fn ovf(data: &[u8]) {
    let text = text(data);
    let _ = (ovf::descriptor(&appliance(&text, "")), ovf::Names::of(&text));
}

/// Reads settings, and those that were written with `data` as names.
fn vbox(data: &[u8]) {
    let text = text(data);
    let _ = vbox::read(&text);
    // XML has no control characters.
    let name: String = text.chars().filter(|c| !c.is_control() && *c < '\u{fffe}').collect();
    let ids = vbox::Ids { machine: Guid([1; 16]), disk: Guid([2; 16]) };
    let written = vbox::settings(&appliance("a", &name), "a.vdi", ids);
    assert!(written.is_ok_and(|written| vbox::read(&written).is_ok()));
}
