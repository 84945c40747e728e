//! `disk`: makes a bootable disk of a tree. Input: tree, and an installation medium with the tools if
//! one is named. Output: disk. The keys are in `disk::config`. The tools that shape the bytes come from
//! locked packages, see [`tools`].

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use crate::artifact::{Artifact, ArtifactKind, BootSoftware, DiskFacts, Facts, Output};
use crate::debian::{self, Base, Distribution, Request, pool};
use crate::disk::config::{Config, Firmware};
use crate::disk::layout::Layout;
use crate::disk::split::{Splitter, Wanted};
use crate::disk::{assemble, boot, filesystem, fstab, grow, swap_file};
use crate::error::{Context, Result, anyhow, with_hint};
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
    /// `secure-boot`, if the pipeline has it.
    secure_boot: Option<bool>,
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let from = fields.required_input("from", &[ArtifactKind::Tree]);
    let medium = fields.input("medium", MEDIA);
    let has_secure_boot = fields.has("secure-boot");
    let secure_boot = fields.boolean("secure-boot", true);
    let secure_boot = has_secure_boot.then_some(secure_boot);
    let config = Config::read(fields)?;
    if secure_boot == Some(true) && !config.firmware.contains(&Firmware::Uefi) {
        let span = fields.key_span("secure-boot").unwrap_or(fields.span());
        let fault = Fault::new(span, "Secure Boot needs UEFI, which does not start this disk");
        fields.fault(fault.hint("add `uefi` to `firmware`, or leave out `secure-boot`"));
    }
    let layout = layout(fields, &config)?;
    let mut inputs = vec![from?];
    inputs.extend(medium.clone());
    let origin = Origin { medium, ..Origin::default() };
    Some(Parsed::one(inputs, Disk { layout, origin, secure_boot }))
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
    secure_boot: Option<String>,
    boot_software: Option<BootSoftware>,
) -> Result<Output> {
    (context.progress)(0, 0, "hashing");
    let digest = sparse::tree_hash(file).context("hashing the disk")?;
    let facts = Box::new(DiskFacts {
        boot_software,
        firmware: layout.firmware.clone(),
        root,
        root_uuid,
        secure_boot,
        grows: layout.grow.clone(),
        table: layout.table.word().to_string(),
    });
    Ok(Output::sparse(ArtifactKind::Disk, image, digest, layout.size.0).with(Facts::Disk(facts)))
}

impl Disk {
    /// A stage that makes this layout.
    pub fn new(layout: Layout) -> Disk {
        Disk { layout, origin: Origin::default(), secure_boot: None }
    }

    /// The question for the signed boot loader of a tree with these facts, if it is to have one.
    fn signed_request(&self, context: &StageContext, inputs: &Inputs) -> Result<Option<Request>> {
        let uefi = self.layout.firmware.contains(&Firmware::Uefi);
        if !uefi || self.secure_boot == Some(false) {
            return Ok(None);
        }
        let tree = inputs.facts("from")?.tree();
        let suite = tree.and_then(|tree| tree.suite.clone());
        let (Some(tree), Some(suite)) = (tree, suite) else {
            return match self.secure_boot {
                Some(true) => Err(with_hint(
                    anyhow!("the tree does not say which suite its boot loader would be from"),
                    "leave out `secure-boot`",
                )),
                _ => Ok(None),
            };
        };
        let distribution = Distribution::named(tree.distribution.as_deref());
        let pockets = distribution.pockets_of(&suite).into_iter();
        let pockets = pockets.filter(|pocket| tree.pockets.iter().any(|known| known == pocket));
        let packages = tools::signed_packages(&context.settings.architecture).iter();
        Ok(Some(Request {
            part: Part::BootLoader,
            distribution,
            suite,
            components: vec!["main".to_string()],
            pockets: self.origin.searched(pockets.collect()),
            packages: packages.map(|name| name.to_string()).collect(),
            backports: Vec::new(),
            files: Vec::new(),
            recommends: false,
            base: Base::Exactly,
            optional: self.secure_boot.is_none(),
            source: self.origin.package_source(inputs)?,
            keyring: None,
            repositories: Vec::new(),
        }))
    }

    /// Makes the disk of the tree in `tree` with these tools.
    pub fn make(
        &self,
        tree: &Artifact,
        tools: &ToolsTree,
        signed: Option<&boot::Signed<'_>>,
        context: &StageContext,
    ) -> Result<Output> {
        let layout = &self.layout;
        let settings = &context.settings;
        let (epoch, architecture) = (settings.epoch, settings.architecture.as_str());
        let esp_files = boot::esp_files(layout, architecture, tools, signed)?;
        let grow = grow::script(layout)?;
        let swap_file = swap_file::script(layout);
        // What a tree has of another disk, which it was imported from, is of no use here.
        let mut replaced = vec![FSTAB, boot::MENU];
        replaced.extend([grow::SCRIPT, grow::UNIT, grow::WANTED, grow::STATE]);
        replaced.extend([swap_file::SCRIPT, swap_file::UNIT, swap_file::REQUIRED]);
        replaced.extend(esp_files.iter().map(|(path, _)| path.as_str()));
        let replaced: Vec<String> = replaced.into_iter().map(str::to_string).collect();
        let object = context.object(tree);
        let again = || File::open(&object).with_context(|| format!("opening {}", object.display()));
        let split = |wanted: &dyn Fn(usize) -> Wanted| {
            let (work, replaced) = (&context.work, replaced.iter().cloned());
            let mut splitter = Splitter::new(layout, work, epoch, replaced, wanted)?;
            splitter.stream(watched(tree, context)?, &context.cancel)?;
            let copies = splitter.copy_links(again, &context.cancel)?;
            splitter.survey().check(layout)?;
            let menu = boot::menu(layout, splitter.survey())?;
            splitter.add_file(FSTAB, fstab::text(layout).as_bytes())?;
            splitter.add_file(boot::MENU, menu.as_bytes())?;
            if let Some(script) = &grow {
                splitter.add_file(grow::SCRIPT, script.as_bytes())?;
                splitter.add_file(grow::UNIT, grow::UNIT_TEXT.as_bytes())?;
                splitter.add_link(grow::WANTED, grow::UNIT)?;
            }
            if let Some(script) = &swap_file {
                splitter.add_file(swap_file::SCRIPT, script.as_bytes())?;
                splitter.add_file(swap_file::UNIT, swap_file::UNIT_TEXT.as_bytes())?;
                splitter.add_link(swap_file::REQUIRED, swap_file::UNIT)?;
            }
            for (path, bytes) in &esp_files {
                splitter.add_file(path, bytes)?;
            }
            let boot_software = splitter.survey().boot_software();
            Ok::<_, crate::error::Error>((splitter.finish()?, boot_software, copies))
        };
        // After an edit, most filesystems are in the cache, and their tars are not needed.
        let is_first = context.cache.latest(&settings.pipeline, &context.stage).is_none();
        let wanted = if is_first { Wanted::Tar } else { Wanted::Digest };
        let (mut parts, boot_software, copies) = split(&|_| wanted)?;
        swap_file::check_room(layout, &parts)?;
        if copies > 0 {
            let links = if copies == 1 { "hard link leaves its" } else { "hard links leave their" };
            (context.warn)(&format!(
                "{}: {copies} {links} file system; what they name is copied",
                context.stage
            ));
        }
        for warning in fstab::warnings(layout) {
            (context.warn)(&format!("{}: {warning}", context.stage));
        }
        if !is_first {
            let missing = filesystem::missing(&layout.filesystems, &parts, tools, context)?;
            if missing.contains(&true) {
                let wanted = |index| if missing[index] { Wanted::Tar } else { Wanted::Nothing };
                let (written, ..) = split(&wanted)?;
                for (part, written) in parts.iter_mut().zip(written) {
                    *part = written.or(part.take());
                }
            }
        }

        let filesystems = filesystem::make_all(&layout.filesystems, &parts, tools, context)?;
        for path in parts.iter().flatten().filter_map(|part| part.path.as_ref()) {
            std::fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
        }
        let boot = boot::bios(layout, tools, context)?;
        let files: Vec<_> = filesystems.iter().map(|artifact| context.object(artifact)).collect();
        let image = context.scratch("disk.raw");
        let disk = assemble::write(&image, layout, &files, boot.as_ref(), epoch, &context.cancel)?;
        let root = layout.mounted("/").context("finding the root filesystem")?;
        let vendor = signed.map(|signed| signed.vendor.to_string());
        let root = (root.device(), root.uuid_text());
        made(context, (image, &disk), layout, root, vendor, Some(boot_software))
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
        recipe.optional("secure-boot", self.secure_boot);
        recipe.optional("grow", self.layout.grow.as_ref());
        recipe.optional("swap-file", self.layout.swap_file);
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
            files: Vec::new(),
            recommends: false,
            base: Base::Exactly,
            optional: false,
            source: self.origin.package_source(inputs)?,
            keyring: None,
            repositories: Vec::new(),
        };
        let signed = self.signed_request(context, inputs)?;
        debian::pin(context, [Some(request), signed].iter().flatten(), Vec::new())
    }

    fn materials(&self, inputs: &Inputs, pins: &[Pin]) -> Result<Vec<Material>> {
        let (tools, signed) = pins.split_at(pins.len().min(1));
        let mut all = materials::packages(&debian::DEBIAN, tools);
        if !signed.is_empty() {
            all.extend(materials::packages(distribution(inputs)?, signed));
        }
        Ok(all)
    }

    fn run(&self, context: &StageContext, inputs: &Inputs, pins: &[Pin]) -> Result<Output> {
        let pin = pins.first().context("finding the tools: none are locked")?;
        pool::fetch(context, &debian::DEBIAN, pin, &self.origin.package_source(inputs)?)?;
        (context.progress)(0, 0, "unpacking the tools");
        let tools = tools::tools(context, pin)?;
        let distribution = distribution(inputs)?;
        let signed = match pins.get(1) {
            Some(pin) => {
                pool::fetch(context, distribution, pin, &self.origin.package_source(inputs)?)?;
                tools::signed_boot(context, pin)?
            }
            None => None,
        };
        let signed = signed.as_ref().map(|boot| boot::Signed { vendor: distribution.name, boot });
        self.make(inputs.get("from")?, &tools, signed.as_ref(), context)
    }
}

/// The distribution of the tree.
fn distribution(inputs: &Inputs) -> Result<&'static Distribution> {
    let tree = inputs.facts("from")?.tree();
    Ok(Distribution::named(tree.and_then(|tree| tree.distribution.as_deref())))
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
