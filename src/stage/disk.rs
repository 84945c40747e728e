//! `kind = "disk"`: a tree becomes a bootable disk. Eats the tree under `from`; the keys are in
//! `disk::config`. The tools that shape the bytes come from locked packages, see [`tools`].

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use crate::artifact::{Artifact, Made, Product};
use crate::cache::sparse;
use crate::debian::{self, Base, Request, pool};
use crate::disk::config::Config;
use crate::disk::layout::Layout;
use crate::disk::split::Splitter;
use crate::disk::{assemble, boot, filesystem, fstab};
use crate::error::{Context, Result};
use crate::pipeline::{Fault, Fields};
use crate::provenance::Material;
use crate::recipe::Recipe;
use crate::tools::{self, ToolsTree};

use super::origin::{MEDIA, Origin};
use super::{Inputs, Kind, Parsed, Pin, Site, Stage, materials};

/// The row of the table of kinds.
pub const KIND: Kind = Kind { name: "disk", product: Product::Disk, read };

/// Raised when the same recipe would make other bytes.
const REVISION: u32 = 1;

/// Where a tree keeps its table of mounts.
const FSTAB: &str = "/etc/fstab";

/// A disk to make.
#[derive(Clone, Debug)]
pub struct Disk {
    layout: Layout,
    /// Where the tools are from.
    origin: Origin,
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let from = fields.required_input("from", &[Product::Tree]);
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

/// The finished raw image `file` at `image`, with what those who eat a disk ask of it.
pub(super) fn made(
    site: &Site,
    (image, file): (PathBuf, &File),
    layout: &Layout,
    (root, root_uuid): (String, String),
) -> Result<Made> {
    (site.progress)(0, 0, "hashing");
    let digest = sparse::tree_hash(file).context("hashing the disk")?;
    let firmware: Vec<_> = layout.firmware.iter().map(|firmware| firmware.word()).collect();
    Ok(Made::sparse(Product::Disk, image, digest, layout.size.0)
        .with("firmware", firmware.join(" "))
        .with("root", root)
        .with("root-uuid", root_uuid)
        .with("table", layout.table.word()))
}

impl Disk {
    /// A stage that makes this layout.
    pub fn new(layout: Layout) -> Disk {
        Disk { layout, origin: Origin::default() }
    }

    /// Makes the disk of the tree in `tree` with these tools.
    pub fn make(&self, tree: &Artifact, tools: &ToolsTree, site: &Site) -> Result<Made> {
        let layout = &self.layout;
        let settings = &site.settings;
        let (epoch, architecture) = (settings.epoch, settings.architecture.as_str());
        let esp_paths = boot::esp_paths(layout, architecture)?;
        let replaced = [FSTAB.to_string(), boot::MENU.to_string()];
        let replaced = replaced.into_iter().chain(esp_paths.iter().cloned());
        let mut splitter = Splitter::new(layout, &site.work, epoch, replaced)?;
        splitter.stream(watched(tree, site)?, &site.cancel)?;
        splitter.survey().check(layout)?;
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

        let filesystems = filesystem::make_all(&layout.filesystems, &parts, tools, site)?;
        for part in parts.into_iter().flatten() {
            std::fs::remove_file(&part.path)
                .with_context(|| format!("removing {}", part.path.display()))?;
        }
        let boot = boot::bios(layout, tools, site)?;
        let files: Vec<_> = filesystems.iter().map(|artifact| site.object(artifact)).collect();
        let image = site.scratch("disk.raw");
        let disk = assemble::write(&image, layout, &files, boot.as_ref(), epoch, &site.cancel)?;
        let root = layout.mounted("/").context("finding the root filesystem")?;
        made(site, (image, &disk), layout, (root.device(), root.uuid_text()))
    }
}

impl Stage for Disk {
    fn revision(&self) -> u32 {
        REVISION
    }

    fn describe(&self, site: &Site, recipe: &mut Recipe) -> Result<()> {
        boot::check_firmware(&self.layout, &site.settings.architecture)?;
        recipe.list("layout", self.layout.lines());
        Ok(())
    }

    /// The tars of the parts, the filesystems in the cache, and the disk.
    fn need(&self, _site: &Site, inputs: &Inputs) -> u64 {
        inputs.get("from").map_or(0, |tree| tree.size.saturating_mul(3))
    }

    fn pin(&self, site: &Site, inputs: &Inputs) -> Result<Vec<Pin>> {
        let packages = tools::PACKAGES.iter();
        let packages = packages.chain(tools::boot_packages(&site.settings.architecture));
        let request = Request {
            part: "tools",
            distribution: &debian::DEBIAN,
            suite: tools::SUITE.to_string(),
            components: vec!["main".to_string()],
            packages: packages.map(|name| name.to_string()).collect(),
            base: Base::Exactly,
            archive: self.origin.archive(inputs)?,
            keyring: None,
        };
        Ok(vec![debian::pin(site, &request)?])
    }

    fn materials(&self, _inputs: &Inputs, pins: &[Pin]) -> Result<Vec<Material>> {
        materials::packages(&debian::DEBIAN, pins)
    }

    fn run(&self, site: &Site, inputs: &Inputs, pins: &[Pin]) -> Result<Made> {
        let pin = pins.first().context("finding the tools: none are locked")?;
        pool::fetch(site, &debian::DEBIAN, pin, &self.origin.archive(inputs)?)?;
        (site.progress)(0, 0, "unpacking the tools");
        let tools = tools::tools(site, pin)?;
        self.make(inputs.get("from")?, &tools, site)
    }
}

/// The tar of the tree, telling how much of it was read.
fn watched(tree: &Artifact, site: &Site) -> Result<impl Read + use<>> {
    let path = site.object(tree);
    let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    let progress = site.progress.clone();
    let watched = Watched { inner: file, progress, read: 0, size: tree.size };
    Ok(BufReader::with_capacity(1 << 18, watched))
}

struct Watched {
    inner: File,
    progress: crate::site::Progress,
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
