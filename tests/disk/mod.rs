//! A bench for the disk stage: a cache in a directory of its own, the tools from the mirror that
//! any build would take, and trees made on the spot.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kuth::artifact::{Artifact, ArtifactKind, Output};
use kuth::cache::Cache;
use kuth::debian::{DEBIAN, PackageSource};
use kuth::digest::Digest;
use kuth::disk::config::Config;
use kuth::disk::layout::Layout;
use kuth::pipeline::{Environment, Fields, Input, Kinds, load};
use kuth::recipe::Recipe;
use kuth::stage::{Inputs, Pin, Stage, StageContext};
use kuth::stage_context::Settings;
use tar::{Builder, EntryType, Header};

/// The time of everything.
pub const EPOCH: u64 = 1_767_225_600;

/// The tools' packages as the disk stage pins them, downloaded once into a cache that stays.
fn tools() -> &'static (Pin, Vec<(Digest, PathBuf)>) {
    static TOOLS: OnceLock<(Pin, Vec<(Digest, PathBuf)>)> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tools");
        let cache = Arc::new(Cache::open(&directory).unwrap());
        let scratch = cache.scratch().unwrap();
        let settings = Settings { epoch: EPOCH, jobs: 2, ..Settings::default() };
        let context = StageContext::new(cache, Arc::new(settings), "disk", directory.join("log"));
        let context = StageContext { work: scratch.path().to_path_buf(), ..context };
        let disk = disk_of(ANY_LAYOUT).unwrap();
        let pin = disk.pin(&context, &Inputs::default()).unwrap().pinned().unwrap().remove(0);
        let (packages, files) =
            kuth::debian::pool::fetch(&context, &DEBIAN, &pin, &PackageSource::Mirror(None))
                .unwrap();
        let digests = packages.into_iter().map(|package| package.sha256);
        (pin, digests.zip(files).collect())
    })
}

/// The smallest disk there is. Without UEFI it asks nothing of a tree.
const ANY_LAYOUT: &str = "size = \"1 GiB\"\nfirmware = \"bios\"\n[[stage.disk.partition]]\nname = \"root\"\n\
    size = \"rest\"\nfilesystem = \"ext4\"\nmount = \"/\"\n";

/// Only the disk kind, read by a function, and one that stands for any tree.
struct DiskKinds<T>(Read<T>);

type Read<T> = fn(&mut Fields<'_>) -> Option<(T, Vec<Input>)>;

impl<T> Kinds for DiskKinds<T> {
    type Stage = Option<T>;

    fn names(&self) -> Vec<&'static str> {
        vec!["tree", "disk"]
    }

    fn output(&self, kind: &str) -> Option<kuth::artifact::ArtifactKind> {
        match kind {
            "tree" => Some(kuth::artifact::ArtifactKind::Tree),
            "disk" => Some(kuth::artifact::ArtifactKind::Disk),
            _ => None,
        }
    }

    fn read(
        &self,
        kind: &str,
        _name: &str,
        mut fields: Fields<'_>,
    ) -> Option<(Self::Stage, Vec<Input>)> {
        let read = match kind {
            "disk" => (self.0)(&mut fields).map(|(read, inputs)| (Some(read), inputs)),
            _ => Some((None, Vec::new())),
        };
        fields.finish();
        read
    }
}

fn read<T>(keys: &str, read: Read<T>) -> Result<T, String> {
    let head = "[pipeline]\nname = \"p\"\n[stage.base]\nkind = \"tree\"\n";
    let source = format!("{head}[stage.disk]\nkind = \"disk\"\nfrom = \"base\"\n{keys}");
    let environment: Environment<'_> = &|_| None;
    let pipeline = load(Path::new("pipelines/p.toml"), &source, &[], environment, &DiskKinds(read))
        .map_err(|faulty| faulty.to_string())?;
    let stage = pipeline.stages.into_iter().find(|stage| stage.name == "disk");
    stage.and_then(|stage| stage.stage).ok_or_else(|| "no stage".to_string())
}

/// The stage that these keys of `[stage.disk]` describe, or the faults as text.
pub fn disk_of(keys: &str) -> Result<Box<dyn Stage>, String> {
    read(keys, |fields| {
        let mut parsed = (kuth::stage::disk::KIND.read)(fields)?;
        Some((parsed.instances.pop()?.1, parsed.inputs))
    })
}

/// The layout that these keys describe, or the faults as text.
pub fn layout_of(keys: &str) -> Result<Layout, String> {
    config_of(keys).map(|(_, layout)| layout)
}

/// The keys as they were read, and the layout that they describe, or the faults as text.
pub fn config_of(keys: &str) -> Result<(Config, Layout), String> {
    read(keys, |fields| {
        fields.has("from");
        let config = Config::read(fields)?;
        match Layout::of(&config) {
            Ok(layout) => Some(((config, layout), Vec::new())),
            Err(faults) => {
                faults.into_iter().for_each(|fault| fields.fault(fault));
                None
            }
        }
    })
}

/// A place to build in.
pub struct Bench {
    directory: PathBuf,
    _temporary: tempfile::TempDir,
    cache: Arc<Cache>,
    pin: Pin,
}

impl Bench {
    /// With the tools' packages in its cache, in a temporary directory.
    pub fn new() -> Bench {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().to_path_buf();
        let cache = Arc::new(Cache::open(&directory.join("cache")).unwrap());
        let (pin, packages) = tools();
        for (sha256, file) in packages {
            let place = cache.package(sha256);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::copy(file, &place).unwrap();
        }
        Bench { directory, _temporary: temporary, cache, pin: pin.clone() }
    }

    /// Name and version of each of the tools' packages, sorted.
    pub fn tools(&self) -> impl Iterator<Item = String> {
        let packages = self.pin.packages().iter();
        let mut lines: Vec<String> =
            packages.map(|package| format!("{} {}", package.name, package.version)).collect();
        lines.sort();
        lines.into_iter()
    }

    /// Takes a tar in as a tree.
    pub fn tree(&self, tar: &[u8]) -> Artifact {
        let scratch = self.cache.scratch().unwrap();
        let file = scratch.path().join("tree");
        std::fs::write(&file, tar).unwrap();
        self.commit(Output::file(ArtifactKind::Tree, file).unwrap())
    }

    fn commit(&self, made: Output) -> Artifact {
        let mut recipe = Recipe::new("test", 1);
        recipe.value("digest", made.artifact.digest);
        self.cache.commit(&recipe, made, Duration::ZERO).unwrap()
    }

    /// The filesystems in the cache.
    pub fn filesystems(&self) -> Vec<PathBuf> {
        let entries = self.cache.entries().unwrap();
        let made = entries.iter().filter(|entry| entry.kind() == "filesystem");
        made.map(|entry| self.cache.object(&entry.record.output)).collect()
    }

    /// Runs the stage; gives the disk in the cache and what the log says since.
    pub fn run(&self, stage: &dyn Stage, tree: &Artifact) -> kuth::error::Result<(Disk, String)> {
        let scratch = self.cache.scratch().unwrap();
        let log = self.directory.join("log");
        let before = std::fs::read_to_string(&log).unwrap_or_default().len();
        let context = self.context(scratch.path(), &log);
        let inputs = [("from", tree.clone())].into_iter().collect();
        let made = stage.run(&context, &inputs, std::slice::from_ref(&self.pin))?;
        let artifact = self.commit(made);
        let image = self.cache.object(&artifact);
        let text = std::fs::read_to_string(&log).unwrap();
        Ok((Disk { artifact, image }, text[before..].to_string()))
    }

    fn context(&self, work: &Path, log: &Path) -> StageContext {
        let settings = Settings { epoch: EPOCH, offline: true, jobs: 2, ..Settings::default() };
        let context =
            StageContext::new(self.cache.clone(), Arc::new(settings), "disk", log.to_path_buf());
        StageContext { work: work.to_path_buf(), ..context }
    }
}

/// A disk that was made.
pub struct Disk {
    /// What was recorded.
    pub artifact: Artifact,
    /// The file.
    pub image: PathBuf,
}

/// A tree being written.
pub struct Tree(Builder<Vec<u8>>);

impl Tree {
    /// With the root directory.
    pub fn new() -> Tree {
        let mut tree = Tree(Builder::new(Vec::new()));
        tree.entry("./", EntryType::Directory, 0o755, b"", "");
        tree
    }

    /// A small system that passes for bootable.
    pub fn bootable() -> Tree {
        let mut tree = Tree::new();
        for directory in ["boot", "etc", "home", "tmp", "usr", "usr/sbin", "var"] {
            let mode = if directory == "tmp" { 0o1777 } else { 0o755 };
            tree.entry(&format!("{directory}/"), EntryType::Directory, mode, b"", "");
        }
        tree.file("boot/initrd.img-6.12.1", b"initrd");
        tree.file("boot/vmlinuz-6.12.1", b"kernel");
        tree.file("etc/fstab", b"# the tree's own\n");
        tree.file("etc/hostname", b"a\n");
        tree.file("usr/sbin/lvm", b"lvm");
        tree
    }

    /// A file of root's.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, EntryType::Regular, 0o644, content, "");
    }

    /// A file with an extended attribute.
    pub fn file_with(&mut self, path: &str, name: &str, value: &[u8]) {
        self.0.append_pax_extensions([(format!("SCHILY.xattr.{name}").as_str(), value)]).unwrap();
        self.file(path, b"x");
    }

    /// An empty file of somebody's.
    pub fn owned(&mut self, path: &str, uid: u64, gid: u64) {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(EPOCH);
        header.set_size(0);
        self.0.append_data(&mut header, path, std::io::empty()).unwrap();
    }

    /// Any entry.
    pub fn entry(&mut self, path: &str, kind: EntryType, mode: u32, content: &[u8], link: &str) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(EPOCH);
        header.set_size(content.len() as u64);
        match link {
            "" => self.0.append_data(&mut header, path, content).unwrap(),
            link => self.0.append_link(&mut header, path, link).unwrap(),
        }
    }

    /// The tar.
    pub fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}
