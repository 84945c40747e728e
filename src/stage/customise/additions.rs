//! VirtualBox Guest Additions: the installer out of the ISO that the suite packages (the default),
//! a local ISO, or one that another stage downloads; run in the tree.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::artifact::ArtifactKind;
use crate::debian::{contents, install};
use crate::error::{Context, Result, anyhow, with_hint};
use crate::format::iso9660;
use crate::host_path::HostPath;
use crate::lock::Package;
use crate::pipeline::{Data, Fault, Fields, Input};
use crate::recipe::Recipe;
use crate::sandbox::{EXCHANGE, Sandbox, Step};
use crate::stage::{Inputs, StageContext};

/// The package that holds the ISO.
pub const PACKAGE: &str = "virtualbox-guest-additions-iso";

/// The key of the stage that makes the ISO.
pub const INPUT: &str = "guest-additions";

/// The installer's name in the ISO and in the exchange directory.
const INSTALLER: &str = "VBoxLinuxAdditions.run";

const SCRIPT: &str = include_str!("guest-additions.sh");

/// Where the modules come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Modules {
    /// The kernel package ships them.
    Kernel,
    /// Built for the tree's kernel.
    Build,
}

impl Modules {
    const ALL: [(&str, Modules); 2] = [("kernel", Modules::Kernel), ("build", Modules::Build)];

    /// The word in a pipeline, and in a recipe.
    fn word(self) -> &'static str {
        match self {
            Modules::Kernel => "kernel",
            Modules::Build => "build",
        }
    }
}

/// The key or table `guest-additions`.
pub struct Additions {
    iso: Option<HostPath>,
    /// The stage that makes the ISO.
    pub input: Option<Input>,
    modules: Modules,
}

/// Reads `guest-additions`: the word `suite`, or a table.
pub fn read(fields: &mut Fields<'_>) -> Option<Additions> {
    let value = fields.raw("guest-additions")?;
    if let Data::String(text) = &value.data {
        if text.text != "suite" {
            let message = format!("unknown guest additions {}", text.shown());
            let hint =
                "write \"suite\" for the suite's own package, or a table with `iso` or `from`";
            fields.fault(Fault::new(text.span.clone(), message).hint(hint));
        }
        return Some(Additions { iso: None, input: None, modules: Modules::Kernel });
    }
    let mut table = fields.table("guest-additions")?;
    table.at_most_one(&["iso", "from"]);
    let iso = table.existing_file("iso").map(|local| local.path);
    let input =
        table.input("from", &[ArtifactKind::File]).map(|input| Input { key: INPUT, ..input });
    let modules =
        table.choice_of("modules", &Modules::ALL).map_or(Modules::Kernel, |word| word.value);
    table.finish();
    Some(Additions { iso, input, modules })
}

impl Additions {
    /// Whether the ISO comes from the suite's package.
    pub fn is_of_suite(&self) -> bool {
        self.iso.is_none() && self.input.is_none()
    }

    /// What they are, into the recipe.
    pub fn describe(&self, _context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        let from = match (&self.iso, &self.input) {
            (Some(iso), _) => iso.digest()?.to_string(),
            (None, Some(_)) => "stage".to_string(),
            (None, None) => "suite".to_string(),
        };
        recipe.value("guest-additions", from);
        recipe.value("guest-additions script", crate::digest::Digest::of(SCRIPT));
        recipe.value("guest-additions modules", self.modules.word());
        Ok(())
    }

    /// Puts the installer into the exchange directory.
    pub fn offer(
        &self,
        context: &StageContext,
        sandbox: &Sandbox,
        inputs: &Inputs,
        packages: &[Package],
        files: &[PathBuf],
    ) -> Result<()> {
        let target = sandbox.exchange().join(INSTALLER);
        if let Some(local) = &self.iso {
            // A copy, which is what was hashed whatever happens to the file meanwhile.
            let iso = context.scratch("additions.iso");
            local.copy(&iso)?;
            take_installer(&iso, &local.to_string(), &target)?;
            return std::fs::remove_file(&iso).context("removing the ISO");
        }
        if let Ok(artifact) = inputs.get(INPUT) {
            let iso = context.object(artifact);
            return take_installer(&iso, &iso.display().to_string(), &target);
        }
        let at = packages.iter().position(|package| package.name == PACKAGE);
        let deb =
            at.map(|at| &files[at]).context("the package of the guest additions is missing")?;
        let iso = context.scratch("additions.iso");
        take_iso(context, deb, &iso)?;
        take_installer(&iso, &format!("the ISO of {PACKAGE}"), &target)?;
        std::fs::remove_file(&iso).context("removing the ISO")
    }

    /// Runs the installer.
    pub fn steps(&self) -> Vec<Step> {
        let modules = if self.modules == Modules::Build { "build" } else { "kernel" };
        let installer = format!("{EXCHANGE}/{INSTALLER}");
        let script = Step::Run {
            argv: ["/bin/sh", "-s", &installer, modules].map(String::from).into(),
            env: Vec::new(),
            input: SCRIPT.into(),
        };
        vec![install::no_services(), script]
    }
}

/// The ISO out of its package.
fn take_iso(context: &StageContext, deb: &Path, iso: &Path) -> Result<()> {
    let what = || format!("unpacking {}", deb.display());
    let tar = context.scratch("additions.tar");
    contents::unpack(context, deb, &tar)?;
    let mut archive = tar::Archive::new(File::open(&tar).with_context(what)?);
    for entry in archive.entries_with_seek().with_context(what)? {
        let mut entry = entry.with_context(what)?;
        if entry.path_bytes().ends_with(b".iso") {
            let mut target = File::create(iso).with_context(what)?;
            std::io::copy(&mut entry, &mut target).with_context(what)?;
            return std::fs::remove_file(&tar).with_context(what);
        }
    }
    Err(anyhow!("{} holds no ISO", deb.display()))
}

/// The installer out of the ISO in the file `iso`, which a person knows as `name`.
fn take_installer(iso: &Path, name: &str, target: &Path) -> Result<()> {
    let what = || format!("reading {name}");
    let mut image = File::open(iso).and_then(iso9660::Image::open).with_context(what)?;
    let entry = image.find(INSTALLER).with_context(what)?.ok_or_else(|| {
        with_hint(anyhow!("{name} has no {INSTALLER}"), "give an ISO of VirtualBox Guest Additions")
    })?;
    let mut bytes = Vec::new();
    image.contents(&entry).read_to_end(&mut bytes).with_context(what)?;
    std::fs::write(target, bytes).with_context(|| format!("writing {}", target.display()))
}
