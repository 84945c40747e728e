//! Runs the fuzz targets on a stable toolchain, over a corpus that the writers make, what cargo-fuzz
//! left in `fuzz/corpus`, and damaged forms of both.

use std::collections::BTreeSet;
use std::path::Path;

use crate::appliance::tests::appliance;
use crate::blocks::BlockMap;
use crate::fields::put;
use crate::fuzz_targets::{TARGETS, run};
use crate::lvm2::{Extents, Id, Layout, Origin};
use crate::units::Bytes;
use crate::{
    Guid, Pieces, cpio, deb, dpkg, dsse, fat, gpt, iso9660, mbr, qcow2, swap, vbox, vdi, vhd, vmdk,
    xz,
};

fn joined(pieces: &Pieces) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, piece) in pieces {
        bytes.resize(bytes.len().max(at.0 as usize + piece.len()), 0);
        put(&mut bytes, at.0 as usize, piece);
    }
    bytes
}

fn block_map(block: Bytes) -> BlockMap {
    BlockMap::new(Bytes::mib(4), block, [(Bytes::MIB, Bytes(1))]).unwrap()
}

/// `length` zero bytes with values put at offsets.
fn structure(length: usize, values: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; length];
    values.iter().for_each(|(at, value)| put(&mut bytes, *at, value));
    bytes
}

fn fat_volume() -> Vec<u8> {
    let geometry = fat::Geometry::new(Bytes::mib(64)).unwrap();
    let mut bytes = geometry.boot_sectors(7, "LABEL", 1).remove(0).1;
    let time = fat::Timestamp::from_epoch(1_767_225_600);
    let attribute = fat::attribute::DIRECTORY;
    let item = fat::NewItem { attribute, first_cluster: 2, size: 0, time };
    for name in ["EFI", "a long name.text"] {
        bytes.extend(fat::Name::new(name, &mut BTreeSet::new()).unwrap().write(&item));
    }
    bytes
}

fn lvm2_disk() -> Vec<u8> {
    let id = |label| Id::derived("test", label);
    let volume = crate::lvm2::Volume { name: "root".into(), id: id("lv"), extents: Extents(2) };
    let layout = Layout {
        name: "vg0".into(),
        id: id("vg"),
        pv_id: id("pv"),
        pv_size: Bytes::mib(64),
        extent_size: Bytes::mib(4),
        volumes: vec![volume],
        origin: Origin { host: "there".into(), time: 0 },
    };
    let mut bytes = joined(&layout.write().unwrap());
    bytes.resize(1 << 20, 0);
    bytes
}

fn vmdk_image() -> Vec<u8> {
    let description = vmdk::Description {
        size: Bytes::mib(4),
        file_name: "disk.vmdk".into(),
        uuid: Guid([1; 16]),
        adapter: vmdk::Adapter::LsiLogic,
    };
    let mut stream = vmdk::Stream::new(Vec::new(), &description).unwrap();
    stream.push(3, &vmdk::compress_grain(&[1; 512], vmdk::Level(6))).unwrap();
    stream.finish().unwrap()
}

fn ext4_file_system() -> Vec<u8> {
    let mut bytes = structure(
        8192,
        &[
            (0, &32u32.to_le_bytes()),
            (4, &8192u32.to_le_bytes()),
            (20, &[1]),
            (32, &8192u32.to_le_bytes()),
            (40, &32u32.to_le_bytes()),
            (56, &[0x53, 0xef]),
            (76, &[1]),
            (88, &[128]),
        ],
    );
    // An inode of a file with one extent.
    put(&mut bytes, 1024, &[0xa4, 0x81]);
    put(&mut bytes, 1024 + 40, &[0x0a, 0xf3, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
    put(&mut bytes, 4096, &[7, 0, 0, 0, 20, 0, 3, 1, b'a', b'b', b'c']);
    bytes
}

fn ext4_journal() -> Vec<u8> {
    let header = |kind: u8| [0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, kind, 0, 0, 0, 1];
    let mut bytes = structure(
        2048,
        &[(0, &header(4)), (14, &[4]), (19, &[9]), (23, &[1]), (27, &[1]), (31, &[1])],
    );
    put(&mut bytes, 1024, &header(1));
    put(&mut bytes, 1036, &[0, 0, 0, 5, 0, 0, 0, 8]);
    bytes
}

/// The header of a block, then the header of a stream, an index and a footer.
fn xz_stream() -> Vec<u8> {
    let flags = xz::Flags::read_header(b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46").unwrap();
    let index = xz::Record { unpadded: Bytes(20), size: Bytes(9) }.index();
    let footer = xz::Footer { index: Bytes(index.len() as u64), flags }.write();
    let mut bytes = b"\x02\0\x21\x01\x16\0\0\0\x74\x2f\xe5\xa3".to_vec();
    for (at, part) in [(60, flags.header()), (512, index), (1024, footer)] {
        bytes.resize(at, 0);
        bytes.extend(part);
    }
    bytes
}

fn xfs_file_system() -> Vec<u8> {
    structure(
        8192,
        &[
            (0, b"XFSB"),
            (4, &4096u32.to_be_bytes()),
            (8, &1000u64.to_be_bytes()),
            (56, &128u64.to_be_bytes()),
            (84, &1000u32.to_be_bytes()),
            (88, &1u32.to_be_bytes()),
            (100, &[0, 4, 2, 0, 2, 0]),
            (120, &[12, 9, 9, 3, 10]),
            (512, &[b'I', b'N', 0x81, 0xa4, 2, 2]),
            (1024, b"XD2D"),
            (4096, b"BMAP"),
        ],
    )
}

fn squashfs_file_system() -> Vec<u8> {
    let mut bytes = structure(
        1024,
        &[
            (0, b"hsqs\x05\0\0\0"),
            (12, &(1u32 << 17).to_le_bytes()),
            (20, &[1, 0, 17, 0, 0, 0, 1, 0, 4, 0, 0, 0]),
            (512, &[2, 0, 0xa4, 1]),
        ],
    );
    for (at, number) in [(40, 1000u64), (48, 500), (56, u64::MAX), (64, 96), (72, 200)] {
        put(&mut bytes, at, &number.to_le_bytes());
    }
    bytes
}

/// Inputs that the targets read, at least one for each.
fn corpus() -> Vec<(&'static str, Vec<u8>)> {
    let overlay = qcow2::Overlay {
        size: Bytes::gib(1),
        backing: "base.raw".into(),
        backing_format: qcow2::BackingFormat::Raw,
    };
    let seed = iso9660::Volume {
        label: "cidata".into(),
        time: 0,
        files: ["user-data", "a/b"]
            .map(|path| iso9660::File { path: path.into(), bytes: b"x".to_vec() })
            .into(),
    };
    let ids = vdi::Ids { image: Guid([1; 16]), modification: Guid([2; 16]) };
    let identity = vhd::Identity { uuid: Guid([1; 16]), time: 1_767_225_600 };
    let table = gpt::Table { disk_guid: Guid([1; 16]), disk: Bytes::mib(8), partitions: vec![] };
    let swap = swap::Swap { size: Bytes::mib(1), uuid: Guid([1; 16]), label: String::new() };
    let envelope = dsse::Envelope { kind: "a/b".into(), payload: vec![1], signatures: vec![] };
    let ids_of_vbox = vbox::Ids { machine: Guid([1; 16]), disk: Guid([2; 16]) };
    let group = "vg0 {\nid = \"x\"\nlv = [\"a\", 1]\n}\ncontents = \"Text Format Volume Group\"\n";
    let grub = structure(1536, &[(0x5c, &[1]), (0x64, &[0xff, 0, 0xeb, 5]), (510, &[0x55, 0xaa])]);
    vec![
        ("cpio", cpio::write(&[cpio::Entry::file("a", 0o644, "xyz")]).unwrap()),
        ("deb", deb::tests::sample()),
        ("documents", envelope.write().into_bytes()),
        ("dpkg", dpkg::tests::STATUS.into()),
        ("ext4", ext4_file_system()),
        ("ext4", ext4_journal()),
        ("fat", fat_volume()),
        ("gpt", joined(&table.write(None).unwrap())[..34 * 512].to_vec()),
        ("grub", grub),
        ("install_sources", b"- {id: a, path: a.b.squashfs, default: true}\n".into()),
        ("iso9660", seed.write().unwrap()),
        ("lvm2", lvm2_disk()),
        ("lvm2_text", group.into()),
        ("mbr", mbr::Table::default().write(None).unwrap().into()),
        ("openpgp", b"\x98\x03\x04\x00\x01\xc6\x02\x06\x00".into()),
        ("os_release", b"ID=debian\nPRETTY_NAME=\"Debian \\\"13\\\"\"\n".into()),
        ("ovf", b"web-1".into()),
        ("probe", structure(36 << 10, &[(1080, &[0x53, 0xef]), (257, b"ustar")])),
        ("purl", b"pkg:deb/debian/g%2B%2B@1%3A2?arch=amd64".into()),
        ("qcow2", overlay.write().unwrap()[..4096].to_vec()),
        ("release", b"-----BEGIN PGP SIGNED MESSAGE-----\n\nSuite: a\nSHA256:\n 00 1 a\n".into()),
        ("squashfs", squashfs_file_system()),
        ("swap", swap.write().unwrap()),
        ("vbox", vbox::settings(&appliance(), "web-1.vdi", ids_of_vbox).unwrap().into()),
        ("vdi", vdi::plan(&block_map(vdi::BLOCK), ids).unwrap().pieces.remove(0).1),
        (
            "vhd",
            joined(&vhd::plan(&block_map(vhd::BLOCK), identity).unwrap().pieces)[..4096].into(),
        ),
        ("vmdk", vmdk_image()),
        ("xfs", xfs_file_system()),
        ("xz", xz_stream()),
        ("yaml", b"a: [1, {b: 'c'}]\nd: |\n  text\n".into()),
    ]
}

/// Runs a target over an input, its beginnings, and forms of it with one byte changed.
fn run_damaged(target: &str, input: &[u8]) {
    run(target, input);
    for part in 0..24 {
        run(target, &input[..input.len() * part / 24]);
        run(target, &input[..part.min(input.len())]);
    }
    let mut input = input.to_vec();
    let mut state = 0x2545_f491_u32;
    for _ in 0..if input.is_empty() { 0 } else { 200 } {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let at = state as usize / 256 % input.len().min(4096);
        let byte = std::mem::replace(&mut input[at], state as u8);
        run(target, &input);
        input[at] = byte;
    }
}

#[test]
fn no_target_panics_on_the_corpus_or_its_damaged_forms() {
    let corpus = corpus();
    for (target, _) in TARGETS {
        assert!(corpus.iter().any(|(name, _)| *name == target), "{target} has no input");
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        for entry in std::fs::read_dir(directory).into_iter().flatten() {
            run(target, &std::fs::read(entry.unwrap().path()).unwrap());
        }
    }
    corpus.iter().for_each(|(target, input)| run_damaged(target, input));
}

#[test]
fn every_target_is_a_program_for_cargo_fuzz() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for (target, _) in TARGETS {
        let program = std::fs::read_to_string(fuzz.join(format!("fuzz_targets/{target}.rs")));
        assert!(program.unwrap().contains(&format!("run(\"{target}\", data)")), "{target}");
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}");
    }
}
