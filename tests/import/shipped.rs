//! Images as others ship them: compressed, with a second disk beside the first, with sectors of 4096
//! bytes, and with the first copy of their table lost.

use std::fs::File;
use std::os::unix::fs::FileExt;

use kuth::import;

use crate::inspected::inspect;
use crate::world::{World, assert_same, have, import, lay, root_owner, run, text};

const TOOLS: &[&str] = &["mke2fs", "qemu-img", "tar", "debugfs", "sgdisk"];
const MIB: u64 = 1 << 20;

/// A file system of 64 MiB with a small system.
fn system(world: &World) -> std::path::PathBuf {
    let (root, _) = world.small_tree("/dev/vda1 / ext4 defaults 0 1\n");
    let image = world.at("system.raw");
    File::create(&image).unwrap().set_len(64 * MIB).unwrap();
    let options = ["-q", "-F", "-t", "ext4", "-E", &root_owner(), "-d", text(&root), text(&image)];
    run("mke2fs", &options);
    image
}

#[test]
fn compressed_images_and_boxes_with_several_disks_give_the_tree_of_the_system() {
    if !have(TOOLS) || !have(&["xz", "gzip", "bzip2", "zstd"]) {
        return;
    }
    let world = World::new();
    system(&world);
    let directory = world.directory.path().display().to_string();
    let sh = |command: &str| run("sh", &["-c", &format!("cd '{directory}' && {command}")]);
    sh("qemu-img convert -O qcow2 system.raw system.qcow2");
    sh("xz -k -T1 --block-size=8MiB system.raw && gzip -k system.raw");
    sh("bzip2 -k system.qcow2 && zstd -q system.raw");
    // A box of Vagrant with a drive for cloud-init.
    sh("mkdir box && qemu-img convert -O vmdk -o subformat=streamOptimized system.raw box/a.vmdk");
    sh("mke2fs -q -F -t ext2 -L config-2 config.raw 8M");
    sh("qemu-img convert -O vmdk -o subformat=streamOptimized config.raw box/config.vmdk");
    sh("tar -czf one.box -C box . && cp box/a.vmdk box/b.vmdk && tar -czf two.box -C box .");
    let mut pipeline = "[pipeline]\nname = \"p\"\n".to_string();
    let mut stages = Vec::new();
    for (name, file, keys) in [
        ("plain", "system.raw", ""),
        ("xz", "system.raw.xz", ""),
        ("gz", "system.raw.gz", ""),
        ("bz2", "system.qcow2.bz2", ""),
        ("zst", "system.raw.zst", ""),
        ("one", "one.box", ""),
        ("named", "two.box", "path = \"b.vmdk\"\n"),
        ("two", "two.box", ""),
    ] {
        let mut from = format!("image-{name}");
        pipeline +=
            &format!("[stage.{from}]\nkind = \"download\"\nurl = \"file://{directory}/{file}\"\n");
        if file.ends_with(".box") {
            pipeline += &format!("[stage.box-{name}]\nkind = \"unpack\"\nfrom = \"{from}\"\n");
            from = format!("box-{name}");
        }
        pipeline += &format!("[stage.{name}]\nkind = \"import\"\nfrom = \"{from}\"\n{keys}");
        stages.push(name);
    }
    std::fs::write(world.at("p.toml"), pipeline).unwrap();
    stages.pop();
    world.kuth(&[&["build", "p.toml"], &stages[..]].concat()).ok();
    let expected = world.path_of("plain");
    for stage in &stages {
        assert_eq!(world.path_of(stage), expected, "{stage}");
    }
    let err = world.kuth(&["build", "p.toml", "two"]).ended(1).err;
    assert!(err.contains("2 disk images of the directory have a system: a.vmdk, b.vmdk"), "{err}");
    assert!(err.contains("hint: say which with `path`"), "{err}");
    // What was cut short is noticed, and says so.
    sh("head -c -9 system.raw.xz >cut.xz && head -c -9 system.raw.gz >cut.gz");
    for file in ["cut.xz", "cut.gz"] {
        let options = kuth::archive::Options {
            limit: None,
            threads: 2,
            epoch: 0,
            work: world.directory.path(),
            cancel: &kuth::cancel::Cancel::default(),
            report: &|_, _| (),
        };
        let to = world.at(&format!("{file}.raw"));
        assert!(kuth::archive::decompress(&world.at(file), &to, &options).is_err(), "{file}");
    }
}

#[test]
fn a_gpt_of_large_sectors_and_the_copy_of_one_are_read() {
    if !have(TOOLS) || !have(&["sfdisk"]) {
        return;
    }
    let world = World::new();
    let image = system(&world);
    import(&image, &world.at("expected.tar")).unwrap();
    let disk = world.at("disk.raw");
    File::create(&disk).unwrap().set_len(80 * MIB).unwrap();
    let id = "11111111-2222-3333-4444-555555555555";
    let script = format!("label: gpt\nstart=2048, size=131072, type=linux, uuid={id}, name=root\n");
    run("sh", &["-c", &format!("sfdisk -q '{}' <<'END'\n{script}END\n", disk.display())]);
    lay(&disk, MIB, &image);
    let sound = std::fs::read(&disk).unwrap();
    // The header is gone, then everything before the partition, then the copy too.
    for (cleared, is_read) in [(512..34 * 512, true), (0..MIB, true), (512..34 * 512, false)] {
        let mut bytes = sound.clone();
        bytes[cleared.start as usize..cleared.end as usize].fill(0);
        if !is_read {
            let last = bytes.len() - 512;
            bytes[last..].fill(0);
        }
        std::fs::write(&disk, &bytes).unwrap();
        let to = world.at("imported.tar");
        match import(&disk, &to) {
            Ok(_) => {
                assert!(is_read);
                assert_same(&world.at("expected.tar"), &to);
                assert!(inspect(&disk)[0].contains("GPT table"));
            }
            Err(error) => {
                assert!(!is_read && error.contains("is meant to have a GPT"), "{error}");
            }
        }
    }
    // The same table in sectors of 4096 bytes, by hand: places are an eighth.
    let mut bytes = vec![0; 80 << 20];
    bytes[..512].copy_from_slice(&sound[..512]);
    let mut entries = sound[1024..1024 + 128 * 128].to_vec();
    entries[32..40].copy_from_slice(&256_u64.to_le_bytes());
    entries[40..48].copy_from_slice(&(256 + 64 * 256 - 1_u64).to_le_bytes());
    let crc = |bytes: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum().to_le_bytes()
    };
    let mut header = sound[512..1024].to_vec();
    let last = (80_u64 << 20) / 4096 - 1;
    header[32..40].copy_from_slice(&last.to_le_bytes());
    header[40..48].copy_from_slice(&6_u64.to_le_bytes());
    header[48..56].copy_from_slice(&(last - 5).to_le_bytes());
    header[72..80].copy_from_slice(&2_u64.to_le_bytes());
    header[88..92].copy_from_slice(&crc(&entries));
    header[16..20].fill(0);
    let sum = crc(&header[..92]);
    header[16..20].copy_from_slice(&sum);
    bytes[4096..4608].copy_from_slice(&header);
    bytes[8192..8192 + entries.len()].copy_from_slice(&entries);
    std::fs::write(&disk, &bytes).unwrap();
    lay(&disk, MIB, &image);
    let to = world.at("imported.tar");
    import(&disk, &to).unwrap();
    assert_same(&world.at("expected.tar"), &to);
    assert!(inspect(&disk)[0].contains("GPT table"));
    let file = File::options().write(true).open(&disk).unwrap();
    file.write_all_at(b"x", 8192 + 40).unwrap();
    let error = import(&disk, &to).unwrap_err();
    assert!(error.contains("the CRC of the entries is wrong"), "{error}");
    let opened = import::open(&disk, import::OtherFiles::Refused).unwrap_or_else(|e| panic!("{e}"));
    assert!(import::inspect(&opened).is_err());
}
