//! Images in which bytes were changed: whatever stands there, kuth ends, without a panic, and with a
//! tree that is no larger than it may be.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::world::{World, have, import, run, text};

/// So many changed images of each kind; `KUTH_FUZZ` says another number.
const TURNS: u64 = 150;
const MIB: u64 = 1 << 20;

/// The same numbers every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Changes some bytes of `image`, where there are any, and imports it, time and again.
fn shake(world: &World, image: &Path) {
    let turns = std::env::var("KUTH_FUZZ").ok().and_then(|turns| turns.parse().ok());
    let file = File::options().read(true).write(true).open(image).unwrap();
    let length = file.metadata().unwrap().len();
    let mut used = Vec::new();
    let mut sector = [0; 512];
    for at in (0..length / 512).map(|index| index * 512) {
        file.read_exact_at(&mut sector, at).unwrap();
        if sector.iter().any(|byte| *byte != 0) {
            used.push(at);
        }
    }
    let to = world.at("out.tar");
    import(image, &to).unwrap();
    let mut dice = Dice(length);
    let mut refused = 0;
    for turn in 0..turns.unwrap_or(TURNS) {
        let mut before = Vec::new();
        for _ in 0..=dice.roll(4) {
            // Most structures are at the start of a block.
            let within = if dice.roll(2) == 0 { dice.roll(64) } else { dice.roll(512) };
            let at = used[dice.roll(used.len() as u64) as usize] + within;
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            before.push((at, byte));
            let value = match dice.roll(4) {
                0 => 0,
                1 => 0xff,
                2 => byte[0] ^ 1 << dice.roll(8),
                _ => dice.roll(256) as u8,
            };
            file.write_all_at(&[value], at).unwrap();
        }
        let start = Instant::now();
        refused += u64::from(import(image, &to).is_err());
        let took = start.elapsed();
        assert!(took < Duration::from_secs(20), "turn {turn} took {took:?}: {before:?}");
        for (at, byte) in before.into_iter().rev() {
            file.write_all_at(&byte, at).unwrap();
        }
    }
    eprintln!("{}: {refused} refused", image.display());
    import(image, &to).unwrap();
}

/// A small tree without what FAT and a protofile cannot hold.
fn plain_tree(world: &World) -> PathBuf {
    let root = world.at("root");
    std::fs::create_dir_all(root.join("etc/deep/deeper")).unwrap();
    std::fs::write(root.join("etc/fstab"), "/dev/vda1 / ext4\n").unwrap();
    std::fs::write(root.join("etc/deep/file with a long name"), vec![5; 20_000]).unwrap();
    for i in 0..40 {
        std::fs::write(root.join(format!("etc/file-{i}")), [i]).unwrap();
    }
    root
}

#[test]
fn changed_ext_file_systems() {
    if !have(&["mke2fs"]) {
        return;
    }
    let world = World::new();
    let root = plain_tree(&world);
    std::fs::hard_link(root.join("etc/file-1"), root.join("etc/hard")).unwrap();
    std::os::unix::fs::symlink("x".repeat(80), root.join("etc/soft")).unwrap();
    for options in [
        ["-t", "ext4", "-O", "^metadata_csum,inline_data"],
        ["-t", "ext2", "-O", "dir_index"],
        ["-t", "ext4", "-O", "metadata_csum"],
    ] {
        let image = world.at("fs.raw");
        File::create(&image).unwrap().set_len(8 * MIB).unwrap();
        let mut all = vec!["-q", "-F", "-b", "1024", "-d", text(&root)];
        all.extend(options);
        all.push(text(&image));
        run("mke2fs", &all);
        shake(&world, &image);
    }
}

#[test]
fn changed_journals() {
    if !have(&["mke2fs", "debugfs", "dumpe2fs"]) {
        return;
    }
    let world = World::new();
    let root = plain_tree(&world);
    // Where a transaction has one checksum, debugfs counts a revocation wrongly.
    for (options, sums, revoke) in [
        ("metadata_csum,64bit", "-c -v 3", "jw -r 8000\n"),
        ("^metadata_csum,64bit", "-c", ""),
        ("^metadata_csum,^64bit", "", "jw -r 8000\n"),
    ] {
        let image = world.at("fs.raw");
        File::create(&image).unwrap().set_len(8 * MIB).unwrap();
        let of = [
            "-q",
            "-F",
            "-b",
            "1024",
            "-t",
            "ext4",
            "-O",
            options,
            "-d",
            text(&root),
            text(&image),
        ];
        run("mke2fs", &of);
        // What is written through the journal is its own block of a file, so the tree stays.
        let question = "blocks \"/etc/deep/file with a long name\"";
        let numbers = run("debugfs", &["-R", question, text(&image)]);
        let block = numbers.split_whitespace().next().unwrap().to_string();
        std::fs::write(world.at("block"), vec![6; 1024]).unwrap();
        let commands = format!(
            "jo {sums}\njw -b {block} {0}\n{revoke}jw -b {block} {0}\njc\n",
            world.at("block").display()
        );
        std::fs::write(world.at("commands"), commands).unwrap();
        run("debugfs", &["-w", "-f", text(&world.at("commands")), text(&image)]);
        let features = run("dumpe2fs", &["-h", text(&image)]);
        assert!(features.contains("needs_recovery"), "{features}");
        let to = world.at("out.tar");
        import(&image, &to).unwrap();
        let tar = std::fs::read(&to).unwrap();
        assert!(tar.windows(1024).any(|bytes| bytes == [6; 1024]), "the journal was not replayed");
        shake(&world, &image);
    }
}

#[test]
fn changed_fat() {
    if !have(&["mkfs.vfat", "mcopy"]) {
        return;
    }
    let world = World::new();
    let root = plain_tree(&world);
    for (width, size) in [("12", 2), ("16", 16), ("32", 40)] {
        let image = world.at("fs.raw");
        File::create(&image).unwrap().set_len(size * MIB).unwrap();
        run("mkfs.vfat", &["-F", width, "-s", "1", text(&image)]);
        run("mcopy", &["-s", "-i", text(&image), text(&root.join("etc")), "::"]);
        shake(&world, &image);
    }
}

#[test]
fn changed_xfs() {
    if !have(&["mkfs.xfs"]) {
        return;
    }
    let world = World::new();
    let root = plain_tree(&world);
    let fstab = root.join("etc/fstab");
    let mut proto = "/none\n0 0\nd--755 0 0\n etc d--755 0 0\n".to_string();
    for i in 0..60 {
        proto += &format!("  fstab-{i} ---644 0 0 {}\n", text(&fstab));
    }
    proto += &format!("  fstab ---644 0 0 {}\n  soft l--777 0 0 fstab\n $\n$\n", text(&fstab));
    std::fs::write(world.at("proto"), proto).unwrap();
    for options in ["-m crc=0", "-m crc=1"] {
        let image = world.at("fs.raw");
        let _ = std::fs::remove_file(&image);
        File::create(&image).unwrap().set_len(301 * MIB).unwrap();
        let (proto, shown) = (world.at("proto"), image.display());
        let command = format!("mkfs.xfs -q {options} -p '{}' '{shown}'", proto.display());
        run("sh", &["-c", &command]);
        shake(&world, &image);
    }
}

#[test]
fn changed_containers() {
    if !have(&["mke2fs", "qemu-img"]) {
        return;
    }
    let world = World::new();
    let root = plain_tree(&world);
    let raw = world.at("fs.raw");
    File::create(&raw).unwrap().set_len(8 * MIB).unwrap();
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-d", text(&root), text(&raw)]);
    for (name, options) in [
        ("a.qcow2", "qcow2"),
        ("b.qcow2", "qcow2 -c"),
        ("c.vmdk", "vmdk"),
        ("d.vmdk", "vmdk -o subformat=streamOptimized"),
        ("e.vdi", "vdi"),
        ("f.vhd", "vpc -o force_size=on"),
    ] {
        let image = world.at(name);
        let command = format!(
            "qemu-img convert -f raw -O {options} '{}' '{}'",
            raw.display(),
            image.display()
        );
        run("sh", &["-c", &command]);
        shake(&world, &image);
    }
}
