//! Files in which bytes were changed or are missing, and ones that lie on purpose: kuth ends, soon,
//! without a panic, with a tree that is no larger than it may be or with an error.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kuth::cancel::Cancel;
use kuth::import::{self, Options, OtherFiles};
use kuth::units::Bytes;

use crate::layers::{import as import_layers, medium};
use crate::lone::mksquashfs;
use crate::world::{EPOCH, World, have, run, text};

/// The length of a superblock.
const SUPERBLOCK: usize = 96;
/// No image may make kuth take more memory, in KiB.
const MEMORY: u64 = 1 << 20;

/// Imports what `bytes` are; the error if there is one.
fn import(world: &World, bytes: &[u8]) -> Result<(), String> {
    let (image, to) = (world.at("changed.squashfs"), world.at("out.tar"));
    std::fs::write(&image, bytes).unwrap();
    let cancel = Cancel::default();
    let options = Options { epoch: EPOCH, limit: Bytes::mib(16), cancel: &cancel, report: &|_| () };
    let start = Instant::now();
    let imported = import::open(&image, OtherFiles::Refused)
        .and_then(|image| import::import(&image, None, &to, &options));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "it took {took:?}");
    imported.map(|_| ()).map_err(|error| format!("{error:#}"))
}

/// The most memory that this process has had, in KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A small tree of everything that has a form of its own.
fn tree(world: &World) -> PathBuf {
    let root = world.at("root");
    std::fs::create_dir_all(root.join("etc/deep/loopdir")).unwrap();
    std::fs::create_dir_all(root.join("etc/empty")).unwrap();
    std::fs::write(root.join("etc/fstab"), "/dev/vda1 / ext4\n").unwrap();
    std::fs::write(root.join("etc/deep/file with a long name"), vec![5; 20_000]).unwrap();
    std::fs::write(root.join("etc/deep/holes"), vec![0; 20_000]).unwrap();
    for i in 0..20 {
        std::fs::write(root.join(format!("etc/file-{i}")), [i; 100]).unwrap();
    }
    std::fs::hard_link(root.join("etc/file-1"), root.join("etc/hard")).unwrap();
    std::os::unix::fs::symlink("x".repeat(80), root.join("etc/soft")).unwrap();
    run("mkfifo", &[text(&root.join("etc/pipe"))]);
    for name in ["etc/file-2", "etc/file-3", "etc/deep", "etc/deep/holes"] {
        let value = "v".repeat(100);
        run("setfattr", &["-n", "user.long", "-v", &value, text(&root.join(name))]);
    }
    root
}

fn image(world: &World, root: &Path, options: &str) -> Vec<u8> {
    let device = "-p 'etc/null c 666 0 0 1 3'";
    let image = mksquashfs(root, &world.at("fs.squashfs"), &format!("-nopad {device} {options}"));
    let bytes = std::fs::read(image).unwrap();
    import(world, &bytes).unwrap();
    bytes
}

const TOOLS: &[&str] = &["mksquashfs", "setfattr", "mkfifo"];

#[test]
fn changed_bytes() {
    if !have(TOOLS) {
        return;
    }
    let world = World::new();
    let root = tree(&world);
    // As they are, the tables show what each number does; compressed, what damage of the data does.
    for (options, step) in [
        ("-noI -noD -noF -noX -b 4096", 1),
        ("-comp gzip", 7),
        ("-comp zstd -Xcompression-level 1", 7),
        ("-comp xz", 7),
    ] {
        let mut bytes = image(&world, &root, options);
        let tables = u64::from_le_bytes(bytes[64..72].try_into().unwrap()) as usize;
        let (mut refused, mut taken) = (0, 0);
        let mut change = |at: usize, value: u8| {
            let before = std::mem::replace(&mut bytes[at], value);
            if before != value {
                match import(&world, &bytes) {
                    Ok(()) => taken += 1,
                    Err(_) => refused += 1,
                }
            }
            bytes[at] = before;
            before
        };
        for at in 0..SUPERBLOCK {
            let before = change(at, 0);
            for value in [0xff, 0x7f, before ^ 1, before.wrapping_add(16)] {
                change(at, value);
            }
        }
        let length = std::fs::metadata(world.at("fs.squashfs")).unwrap().len() as usize;
        for at in (SUPERBLOCK..tables.min(SUPERBLOCK + 2000)).step_by(37) {
            change(at, 0x55);
        }
        for at in (tables..length).step_by(step) {
            let before = change(at, 0xff);
            if at % 3 == 0 {
                change(at, 0);
                change(at, before ^ 1 << (at % 8));
            }
        }
        eprintln!("{options}: {refused} refused, {taken} taken");
        assert!(refused > 100, "{options}: nothing was noticed");
    }
    assert!(memory() < MEMORY, "{} KiB", memory());
}

#[test]
fn cut_short() {
    if !have(TOOLS) {
        return;
    }
    let world = World::new();
    let root = tree(&world);
    let bytes = image(&world, &root, "-comp zstd -Xcompression-level 1");
    for length in (0..200).chain((200..bytes.len()).step_by(13)) {
        let error = import(&world, &bytes[..length]).expect_err("what is cut short was taken");
        let known = ["cut short", "no file system of the disk"];
        assert!(known.iter().any(|known| error.contains(known)), "{length}: {error}");
    }
}

/// The same numbers every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}

/// Several bytes of the tables at once, and numbers that are next to a limit; `KUTH_FUZZ` says how
/// often.
#[test]
fn changed_numbers() {
    if !have(TOOLS) {
        return;
    }
    let turns = std::env::var("KUTH_FUZZ").ok().and_then(|turns| turns.parse().ok());
    let world = World::new();
    let root = tree(&world);
    let whole = image(&world, &root, "-noI -noD -noF -noX -b 4096");
    let tables = u64::from_le_bytes(whole[64..72].try_into().unwrap()) as usize;
    let mut dice = Dice(7);
    let mut refused = 0;
    for _ in 0..turns.unwrap_or(400) {
        let mut bytes = whole.clone();
        for _ in 0..=dice.roll(3) {
            let at = match dice.roll(4) {
                0 => 4 + dice.roll(SUPERBLOCK - 12),
                _ => tables + dice.roll(bytes.len() - tables - 8),
            };
            let numbers = [0, 1, 4095, 8192, 0x7fff, 0xffff, 1 << 31, u64::MAX, 1 << 48, 1 << 24];
            let number = numbers[dice.roll(numbers.len())].wrapping_add(dice.roll(3) as u64);
            let width = [1, 2, 4, 8][dice.roll(4)];
            bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
        }
        refused += usize::from(import(&world, &bytes).is_err());
    }
    eprintln!("{refused} refused");
    assert!(refused > 100, "{refused} refused");
    assert!(memory() < MEMORY, "{} KiB", memory());
}

#[test]
fn changed_layers() {
    if !have(TOOLS) {
        return;
    }
    let world = World::new();
    let root = tree(&world);
    let plain = "-nopad -noI -noD -noF -noX -b 4096";
    let whiteouts = "-p 'etc/file-4 c 0 0 0 0 0' -p 'etc/file-5 c 0 0 0 0 0'";
    let medium =
        medium(&world, &[("a", &root, plain), ("a.b", &root, &format!("{plain} {whiteouts}"))]);
    let to = world.at("out.tar");
    import_layers(&medium, None, &to).unwrap();
    let (mut refused, mut taken) = (0, 0);
    for (layer, start) in [("a", 0), ("a.b", 3)] {
        let file = medium.join(format!("casper/{layer}.squashfs"));
        let whole = std::fs::read(&file).unwrap();
        let tables = u64::from_le_bytes(whole[64..72].try_into().unwrap()) as usize;
        for at in (tables + start..whole.len()).step_by(5) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&file, bytes).unwrap();
            let begun = Instant::now();
            match import_layers(&medium, None, &to) {
                Ok(_) => taken += 1,
                Err(_) => refused += 1,
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{layer} at {at}");
        }
        // A directory in which the layer's root is, over or under one that is as it should be.
        let mut bytes = whole.clone();
        let at = entry(&bytes, b"loopdir");
        bytes.copy_within(32..34, at);
        std::fs::write(&file, bytes).unwrap();
        let error = import_layers(&medium, None, &to).unwrap_err();
        assert!(
            error.contains(&format!("a directory of {layer}.squashfs has two names")),
            "{error}"
        );
        std::fs::write(&file, whole).unwrap();
    }
    eprintln!("{refused} refused, {taken} taken");
    assert!(refused > 50 && taken > 50, "{refused} refused, {taken} taken");
    assert!(memory() < MEMORY, "{} KiB", memory());
}

/// Where `name` is in the table of directories of an image without compression: the entry before
/// it.
fn entry(bytes: &[u8], name: &[u8]) -> usize {
    let at = bytes.windows(name.len()).rposition(|window| window == name).unwrap();
    at - 8
}

#[test]
fn lies() {
    if !have(TOOLS) {
        return;
    }
    let world = World::new();
    let root = tree(&world);
    let whole = image(&world, &root, "-noI -noD -noF -noX -b 4096");
    let refused = |bytes: &[u8], why: &str| {
        let error = import(&world, bytes).unwrap_err();
        assert!(error.contains(why), "{error}");
    };
    // A directory in which the root is.
    let mut bytes = whole.clone();
    let at = entry(&bytes, b"loopdir");
    bytes.copy_within(32..34, at);
    refused(&bytes, "the directory has two names");
    // Two names of one directory.
    let mut bytes = whole.clone();
    let (one, two) = (entry(&bytes, b"deep"), entry(&bytes, b"empty"));
    bytes.copy_within(one..one + 2, two);
    refused(&bytes, "the directory has two names");
    // One name twice, and names that are none.
    for (name, why) in [
        (&b"file-11"[..], "has the name file-11 twice"),
        (b"file/10", "file/10 is not a file name"),
        (b"file\x0010", "is not a file name"),
    ] {
        let mut bytes = whole.clone();
        let at = entry(&bytes, b"file-10") + 8;
        bytes[at..at + name.len()].copy_from_slice(name);
        refused(&bytes, why);
    }
    let mut bytes = whole.clone();
    let at = entry(&bytes, b"etc");
    bytes[at + 6] = 1;
    bytes[at + 8..at + 10].copy_from_slice(b"..");
    refused(&bytes, "a directory ends within a name");
    // Tables that nobody can hold in memory.
    let mut bytes = whole.clone();
    bytes[16..20].copy_from_slice(&(u32::MAX - 1).to_le_bytes());
    refused(&bytes, "finding the fragments: ");
    let mut bytes = whole.clone();
    bytes[26..28].copy_from_slice(&u16::MAX.to_le_bytes());
    refused(&bytes, "reading the owners");
    // A file of an exbibyte of zeros, told by a list of blocks that is not there, and a shorter
    // one.
    let at = whole.windows(8).position(|window| window == 20_000u64.to_le_bytes()).unwrap();
    for (size, why) in
        [(1u64 << 60, "the files are more than"), (10 << 20, "reading /etc/deep/holes")]
    {
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&size.to_le_bytes());
        refused(&bytes, why);
    }
    assert!(memory() < MEMORY, "{} KiB", memory());
}
