//! A loss of power, without a device of its own: while kuth builds, what it has synced is taken down, a
//! file by its bytes and a directory by its names. From that, and from what lies there at a call, a
//! directory is made as a disk might have it after power was lost at that call. Then no record names
//! bytes that are not there, and the next build is as one that nothing happened to.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use kuth_test_support::trace::{self, Call, Effect, Verdict, Watch};

use crate::table;
use crate::world::{Machines, Start, World, files_below};

/// What the disk has of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Nothing: neither names nor bytes.
    All,
    /// All names, and none of the bytes.
    Bytes,
    /// All names, and of each file a half.
    Halves,
    /// The names in one directory and not in the next, and none of the bytes.
    SomeNames(u64),
}

impl Loss {
    fn name(self) -> &'static str {
        match self {
            Loss::All => "all that is not synced",
            Loss::Bytes => "bytes that are not synced",
            Loss::Halves => "half of the bytes",
            Loss::SomeNames(_) => "some names",
        }
    }
}

/// A file or directory, whatever its name: numbers of inodes are used again.
type Node = (u64, Option<SystemTime>);

fn node(metadata: &Metadata) -> Node {
    (metadata.ino(), metadata.created().ok())
}

/// The bytes of a file.
#[derive(Clone)]
enum Bytes {
    /// Those of a file that was there before the build.
    Old(PathBuf),
    New(Arc<Vec<u8>>),
}

type Names = BTreeMap<std::ffi::OsString, Node>;

/// What lies in a directory tree.
#[derive(Clone, Default)]
struct Disk {
    directories: BTreeMap<Node, Names>,
    files: BTreeMap<Node, (Bytes, Stamp)>,
}

/// Tells whether a file has been written to since.
type Stamp = (u64, i64, i64);

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// The state at one call.
struct Cut {
    at: usize,
    effect: Effect,
    path: Option<PathBuf>,
    top: Node,
    synced: Disk,
    seen: Disk,
    modes: BTreeMap<Node, u32>,
}

/// Takes down what is synced, and the state at some of the calls.
struct Recorder {
    top: PathBuf,
    every: usize,
    calls: usize,
    synced: Disk,
    cuts: Vec<Cut>,
}

impl Recorder {
    /// All that is there has been synced long ago.
    fn new(world: &World, every: usize) -> Recorder {
        let top = world.path("state");
        let mut synced = Disk::default();
        synced.add(&top, &|path, _| {
            Bytes::Old(world.path("start").join(path.strip_prefix(&top).unwrap()))
        });
        Recorder { top, every, calls: 0, synced, cuts: Vec::new() }
    }
}

impl Disk {
    /// Adds what lies in `directory`.
    fn add(&mut self, directory: &Path, bytes: &dyn Fn(&Path, &Metadata) -> Bytes) {
        let Ok(metadata) = directory.symlink_metadata() else { return };
        let mut names = Names::new();
        // What goes meanwhile was not there.
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(found) = path.symlink_metadata() else { continue };
            names.insert(entry.file_name(), node(&found));
            match found.is_dir() {
                true => self.add(&path, bytes),
                false => {
                    self.files
                        .entry(node(&found))
                        .or_insert_with(|| (bytes(&path, &found), stamp(&found)));
                }
            }
        }
        self.directories.insert(node(&metadata), names);
    }

    fn modes(&self, top: &Path, modes: &mut BTreeMap<Node, u32>) {
        for path in files_below(top) {
            if let Ok(found) = path.symlink_metadata() {
                modes.insert(node(&found), found.mode());
            }
        }
    }
}

impl Watch for Recorder {
    fn before(&mut self, call: &Call) -> Verdict {
        let Some(effect) = call.effect() else { return Verdict::Go };
        if self.calls.is_multiple_of(self.every) {
            let synced = self.synced.clone();
            let mut seen = Disk::default();
            seen.add(&self.top, &|path, found| match synced.files.get(&node(found)) {
                Some((bytes, stamped)) if *stamped == stamp(found) => bytes.clone(),
                _ => Bytes::New(Arc::new(fs::read(path).unwrap_or_default())),
            });
            let mut modes = BTreeMap::new();
            seen.modes(&self.top, &mut modes);
            let top = node(&self.top.symlink_metadata().unwrap());
            let (at, path) = (self.calls, call.path());
            self.cuts.push(Cut { at, effect, path, top, synced, seen, modes });
        }
        self.calls += 1;
        Verdict::Go
    }

    fn after(&mut self, call: &Call) {
        if call.effect() != Some(Effect::Sync) {
            return;
        }
        let path = call.descriptor(0);
        let Ok(metadata) = fs::metadata(&path) else { return };
        if metadata.is_dir() {
            let mut names = Names::new();
            for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
                if let Ok(found) = entry.path().symlink_metadata() {
                    names.insert(entry.file_name(), node(&found));
                }
            }
            self.synced.directories.insert(node(&metadata), names);
        } else if let Ok(bytes) = fs::read(&path) {
            let bytes = Bytes::New(Arc::new(bytes));
            self.synced.files.insert(node(&metadata), (bytes, stamp(&metadata)));
        }
    }
}

impl Cut {
    /// Makes `top` what a disk has after this cut.
    fn make(&self, loss: Loss, top: &Path) {
        let _ = fs::remove_dir_all(top);
        self.make_directory(loss, self.top, top);
    }

    fn make_directory(&self, loss: Loss, directory: Node, to: &Path) {
        fs::create_dir(to).unwrap();
        let has_names = match loss {
            Loss::All => false,
            Loss::Bytes | Loss::Halves => true,
            Loss::SomeNames(seed) => {
                (hash(to.as_os_str().as_bytes()) ^ seed).count_ones().is_multiple_of(2)
            }
        };
        let from = if has_names { &self.seen } else { &self.synced };
        let Some(names) = from.directories.get(&directory) else { return };
        for (name, node) in names {
            let to = to.join(name);
            let is_directory = self.seen.directories.contains_key(node)
                || self.synced.directories.contains_key(node);
            match is_directory {
                true => self.make_directory(loss, *node, &to),
                false => self.make_file(loss, *node, &to),
            }
        }
    }

    fn make_file(&self, loss: Loss, node: Node, to: &Path) {
        let synced = self.synced.files.get(&node);
        let seen = self.seen.files.get(&node);
        let is_synced = match (synced, seen) {
            (Some((_, synced)), Some((_, seen))) => synced == seen,
            (synced, _) => synced.is_some(),
        };
        let bytes = match (is_synced, loss, synced, seen) {
            (true, _, Some((bytes, _)), _) => bytes.clone(),
            (_, Loss::Halves, _, Some((Bytes::New(bytes), _))) => {
                Bytes::New(Arc::new(bytes[..bytes.len() / 2].to_vec()))
            }
            (_, _, Some((bytes, _)), _) => bytes.clone(),
            _ => Bytes::New(Arc::default()),
        };
        match bytes {
            Bytes::Old(path) => {
                fs::copy(path, to).unwrap();
            }
            Bytes::New(bytes) => write_sparse(to, &bytes),
        }
        if let Some(mode) = self.modes.get(&node) {
            fs::set_permissions(to, fs::Permissions::from_mode(*mode)).unwrap();
        }
    }
}

fn write_sparse(to: &Path, bytes: &[u8]) {
    let file = File::create(to).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (at, block) in (0..).step_by(4096).zip(bytes.chunks(4096)) {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, at).unwrap();
        }
    }
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What is wrong with the cache before anything repairs it.
fn judge_records(world: &World) -> Result<(), String> {
    let cache = &world.project.cache;
    for path in files_below(&cache.join("records")) {
        let text = fs::read(&path).unwrap();
        let Ok(record) = serde_json::from_slice::<serde_json::Value>(&text) else {
            return Err(format!("{} is torn", path.display()));
        };
        let digest = record["output"]["digest"].as_str().unwrap();
        if !cache.join("objects").join(&digest[..2]).join(digest).exists() {
            return Err(format!("{} names an object that is not there", path.display()));
        }
    }
    if !cache.exists() {
        return Ok(());
    }
    let verified = world.project.kuth(&["cache", "verify"]);
    match verified.status == 0 && verified.err.contains(" 0 damaged") {
        true => Ok(()),
        false => Err(format!("{}{}", verified.out, verified.err)),
    }
}

/// Loses power at every so-manieth call.
fn lose_power(name: &str, start: Start, machines: Machines, short: usize, whole: usize) {
    let Some(world) = World::new(start, machines) else { return };
    world.restore();
    let mut recorder = Recorder::new(&world, table::part(short, whole));
    trace::run(&world.project, &World::arguments(), &mut recorder).ok();
    let mut points = table::Points::new(&format!("power, {name}"));
    for cut in &recorder.cuts {
        let some = Loss::SomeNames(hash(&cut.at.to_le_bytes()));
        for loss in [Loss::All, Loss::Bytes, Loss::Halves, some] {
            cut.make(loss, &recorder.top);
            // Layers are not synced: one of an earlier run of the kernel is read before it is used, which
            // tests/customise tries; here the kernel is the same.
            let _ = fs::remove_dir_all(world.project.cache.join("layers"));
            let verdict = judge_records(&world).and_then(|()| world.next_is_right());
            let what = || format!("{loss:?} at {} ({:?} {:?})", cut.at, cut.effect, cut.path);
            points.add(loss.name(), verdict.map_err(|why| format!("{}: {why}", what())));
        }
    }
    points.end();
}

#[test]
fn power_is_lost_while_everything_is_built_first() {
    lose_power("first", Start::Disk, Machines::Qemu, 97, 11);
}

#[test]
fn power_is_lost_while_everything_is_replaced() {
    lose_power("replaced", Start::Older, Machines::Qemu, 97, 11);
}
