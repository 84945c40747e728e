//! One disk in every container that qemu-img and kuth make: the same bytes come out.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kuth::cancel::Cancel;
use kuth::cancel::Progress;
use kuth::digest::Digest;
use kuth::format::vmdk::Level;
use kuth::image::{self, Container, Identity};
use kuth::import::{self, OtherFiles, Source};

use crate::world::{World, have, run, text};

const SIZE: u64 = 21 << 20;

/// A disk with data that compresses, data that does not, and holes.
fn disk(world: &World) -> Vec<u8> {
    let mut bytes = vec![0; SIZE as usize];
    let random: Vec<u8> =
        (0..1_500_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    bytes[1000..1000 + random.len()].copy_from_slice(&random);
    bytes[5 << 20..(5 << 20) + 700_000].fill(7);
    bytes[13_000_000..13_000_009].copy_from_slice(b"some data");
    let end = bytes.len();
    bytes[end - 3..].copy_from_slice(b"end");
    std::fs::write(world.at("disk.raw"), &bytes).unwrap();
    bytes
}

/// The disk in an image, read in odd pieces.
fn read(path: &Path) -> Vec<u8> {
    let image =
        import::open(path, OtherFiles::SameDirectory).unwrap_or_else(|error| panic!("{error:#}"));
    let disk: &dyn Source = &*image.disk;
    let mut bytes = vec![0xaa; disk.size() as usize];
    for (index, piece) in bytes.chunks_mut(100_003).enumerate() {
        disk.read_at(piece, index as u64 * 100_003).unwrap_or_else(|error| panic!("{error:#}"));
    }
    bytes
}

fn assert_same(name: &str, found: &[u8], expected: &[u8]) {
    // VHD has whole cylinders, which may be more.
    let (found, rest) = found.split_at(expected.len().min(found.len()));
    assert_eq!(found.len(), expected.len(), "{name}");
    let at = found.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(at, None, "{name} differs");
    assert!(rest.iter().all(|byte| *byte == 0), "{name}");
}

#[test]
fn what_qemu_img_writes_is_read() {
    if !have(&["qemu-img"]) {
        return;
    }
    let world = World::new();
    let expected = disk(&world);
    for (name, options) in [
        ("plain.qcow2", "qcow2"),
        ("old.qcow2", "qcow2 -o compat=0.10"),
        ("small.qcow2", "qcow2 -o cluster_size=512"),
        ("large.qcow2", "qcow2 -o cluster_size=2M"),
        ("parts.qcow2", "qcow2 -o extended_l2=on,cluster_size=128k"),
        ("packed.qcow2", "qcow2 -c"),
        ("packed-small.qcow2", "qcow2 -c -o cluster_size=4k"),
        ("packed-parts.qcow2", "qcow2 -c -o extended_l2=on"),
        ("zstd.qcow2", "qcow2 -c -o compression_type=zstd"),
        ("sparse.vmdk", "vmdk"),
        ("flat.vmdk", "vmdk -o subformat=monolithicFlat"),
        ("split.vmdk", "vmdk -o subformat=twoGbMaxExtentSparse"),
        ("split-flat.vmdk", "vmdk -o subformat=twoGbMaxExtentFlat"),
        ("stream.vmdk", "vmdk -o subformat=streamOptimized"),
        ("zeroed.vmdk", "vmdk -o zeroed_grain=on"),
        ("dynamic.vdi", "vdi"),
        ("static.vdi", "vdi -o static=on"),
        ("dynamic.vhd", "vpc"),
        ("fixed.vhd", "vpc -o subformat=fixed"),
        ("exact.vhd", "vpc -o force_size=on"),
    ] {
        let (raw, to) = (world.at("disk.raw"), world.at(name));
        let command =
            format!("qemu-img convert -f raw -O {options} '{}' '{}'", raw.display(), to.display());
        run("sh", &["-c", &command]);
        assert_same(name, &read(&to), &expected);
    }
}

#[test]
fn what_kuth_writes_is_read() {
    let world = World::new();
    let expected = disk(&world);
    let identity = Identity { disk: Digest::of("disk"), epoch: 1_767_225_600 };
    let cancel = Cancel::default();
    for (name, container) in [
        ("qcow2", Container::Qcow2),
        ("vdi", Container::Vdi),
        ("vhd", Container::Vhd),
        ("vmdk", Container::Vmdk(Level(6))),
    ] {
        let to = world.at(name);
        let progress = Progress { cancel: &cancel, report: &|_, _| () };
        image::write(&world.at("disk.raw"), container, identity, &to, 2, progress).unwrap();
        assert_same(name, &read(&to), &expected);
    }
}

#[test]
fn chains_of_images_are_followed_in_their_directory() {
    if !have(&["qemu-img", "qemu-io"]) {
        return;
    }
    let world = World::new();
    let mut expected = disk(&world);
    let directory = world.directory.path().display().to_string();
    let qemu = |command: &str| run("sh", &["-c", &format!("cd '{directory}' && {command}")]);
    qemu("qemu-img create -q -f qcow2 -b disk.raw -F raw middle.qcow2");
    qemu("qemu-io -c 'write -P 9 1M 100k' -c 'write -z 5M 128k' middle.qcow2");
    qemu("qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 top.qcow2 22M");
    qemu("qemu-io -c 'write -P 3 20900k 300k' top.qcow2");
    expected[1 << 20..(1 << 20) + 102_400].fill(9);
    expected[5 << 20..(5 << 20) + (128 << 10)].fill(0);
    expected.resize(22 << 20, 0);
    expected[20_900 << 10..21_200 << 10].fill(3);
    assert_same("the chain", &read(&world.at("top.qcow2")), &expected);
    assert_eq!(
        import::pick(world.directory.path(), None, None).unwrap().image,
        world.at("top.qcow2")
    );
    qemu("qemu-img convert -O vdi disk.raw other.vdi");
    let error = import::pick(world.directory.path(), None, None).unwrap_err();
    let expected = "none of the 2 disk images of the directory has a system: other.vdi, top.qcow2";
    assert_eq!(error.to_string(), expected);
    // The one that is named, also where another one needs it.
    let picked = import::pick(world.directory.path(), Some("middle.qcow2"), None).unwrap();
    assert_eq!(picked.image, world.at("middle.qcow2"));
    let error = import::pick(world.directory.path(), Some("none.vdi"), None).unwrap_err();
    assert_eq!(error.to_string(), "`path` names none.vdi, which is no file of the directory");
    assert_eq!(kuth::error::hints(&error), ["its disk images are other.vdi, top.qcow2"]);

    let alone = import::open(&world.at("top.qcow2"), OtherFiles::Refused).err().unwrap();
    assert!(format!("{alone:#}").ends_with("it needs the file `middle.qcow2`, and it came alone"));
    std::fs::create_dir(world.at("deep")).unwrap();
    for (name, why) in [
        ("../disk.raw", "it needs the file `../disk.raw`, which lies elsewhere"),
        ("/etc/passwd", "it needs the file `/etc/passwd`, which lies elsewhere"),
        ("json:{}", "it needs the file `json:{}`, which is not beside it"),
        ("evil.qcow2", "evil.qcow2 lies below itself"),
    ] {
        qemu(&format!("qemu-img create -q -u -f qcow2 -b '{name}' -F raw deep/evil.qcow2 1M"));
        let error =
            import::open(&world.at("deep/evil.qcow2"), OtherFiles::SameDirectory).err().unwrap();
        assert!(format!("{error:#}").ends_with(why), "{error:#}");
    }
}

#[test]
fn images_that_are_cut_short_are_refused() {
    if !have(&["qemu-img"]) {
        return;
    }
    let world = World::new();
    disk(&world);
    for (format, options) in
        [("qcow2", ""), ("vmdk", "-o subformat=streamOptimized"), ("vdi", ""), ("vpc", "")]
    {
        let to = world.at(format);
        let (raw, image) = (world.at("disk.raw"), to.display().to_string());
        run(
            "sh",
            &[
                "-c",
                &format!("qemu-img convert -O {format} {options} '{}' '{image}'", raw.display()),
            ],
        );
        let file = File::options().write(true).open(&to).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length / 2).unwrap();
        let broken = match import::open(&to, OtherFiles::SameDirectory) {
            Err(_) => continue,
            Ok(image) => (0..image.disk.size() >> 16)
                .any(|index| image.disk.read_at(&mut vec![0; 65_536], index << 16).is_err()),
        };
        assert!(broken, "{format} in {}", text(&to));
    }
    // Numbers out of a head never say how much memory is taken.
    let image = world.at("qcow2");
    let file = File::options().write(true).open(&image).unwrap();
    file.write_all_at(&u32::MAX.to_be_bytes(), 36).unwrap();
    assert!(import::open(&image, OtherFiles::SameDirectory).is_err());
}
