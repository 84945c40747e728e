//! `export`: a disk as an image file for the user, or a tree as a container image, in
//! `out/<pipeline>/`. The object in the cache is that file; the user gets a copy of it, put back
//! whenever it is missing or changed. With a list of formats there is one instance for each.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, Weak};

use super::{Inputs, Kind, Parsed, Pin, Placement, Settings, Stage, StageContext};
use crate::artifact::{Artifact, ArtifactKind, Output};
use crate::cache::materialize::materialize;
use crate::cancel::Progress;
use crate::error::{Context, Hint, Result, anyhow};
use crate::files::sparse;
use crate::format::appliance::is_legal_name;
use crate::format::oci::Execution;
use crate::format::vmdk::Level;
use crate::image::{self, Container, Identity, Package};
use crate::oci::{self, ImageOptions};
use crate::pipeline::{Data, Fault, Fields, Input, Spanned};
use crate::provenance::Sidecars;
use crate::recipe::Recipe;

mod container;
mod machine;
mod sidecars;

pub use machine::Machine;
pub use sidecars::SidecarOptions;

/// Raised when the same disk gives other bytes in one of the formats.
const REVISION: u32 = 1;

/// The row of the table of kinds.
pub const KIND: Kind = Kind { name: "export", output: ArtifactKind::Export, read };

/// The format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The disk as it is, sparse.
    Raw,
    /// The disk in an image format.
    Wrapped(Container),
    /// A machine with the disk.
    Packed(Package),
    /// A tree as a container image, with how hard layers are compressed.
    Oci(u32),
    /// A container image with the disk, likewise.
    ContainerDisk(u32),
}

impl Format {
    /// The compression level (`level =`), for formats that have one.
    fn level(&mut self) -> Option<&mut u32> {
        match self {
            Format::Raw => None,
            Format::Wrapped(Container::Vmdk(Level(level))) => Some(level),
            Format::Wrapped(_) => None,
            Format::Packed(Package::Ova(Level(level)) | Package::Box(level)) => Some(level),
            Format::Oci(level) | Format::ContainerDisk(level) => Some(level),
        }
    }

    /// Whether it is made of a tree.
    fn takes_tree(self) -> bool {
        matches!(self, Format::Oci(_))
    }
}

/// How hard VMDK grains are compressed unless `level` says otherwise: zlib's own choice.
const LEVEL: Level = Level(6);

/// The trees below the one that is exported, each a layer of a container image: the lowest first.
const LAYERS: [&str; 15] = [
    "layer 1", "layer 2", "layer 3", "layer 4", "layer 5", "layer 6", "layer 7", "layer 8",
    "layer 9", "layer 10", "layer 11", "layer 12", "layer 13", "layer 14", "layer 15",
];

/// The words after `format =`; each is also the extension, but for container images.
const FORMATS: &[(&str, Format)] = &[
    ("raw", Format::Raw),
    ("qcow2", Format::Wrapped(Container::Qcow2)),
    ("vdi", Format::Wrapped(Container::Vdi)),
    ("vmdk", Format::Wrapped(Container::Vmdk(LEVEL))),
    ("vhd", Format::Wrapped(Container::Vhd)),
    ("ova", Format::Packed(Package::Ova(LEVEL))),
    ("tar.bz2", Format::Packed(Package::Box(9))),
    ("oci", Format::Oci(6)),
    ("containerdisk", Format::ContainerDisk(6)),
];

/// An export to one file.
#[derive(Clone, Debug)]
pub struct Export {
    /// The format's word.
    pub word: &'static str,
    /// The format.
    pub format: Format,
    /// The file's name without extension; the pipeline's name where `None`.
    pub name: Option<String>,
    /// The machine, for formats that describe one.
    pub machine: Machine,
    /// What a container starts with, for images of one.
    pub execution: Execution,
    /// Its sidecar files.
    pub sidecars: SidecarOptions,
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let name = read_name(fields);
    let level = fields.integer("level", 1..=9).map(|level| level.value as u32);
    let (machine, of_machine) = Machine::read(fields);
    let execution = container::read(fields);
    let sidecars = SidecarOptions::read(fields);
    let words: Vec<&'static str> = FORMATS.iter().map(|(word, _)| *word).collect();
    let (is_list, is_empty) = match fields.require("format").raw("format").map(|it| &it.data) {
        Some(Data::Array(elements)) => (true, elements.is_empty()),
        _ => (false, false),
    };
    let chosen = fields.choices("format", &words);
    if is_empty && let Some(span) = fields.key_span("format") {
        fields.fault(Fault::new(span, "`format` is empty").label("name at least one format"));
    }
    let exports: Vec<Export> = chosen
        .iter()
        .filter_map(|word| FORMATS.iter().find(|(other, _)| *other == word.value))
        .map(|(word, format)| {
            let (mut format, name, machine) = (*format, name.clone(), machine.clone());
            let (sidecars, execution) = (sidecars.clone(), execution.clone());
            if let Some((written, level)) = format.level().zip(level) {
                *written = level;
            }
            Export { word, format, name, machine, execution, sidecars }
        })
        .collect();
    let inputs = read_inputs(fields, &exports);
    if !exports.is_empty()
        && !exports.iter().any(|it| it.format.takes_tree())
        && let Some(span) = fields.key_span("config")
    {
        let fault = Fault::new(span, "`config` is for `oci` alone");
        fields.fault(fault.hint("remove it; no container is started from the other formats"));
    }
    let compresses = |it: &Export| it.format.clone().level().is_some();
    if !exports.is_empty()
        && !exports.iter().any(compresses)
        && let Some(span) = fields.key_span("level")
    {
        let fault = Fault::new(
            span,
            "`level` is for `vmdk`, `ova`, `tar.bz2`, `oci` and `containerdisk` alone",
        );
        fields.fault(fault.hint("remove it; the other formats are not compressed"));
    }
    let is_packed = |it: &Export| matches!(it.format, Format::Packed(_));
    if !exports.is_empty()
        && !exports.iter().any(is_packed)
        && let Some(key) = of_machine
        && let Some(span) = fields.key_span(key)
    {
        let fault = Fault::new(span, format!("`{key}` is for `ova` and `tar.bz2` alone"));
        fields.fault(fault.hint("remove it; the other formats have a disk and no machine"));
    }
    if exports.iter().any(is_packed)
        && let Some(name) = &name
        && !is_legal_name(name)
        && let Some(span) = fields.key_span("name")
    {
        let fault = Fault::new(span, format!("`{name}` cannot be the name of a machine's files"));
        fields.fault(fault.hint("letters, digits, `.`, `_`, `-` and `+`, at most 80"));
    }
    let instance = |export: Export| {
        let stage: Box<dyn Stage> = Box::new(export.clone());
        (is_list.then(|| export.word.to_string()), stage)
    };
    let inputs = inputs?;
    (!exports.is_empty())
        .then(|| Parsed { inputs, instances: exports.into_iter().map(instance).collect() })
}

/// What the exports take: a disk, or a tree and the trees that it was made from.
fn read_inputs(fields: &mut Fields<'_>, exports: &[Export]) -> Option<Vec<Input>> {
    const TREE: &[ArtifactKind] = &[ArtifactKind::Tree];
    let of_trees = exports.iter().filter(|it| it.format.takes_tree()).count();
    if of_trees == 0 {
        return Some(vec![fields.required_input("from", &[ArtifactKind::Disk])?]);
    }
    if of_trees < exports.len()
        && let Some(span) = fields.key_span("format")
    {
        let message = "`oci` is made of a tree and the other formats of a disk";
        let hint = "write two stages: one from the tree, one from the disk";
        fields.fault(Fault::new(span, message).hint(hint));
    }
    let from = fields.required_input("from", TREE)?;
    let is_tree = |kind: &str| {
        super::KINDS.iter().any(|row| row.name == kind && row.output == ArtifactKind::Tree)
    };
    let ancestors = fields.ancestors(&from.stage.value).into_iter().skip(1);
    let trees = ancestors.take_while(|stage| is_tree(&stage.kind)).take(LAYERS.len());
    let mut below: Vec<&str> = trees.map(|stage| stage.name.as_str()).collect();
    below.reverse();
    let layers = below.into_iter().zip(LAYERS).map(|(name, key)| {
        let stage = Spanned::new(from.stage.span.clone(), name.to_string());
        Input { key, stage, accepts: TREE }
    });
    let mut inputs: Vec<Input> = layers.collect();
    inputs.insert(0, from);
    Some(inputs)
}

/// The stem of the file's name.
fn read_name(fields: &mut Fields<'_>) -> Option<String> {
    let name = fields.text("name")?;
    let plain = |c: char| c != '/' && !c.is_control();
    let legal =
        !name.text.is_empty() && !name.text.starts_with('.') && name.text.chars().all(plain);
    if legal && name.text.len() <= 200 {
        return Some(name.text);
    }
    let fault = Fault::new(name.span, "`name` is not a file name");
    fields.fault(fault.hint("give the name without directory and extension, such as `debian-13`"));
    None
}

impl Export {
    /// The file's name in the output directory.
    fn file_name(&self, settings: &Settings) -> String {
        let extension = match self.format {
            Format::Oci(_) | Format::ContainerDisk(_) => format!("{}.tar", self.word),
            Format::Raw | Format::Wrapped(_) | Format::Packed(_) => self.word.to_string(),
        };
        format!("{}.{extension}", self.stem(settings))
    }

    /// The same without the extension; also the name of the machine.
    fn stem<'a>(&'a self, settings: &'a Settings) -> &'a str {
        self.name.as_ref().unwrap_or(&settings.pipeline)
    }

    fn image_options<'a>(&'a self, context: &'a StageContext, level: u32) -> ImageOptions<'a> {
        ImageOptions {
            execution: &self.execution,
            architecture: &context.settings.architecture,
            epoch: context.settings.epoch,
            level,
            threads: context.settings.jobs,
            work: &context.work,
        }
    }

    fn path(&self, context: &StageContext) -> PathBuf {
        context.settings.output.join(self.file_name(&context.settings))
    }
}

impl Stage for Export {
    fn revision(&self) -> u32 {
        REVISION
    }

    /// With the file's name only where that is in the bytes.
    fn describe(&self, context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        recipe.value("format", self.word);
        if let Some(level) = self.format.clone().level() {
            recipe.value("level", level);
        }
        if let Format::Packed(_) = self.format {
            recipe.value("name", self.stem(&context.settings));
            self.machine.describe(recipe);
        }
        if let Format::Oci(_) = self.format {
            container::describe(&self.execution, recipe);
        }
        Ok(())
    }

    /// The image, and the user's copy where it shares the cache's file system. No format stores
    /// more than the disk's data and a little for its tables.
    fn need(&self, context: &StageContext, inputs: &Inputs) -> u64 {
        let Ok(disk) = inputs.get("from") else { return 0 };
        let data =
            context.object(disk).metadata().map_or(disk.size, |object| object.blocks() * 512);
        let image = data + data / 1000 + (4 << 20);
        let copies = match self.format {
            // The object is the disk's own.
            Format::Raw => 0,
            Format::Wrapped(_) | Format::Packed(_) => 1,
            // A layer, the same compressed, and the archive of that; before that, of a disk its image.
            Format::Oci(_) | Format::ContainerDisk(_) => 3,
        };
        image
            * (copies
                + u64::from(share_a_file_system(
                    &context.settings.output,
                    context.cache.directory(),
                )))
    }

    fn run(&self, context: &StageContext, inputs: &Inputs, _pins: &[Pin]) -> Result<Output> {
        claim(context, &self.path(context))?;
        let disk = inputs.get("from")?;
        let file = context.scratch(format!("image.{}", self.word));
        let identity = Identity { disk: disk.digest, epoch: context.settings.epoch };
        let report = |done, total| (context.progress)(done, total, "B");
        let progress = Progress { cancel: &context.cancel, report: &report };
        let (threads, object) = (context.settings.jobs, context.object(disk));
        let written = match self.format {
            Format::Raw => return same_bytes(context, disk, file),
            Format::Wrapped(container) => {
                image::write(&object, container, identity, &file, threads, progress)
            }
            Format::Packed(package) => {
                refuse_other_machines(&context.settings.architecture)?;
                let appliance = self.machine.around(disk, self.stem(&context.settings))?;
                image::pack(&object, package, &appliance, identity, &file, threads, progress)
            }
            Format::Oci(level) => {
                let mut trees = Vec::new();
                for key in LAYERS.into_iter().chain(["from"]) {
                    trees.extend(inputs.artifacts.get(key).map(|tree| context.object(tree)));
                }
                let trees: Vec<&Path> = trees.iter().map(PathBuf::as_path).collect();
                oci::write_tree(&trees, &self.image_options(context, level), &file, progress)
            }
            Format::ContainerDisk(level) => {
                let disk = context.scratch("disk.qcow2");
                let written =
                    image::write(&object, Container::Qcow2, identity, &disk, threads, progress);
                written.and_then(|_| {
                    oci::write_disk(&disk, &self.image_options(context, level), &file, progress)
                })
            }
        };
        let (digest, size) = written.with_context(|| format!("exporting to {}", self.word))?;
        Ok(Output::hashed(ArtifactKind::Export, file, digest, size.0))
    }

    fn sidecars(&self, context: &StageContext) -> Option<Sidecars> {
        Some(self.sidecars.of(&context.settings.output, self.file_name(&context.settings)))
    }

    fn materialize(&self, context: &StageContext, artifact: &Artifact) -> Result<Placement> {
        let path = self.path(context);
        claim(context, &path)?;
        let name = self.file_name(&context.settings);
        let report = |done, total| (context.progress)(done, total, "B");
        let progress = Progress { cancel: &context.cancel, report: &report };
        let (object, output) = (context.object(artifact), &context.settings.output);
        materialize(&context.cache, &object, artifact.digest, output, &name, progress)?;
        Ok(Placement::Present(path))
    }

    /// The path, whether or not the file is there: writing it again needs no run.
    fn locate(&self, context: &StageContext, _artifact: &Artifact) -> Result<Placement> {
        Ok(Placement::Present(self.path(context)))
    }
}

/// These formats describe machines of amd64 alone.
fn refuse_other_machines(architecture: &str) -> Result<()> {
    if architecture == "amd64" {
        return Ok(());
    }
    Err(anyhow!("`ova` and `tar.bz2` describe machines of amd64, not of {architecture}"))
        .hint("export the disk alone, as `vmdk` or `vdi`")
}

/// A raw export has the bytes of the disk, so the digest and in the cache also the object.
fn same_bytes(context: &StageContext, disk: &Artifact, file: PathBuf) -> Result<Output> {
    let object = context.object(disk);
    // A second name for the object, which the cache drops again when it finds it has it already.
    if std::fs::hard_link(&object, &file).is_err() {
        sparse::copy_file(&object, &file)?;
    }
    let Artifact { hashing, digest, size, .. } = *disk;
    let facts = Default::default();
    Ok(Output {
        artifact: Artifact { kind: ArtifactKind::Export, hashing, digest, size, facts },
        file,
    })
}

/// Whether `output` and the directory `other` share a file system.
fn share_a_file_system(output: &Path, other: &Path) -> bool {
    let device = |path: &Path| path.metadata().map(|it| it.dev()).ok();
    let there = output.ancestors().find_map(|path| match path.as_os_str().is_empty() {
        true => device(Path::new(".")),
        false => device(path),
    });
    there == device(other)
}

/// The files that exports of running builds go to, each with its build and its stage.
static CLAIMS: Mutex<Vec<(Weak<Settings>, PathBuf, String)>> = Mutex::new(Vec::new());

/// Refuses when another stage of the same build exports to `path`: the one would overwrite the
/// other with every build. Stages do not know each other, so this shows only when they meet.
fn claim(context: &StageContext, path: &Path) -> Result<()> {
    let mut claims = CLAIMS.lock().unwrap_or_else(PoisonError::into_inner);
    claims.retain(|(build, ..)| build.strong_count() > 0);
    let build = std::sync::Arc::downgrade(&context.settings);
    let other = claims.iter().find(|(of, claimed, _)| of.ptr_eq(&build) && claimed == path);
    match other {
        Some((.., stage)) if *stage != context.stage => {
            let (here, path) = (&context.stage, path.display());
            Err(anyhow!("the stages `{stage}` and `{here}` both export to {path}"))
                .hint("give one of them another `name`")
        }
        Some(_) => Ok(()),
        None => {
            claims.push((build, path.to_path_buf(), context.stage.clone()));
            Ok(())
        }
    }
}
