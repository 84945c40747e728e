//! Disks and exports without a pipeline or an engine.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kuth::artifact::{Artifact, ArtifactKind, Output};
use kuth::cache::Cache;
use kuth::error::Result;
use kuth::files::sparse;
use kuth::format::vmdk::Level;
use kuth::image::{Container, Package};
use kuth::recipe::Recipe;
use kuth::stage::export::{Export, Format, Machine};
use kuth::stage::{Inputs, Placement, Settings, Stage, StageContext};

/// A cache and an output directory in a temporary directory.
pub struct Bench {
    pub directory: tempfile::TempDir,
    pub cache: Arc<Cache>,
}

/// How the zeros of a disk are written.
#[derive(Clone, Copy, PartialEq)]
pub enum Zeros {
    Holes,
    Written,
}

pub const SIZE: u64 = (100 << 20) + 512;

impl Bench {
    pub fn new() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let cache = Arc::new(Cache::open(&directory.path().join("cache")).unwrap());
        Bench { directory, cache }
    }

    pub fn context(&self, stage: &str, jobs: usize) -> StageContext {
        let settings = Settings {
            epoch: 1_767_225_600,
            pipeline: "debian".into(),
            output: self.directory.path().join("out/debian"),
            offline: true,
            jobs,
            ..Settings::default()
        };
        let log = self.directory.path().join("log");
        StageContext::new(self.cache.clone(), Arc::new(settings), stage, log)
    }

    /// A disk of 100 MiB and a sector with data in odd places, as the cache keeps it.
    pub fn disk(&self, zeros: Zeros) -> Artifact {
        let scratch = self.cache.scratch().unwrap();
        let path = scratch.path().join("disk.raw");
        let file = File::create(&path).unwrap();
        match zeros {
            Zeros::Holes => file.set_len(SIZE).unwrap(),
            Zeros::Written => std::fs::write(&path, vec![0; SIZE as usize]).unwrap(),
        }
        for (at, length) in [(0, 4096), (3 << 20, 200_000), (50 << 20, 5 << 20), (SIZE - 512, 512)]
        {
            let byte = |i: u64| if i % 1024 < 512 { ((i * i + at) >> 7) as u8 | 1 } else { 0x55 };
            let bytes: Vec<u8> = (0..length).map(byte).collect();
            file.write_all_at(&bytes, at).unwrap();
        }
        self.keep(&path)
    }

    pub fn keep(&self, path: &Path) -> Artifact {
        let file = File::open(path).unwrap();
        let digest = sparse::tree_hash(&file).unwrap();
        let size = file.metadata().unwrap().len();
        let mut made = Output::hashed(ArtifactKind::Disk, path, digest, size);
        made.artifact.hashing = kuth::artifact::Hashing::Sparse;
        self.cache.commit(&Recipe::new("test", 1), made, Duration::ZERO).unwrap()
    }

    /// Runs and commits, as the engine does; not yet placed.
    pub fn run(
        &self,
        export: &Export,
        context: &StageContext,
        disk: &Artifact,
    ) -> Result<Artifact> {
        let scratch = self.cache.scratch()?;
        let context = StageContext { work: scratch.path().into(), ..context.clone() };
        let inputs: Inputs = [("from", disk.clone())].into_iter().collect();
        let made = export.run(&context, &inputs, &[])?;
        let mut recipe = Recipe::new("export", export.revision());
        export.describe(&context, &mut recipe)?;
        recipe.value("input from", disk.digest);
        self.cache.commit(&recipe, made, Duration::ZERO)
    }
}

pub fn export(word: &'static str) -> Export {
    let format = match word {
        "raw" => Format::Raw,
        "qcow2" => Format::Wrapped(Container::Qcow2),
        "vdi" => Format::Wrapped(Container::Vdi),
        "vmdk" => Format::Wrapped(Container::Vmdk(Level(6))),
        "vhd" => Format::Wrapped(Container::Vhd),
        "ova" => Format::Packed(Package::Ova(Level(6))),
        "tar.bz2" => Format::Packed(Package::Box(9)),
        other => panic!("{other}"),
    };
    Export {
        word,
        format,
        name: None,
        machine: Machine::ordinary(),
        execution: Default::default(),
        sidecars: Default::default(),
    }
}

pub const WORDS: [&str; 5] = ["raw", "qcow2", "vdi", "vmdk", "vhd"];

pub fn here(placed: Placement) -> PathBuf {
    match placed {
        Placement::Present(path) => path,
        other => panic!("{other:?}"),
    }
}
