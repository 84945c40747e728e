//! `bootstrap`: a minimal Debian or Ubuntu tree from the packages of a mirror or an installation
//! medium: the essential ones, apt, and what `packages` names. Input: the medium, if there is one.
//! Output: tree. With `layers` the medium holds the system itself.

use std::path::PathBuf;

use super::customise::packages::is_path;
use super::origin::{Origin, release};
use super::{Inputs, Kind, Parsed, Pin, PinOutcome, Resource, Stage, StageContext, materials};
use crate::artifact::{ArtifactKind, Facts, Output, SETTING_PACKAGES, TreeFacts};
use crate::debian::{
    self, Archive, Base, DEBIAN, Distribution, Request, UBUNTU, install, mirror, pool, repository,
};
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::lock::{Package, Part};
use crate::pipeline::{Fault, Fields, Text};
use crate::provenance::Material;
use crate::recipe::Recipe;
use crate::sandbox::{Network, Packed, Sandbox, Step, place};
use crate::threads;

mod layers;

/// The row of the table of kinds.
pub const KIND: Kind = Kind { name: "bootstrap", output: ArtifactKind::Tree, read };

struct Bootstrap {
    distribution: &'static Distribution,
    suite: String,
    components: Vec<String>,
    packages: Vec<String>,
    origin: Origin,
    /// The archive that the installed system takes its packages from, if the pipeline names one.
    guest_mirror: Option<String>,
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    if fields.has("layers") {
        return layers::read(fields);
    }
    let texts = |texts: Vec<Text>| texts.into_iter().map(|text| text.text);
    let words = [(DEBIAN.name, &DEBIAN), (UBUNTU.name, &UBUNTU)];
    let distribution = fields.choice_of("distribution", &words).map_or(&DEBIAN, |it| it.value);
    let suite = fields.required_text("suite");
    let mut components: Vec<String> = texts(fields.unique_texts("components")).collect();
    if components.is_empty() {
        components.push("main".into());
    }
    let (files, packages): (Vec<Text>, Vec<Text>) =
        fields.unique_texts("packages").into_iter().partition(|text| is_path(&text.text));
    for file in files {
        let fault = Fault::new(file.span.clone(), format!("{} is a file", file.shown()));
        fields.fault(fault.hint("let a `customise` behind this stage install package files"));
    }
    let packages = texts(packages).collect();
    if *distribution == DEBIAN {
        // For Ubuntu, the mirror is also the source of packages of the installed system.
        fields.at_most_one(&["from", "mirror"]);
    }
    let origin = Origin::read(fields, "from");
    let guest_mirror = fields.text("guest-mirror").map(|mirror| mirror.text);
    // The one variant there is; the key is there so that a file can say so.
    fields.choice("variant", &["minbase"]);
    let suite = release(fields, suite?)?;
    let inputs = origin.medium.iter().cloned().collect();
    let stage = Bootstrap { distribution, suite, components, packages, origin, guest_mirror };
    Some(Parsed::one(inputs, stage))
}

impl Bootstrap {
    /// What the installed system takes its packages from.
    fn source(&self, context: &StageContext) -> Result<String> {
        if let Some(mirror) = &self.guest_mirror {
            return Ok(mirror.trim_end_matches('/').to_string());
        }
        let (given, configured) =
            (context.settings.mirror.as_deref(), self.origin.mirror.as_deref());
        match self.distribution.source {
            Some(source) => Ok(source.to_string()),
            None => mirror::find(self.distribution, given, configured),
        }
    }

    /// The pockets that the installed system uses.
    fn pockets(&self) -> Vec<&'static str> {
        let named = self.origin.pockets.clone();
        named.unwrap_or_else(|| self.distribution.pockets_of(&self.suite))
    }

    /// The apt sources of the installed system.
    fn sources(&self, context: &StageContext) -> Result<String> {
        let source = self.source(context)?;
        let security = match &self.guest_mirror {
            Some(_) => mirror::beside(self.distribution, &source),
            None => self.distribution.security_source.to_string(),
        };
        let suites = debian::suites(&self.suite, &self.pockets(), &self.origin.backports);
        Ok(sources(self.distribution, (&source, &security), &suites, &self.components))
    }

    /// What the tree is, for stages that take it.
    fn facts(&self, packages: &[Package]) -> Facts {
        let is_debian = *self.distribution == DEBIAN;
        Facts::Tree(Box::new(TreeFacts {
            components: self.components.clone(),
            distribution: (!is_debian).then(|| self.distribution.name.to_string()),
            lacks: SETTING_PACKAGES
                .into_iter()
                .filter(|name| !packages.iter().any(|package| package.name == *name))
                .map(str::to_string)
                .collect(),
            packages: installed(packages, None),
            pockets: self.pockets().into_iter().map(str::to_string).collect(),
            suite: Some(self.suite.clone()),
        }))
    }

    fn request(&self, inputs: &Inputs, keys: &[Pin]) -> Result<Request> {
        Ok(Request {
            part: Part::Packages,
            distribution: self.distribution,
            suite: self.suite.clone(),
            components: self.components.clone(),
            pockets: self.origin.searched(self.distribution.pockets_of(&self.suite)),
            packages: self.packages.clone(),
            backports: self.origin.backports.clone(),
            files: Vec::new(),
            recommends: false,
            base: Base::Empty,
            optional: false,
            source: self.origin.package_source(inputs)?,
            keyring: self.origin.keyring.clone(),
            repositories: self.origin.repositories(keys),
        })
    }
}

impl Stage for Bootstrap {
    fn revision(&self) -> u32 {
        1
    }

    fn describe(&self, context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        if *self.distribution != DEBIAN {
            recipe.value("distribution", self.distribution.name);
        }
        if self.distribution.source.is_none() || self.guest_mirror.is_some() {
            recipe.value("source", self.source(context)?);
        }
        recipe.set("pocket", self.pockets());
        recipe.set("backport", &self.origin.backports);
        recipe.value("suite", &self.suite);
        recipe.set("component", &self.components);
        recipe.set("package", &self.packages);
        self.origin.describe_repositories(context, recipe)
    }

    fn resource(&self) -> Resource {
        self.origin.resource()
    }

    fn pin(&self, context: &StageContext, inputs: &Inputs) -> Result<PinOutcome> {
        let keys = repository::pin_keys(context, &self.origin.repositories)?;
        debian::pin(context, [&self.request(inputs, &keys)?], keys)
    }

    fn materials(&self, _inputs: &Inputs, pins: &[Pin]) -> Result<Vec<Material>> {
        Ok(materials::packages(self.distribution, pins))
    }

    fn predict(&self, _inputs: &Inputs, pins: &[Pin]) -> Option<Facts> {
        Some(self.facts(pins.first()?.packages()))
    }

    fn need(&self, _context: &StageContext, _inputs: &Inputs) -> u64 {
        // A minimal tree, packed and unpacked, and its packages.
        700 << 20
    }

    fn run(&self, context: &StageContext, inputs: &Inputs, pins: &[Pin]) -> Result<Output> {
        // Before minutes of downloads.
        place::choose()?;
        let source = self.origin.package_source(inputs)?;
        let (packages, files) = pool::fetch(context, self.distribution, &pins[0], &source)?;
        let sandbox = Sandbox::new(&context.work, context.settings.epoch, "localhost")?;
        offer(&sandbox, &packages, &files)?;
        (context.progress)(0, 0, "unpacking");
        let (first, rest): (Vec<&Package>, Vec<&Package>) =
            packages.iter().partition(|package| package.essential);
        let tars = contents(context, &sandbox, &first, &packages, &files)?;
        let lib64 = context.settings.architecture == "amd64";
        let mut steps = install::essential(tars, lib64);
        if !rest.is_empty() {
            steps.extend(install::kernel_defaults());
        }
        let asked = [&self.packages[..], &self.origin.backports].concat();
        steps.extend(install::install(&rest, &asked));
        steps.push(install::initial_ram_disks());
        steps.push(install::write(
            &format!("/etc/apt/sources.list.d/{}.sources", self.distribution.name),
            self.sources(context)?,
        ));
        steps.extend(self.origin.keep_repositories(context, &sandbox, pins)?);
        steps.extend(install::scrub());
        steps.push(Step::Pack { file: PACKED.into() });
        let last = steps.len() - 1;
        let progress = |at| (context.progress)(at as u64, last as u64, "steps");
        let outcome = sandbox.run(steps, Network::None, &context.log, &context.cancel, progress);
        Ok(take_out(context, sandbox, outcome)?.with(self.facts(&packages)))
    }
}

/// The name of the tar that the last step packs the tree into.
pub(super) const PACKED: &str = "tree.tar";

/// Takes the packed tree out of the sandbox and removes the rest of it: also after a failure, for
/// an ordinary user cannot remove it from outside.
pub(super) fn take_out(
    context: &StageContext,
    sandbox: Sandbox,
    outcome: Result<Option<Packed>>,
) -> Result<Output> {
    let output = outcome.and_then(|packed| {
        let packed = packed.context("packing the tree")?;
        let file = context.scratch(PACKED);
        std::fs::rename(sandbox.output().join(PACKED), &file).context("taking the tree out")?;
        Ok(Output::hashed(ArtifactKind::Tree, file, packed.digest, packed.size))
    });
    let cleared = if context.keeps_work(&output) { Ok(()) } else { sandbox.clear(&context.log) };
    output.and_then(|output| cleared.map(|()| output))
}

/// Puts package files where the steps look for them.
pub(super) fn offer(sandbox: &Sandbox, packages: &[Package], files: &[PathBuf]) -> Result<()> {
    for name in [install::ESSENTIAL, install::PACKAGES] {
        let directory = sandbox.exchange().join(name);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("making {}", directory.display()))?;
    }
    for (package, file) in packages.iter().zip(files) {
        let directory = if package.essential { install::ESSENTIAL } else { install::PACKAGES };
        sandbox.offer(file, &format!("{directory}/{}", package.file_name()))?;
    }
    Ok(())
}

/// Puts the files of `packages`, which are in the store of packages, where the steps of a batch look
/// for them: into `directory` of the exchange directory.
pub(super) fn offer_batch(
    context: &StageContext,
    sandbox: &Sandbox,
    directory: &str,
    packages: &[Package],
) -> Result<()> {
    let to = sandbox.exchange().join(directory);
    std::fs::create_dir_all(&to).with_context(|| format!("making {}", to.display()))?;
    packages.iter().try_for_each(|package| {
        let file = context.cache.package(&package.sha256);
        sandbox.offer(&file, &format!("{directory}/{}", package.file_name()))
    })
}

/// The digest that names a set of installed packages, for requests on top of them.
pub(super) fn installed(packages: &[Package], below: Option<&str>) -> Digest {
    let mut recipe = Recipe::new("installed", 1);
    recipe.optional("below", below);
    recipe.set("package", packages);
    // An archive has one package of a name and a version.
    let files = packages.iter().filter(|package| package.file);
    recipe.set("package file", files.map(|package| package.sha256));
    recipe.key().0
}

/// deb822 sources for the installed system: a paragraph for each archive of the suites, of which
/// `main` and `security` are the addresses.
fn sources(
    distribution: &Distribution,
    (main, security): (&str, &str),
    suites: &[String],
    components: &[String],
) -> String {
    let paragraph = |(archive, url): (Archive, &str)| {
        let suites = suites.iter().filter(|suite| distribution.archive_of(suite) == archive);
        let suites: Vec<&str> = suites.map(String::as_str).collect();
        (!suites.is_empty()).then(|| {
            format!(
                "Types: deb\nURIs: {url}\nSuites: {}\nComponents: {}\nSigned-By: {}\n",
                suites.join(" "),
                components.join(" "),
                distribution.keyring
            )
        })
    };
    let archives = [(Archive::Main, main), (Archive::Security, security)];
    archives.into_iter().filter_map(paragraph).collect::<Vec<String>>().join("\n")
}

/// Decompresses the contents of the packages of `first` into tars of the exchange directory, on all
/// processors; their names there, in the order in which to unpack them.
fn contents(
    context: &StageContext,
    sandbox: &Sandbox,
    first: &[&Package],
    packages: &[Package],
    files: &[PathBuf],
) -> Result<Vec<String>> {
    let name = |package: &Package| format!("{}.tar", package.name);
    threads::for_each(first, context.settings.jobs, |package| -> Result<()> {
        let at =
            packages.iter().position(|other| other == *package).context("finding a package")?;
        debian::contents::unpack(context, &files[at], &sandbox.exchange().join(name(package)))
    })?;
    Ok(first.iter().map(|package| name(package)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_of_the_build_is_not_in_the_image() {
        let suites = ["", "-updates", "-security"];
        let of = |suite: &str| suites.map(|pocket| format!("{suite}{pocket}"));
        let urls = (DEBIAN.source.unwrap(), DEBIAN.security_source);
        let text = sources(&DEBIAN, urls, &of("trixie"), &["main".into(), "contrib".into()]);
        let expected = format!(
            "Types: deb\nURIs: {}\nSuites: trixie trixie-updates\nComponents: main contrib\n\
             Signed-By: {keyring}\n\nTypes: deb\nURIs: {}\nSuites: trixie-security\n\
             Components: main contrib\nSigned-By: {keyring}\n",
            urls.0,
            urls.1,
            keyring = DEBIAN.keyring
        );
        assert_eq!(text, expected);
        let text = sources(&UBUNTU, ("http://a/ubuntu", ""), &of("noble"), &["main".into()]);
        assert!(text.contains("Suites: noble noble-updates noble-security\nComponents: main\n"));
    }
}
