//! `disk`: makes a bootable disk of a tree. Input: tree, and an installation medium with the tools if
//! one is named. Output: disk. The keys are in `disk::config`. The tools that shape the bytes come from
//! locked packages, see [`tools`].

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use crate::artifact::{Artifact, ArtifactKind, DiskFacts, Facts, Output};
use crate::debian::{self, Base, Request, pool};
use crate::disk::config::Config;
use crate::disk::layout::Layout;
use crate::disk::split::Splitter;
use crate::disk::{assemble, boot, filesystem, fstab};
use crate::error::{Context, Result};
use crate::files::sparse;
use crate::lock::Part;
use crate::pipeline::{Fault, Fields};
use crate::provenance::Material;
use crate::recipe::Recipe;
use crate::tools::{self, ToolsTree};

use super::origin::{MEDIA, Origin};
use super::{Inputs, Kind, Parsed, Pin, PinOutcome, Stage, StageContext, materials};

/// The row of the table of kinds.
pub const KIND: Kind = Kind { name: "disk", output: ArtifactKind::Disk, read };

/// Raised when the same recipe would make other bytes.
const REVISION: u32 = 1;

/// The path of the table of mounts in a tree.
const FSTAB: &str = "/etc/fstab";

/// A disk to make.
#[derive(Clone, Debug)]
pub struct Disk {
    layout: Layout,
    /// Where the tools are from.
    origin: Origin,
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let from = fields.required_input("from", &[ArtifactKind::Tree]);
    let medium = fields.input("medium", MEDIA);
    let config = Config::read(fields)?;
    let layout = layout(fields, &config)?;
    let mut inputs = vec![from?];
    inputs.extend(medium.clone());
    let origin = Origin { medium, ..Origin::default() };
    Some(Parsed::one(inputs, Disk { layout, origin }))
}

/// The layout that `config` asks for; faults go to the collector.
pub(super) fn layout(fields: &Fields<'_>, config: &Config) -> Option<Layout> {
    let report = |faults: Vec<Fault>| faults.into_iter().for_each(|fault| fields.fault(fault));
    Layout::of(config).map_err(report).ok()
}

/// The finished raw image `file` at `image` as an output with the facts of a disk.
pub(super) fn made(
    context: &StageContext,
    (image, file): (PathBuf, &File),
    layout: &Layout,
    (root, root_uuid): (String, String),
) -> Result<Output> {
    (context.progress)(0, 0, "hashing");
    let digest = sparse::tree_hash(file).context("hashing the disk")?;
    let facts = DiskFacts {
        firmware: layout.firmware.clone(),
        root,
        root_uuid,
        table: layout.table.word().to_string(),
    };
    Ok(Output::sparse(ArtifactKind::Disk, image, digest, layout.size.0).with(Facts::Disk(facts)))
}

impl Disk {
    /// A stage that makes this layout.
    pub fn new(layout: Layout) -> Disk {
        Disk { layout, origin: Origin::default() }
    }

    /// Makes the disk of the tree in `tree` with these tools.
    pub fn make(
        &self,
        tree: &Artifact,
        tools: &ToolsTree,
        context: &StageContext,
    ) -> Result<Output> {
        let layout = &self.layout;
        let settings = &context.settings;
        let (epoch, architecture) = (settings.epoch, settings.architecture.as_str());
        let esp_paths = boot::esp_paths(layout, architecture)?;
        let replaced = [FSTAB.to_string(), boot::MENU.to_string()];
        let replaced = replaced.into_iter().chain(esp_paths.iter().cloned());
        let mut splitter = Splitter::new(layout, &context.work, epoch, replaced)?;
        splitter.stream(watched(tree, context)?, &context.cancel)?;
        splitter.survey().check(layout)?;
        for warning in fstab::warnings(layout) {
            (context.warn)(&format!("{}: {warning}", context.stage));
        }
        let menu = boot::menu(layout, splitter.survey())?;
        splitter.add_file(FSTAB, fstab::text(layout).as_bytes())?;
        splitter.add_file(boot::MENU, menu.as_bytes())?;
        if !esp_paths.is_empty() {
            let files = boot::esp_files(layout, architecture, tools)?;
            for (path, bytes) in esp_paths.iter().zip(files) {
                splitter.add_file(path, &bytes)?;
            }
        }
        let parts = splitter.finish()?;

        let filesystems = filesystem::make_all(&layout.filesystems, &parts, tools, context)?;
        for part in parts.into_iter().flatten() {
            std::fs::remove_file(&part.path)
                .with_context(|| format!("removing {}", part.path.display()))?;
        }
        let boot = boot::bios(layout, tools, context)?;
        let files: Vec<_> = filesystems.iter().map(|artifact| context.object(artifact)).collect();
        let image = context.scratch("disk.raw");
        let disk = assemble::write(&image, layout, &files, boot.as_ref(), epoch, &context.cancel)?;
        let root = layout.mounted("/").context("finding the root filesystem")?;
        made(context, (image, &disk), layout, (root.device(), root.uuid_text()))
    }
}

impl Stage for Disk {
    fn revision(&self) -> u32 {
        REVISION
    }

    fn describe(&self, context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        boot::check_firmware(&self.layout, &context.settings.architecture)?;
        recipe.list("layout", self.layout.lines());
        recipe.list("mounts", self.layout.mount_lines());
        Ok(())
    }

    /// The tars of the parts, the filesystems in the cache, and the disk.
    fn need(&self, _context: &StageContext, inputs: &Inputs) -> u64 {
        inputs.get("from").map_or(0, |tree| tree.size.saturating_mul(3))
    }

    fn pin(&self, context: &StageContext, inputs: &Inputs) -> Result<PinOutcome> {
        let packages = tools::PACKAGES.iter();
        let packages = packages.chain(tools::boot_packages(&context.settings.architecture));
        let request = Request {
            part: Part::Tools,
            distribution: &debian::DEBIAN,
            suite: tools::SUITE.to_string(),
            components: vec!["main".to_string()],
            pockets: Vec::new(),
            packages: packages.map(|name| name.to_string()).collect(),
            backports: Vec::new(),
            base: Base::Exactly,
            source: self.origin.package_source(inputs)?,
            keyring: None,
        };
        debian::pin(context, [&request])
    }

    fn materials(&self, _inputs: &Inputs, pins: &[Pin]) -> Result<Vec<Material>> {
        Ok(materials::packages(&debian::DEBIAN, pins))
    }

    fn run(&self, context: &StageContext, inputs: &Inputs, pins: &[Pin]) -> Result<Output> {
        let pin = pins.first().context("finding the tools: none are locked")?;
        pool::fetch(context, &debian::DEBIAN, pin, &self.origin.package_source(inputs)?)?;
        (context.progress)(0, 0, "unpacking the tools");
        let tools = tools::tools(context, pin)?;
        self.make(inputs.get("from")?, &tools, context)
    }
}

/// The tar of the tree; reports how much of it was read.
fn watched(tree: &Artifact, context: &StageContext) -> Result<impl Read + use<>> {
    let path = context.object(tree);
    let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    let progress = context.progress.clone();
    let watched = Watched { inner: file, progress, read: 0, size: tree.size };
    Ok(BufReader::with_capacity(1 << 18, watched))
}

struct Watched {
    inner: File,
    progress: crate::stage_context::Progress,
    read: u64,
    size: u64,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read += n as u64;
        (self.progress)(self.read, self.size, "bytes");
        Ok(n)
    }
}
