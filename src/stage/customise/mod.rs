//! `customise`: adds packages, files, users and settings to a tree. Input: tree. Output: tree. The
//! work is done in a sandbox, in this order: answers for debconf, packages in, packages out, holds,
//! settings, users, files, guest additions, scripts, seal.

use super::actions;
use super::origin::Origin;
use super::{
    Inputs, Kind, Parsed, Pin, PinOutcome, Resource, Stage, StageContext, bootstrap, materials,
};
use crate::artifact::{ArtifactKind, Facts, Output, SETTING_PACKAGES, TreeFacts};
use crate::debian::{self, Base, Distribution, Request, install, repository};
use crate::error::{Result, anyhow, bail, with_hint};
use crate::lock::{Package, Part};
use crate::pipeline::Fields;
use crate::provenance::Material;
use crate::recipe::Recipe;
use crate::sandbox::{Network, Step, place};

mod additions;
mod chain;
mod cleared;
mod content;
mod debconf;
pub(super) mod packages;
pub(super) mod read;
pub(super) mod region;
mod steps;
mod system;

use additions::Additions;
use chain::Pins;
use content::Content;
use debconf::Answers;
use packages::Packages;
use system::System;

/// The row of the table of kinds.
pub const KIND: Kind = Kind { name: "customise", output: ArtifactKind::Tree, read: read_fields };

/// The table of the stage.
pub(super) struct Customise {
    suite: Option<String>,
    components: Vec<String>,
    origin: Origin,
    packages: Packages,
    debconf: Answers,
    remove: Vec<String>,
    hostname: Option<String>,
    locale: Option<String>,
    timezone: Option<String>,
    files: Vec<File>,
    users: Vec<User>,
    system: System,
    scripts: Vec<Script>,
    additions: Option<Additions>,
    seal: bool,
}

/// A file or directory put into the tree.
struct File {
    path: String,
    content: Content,
    mode: Option<u32>,
    owner: Option<String>,
}

impl File {
    /// Writes down its mode and owner.
    fn describe_place(&self, recipe: &mut Recipe) {
        let name = format!("file {}", self.path);
        recipe.optional(&format!("{name} mode"), self.mode.map(|mode| format!("{mode:04o}")));
        recipe.optional(&format!("{name} owner"), self.owner.as_ref());
    }
}

/// A user made in the tree.
pub(super) struct User {
    name: String,
    uid: Option<i64>,
    groups: Vec<String>,
    shell: String,
    sudo: bool,
    password_hash: Option<crate::pipeline::Text>,
    ssh_keys: Vec<String>,
}

impl User {
    /// Writes down what the user is.
    pub(super) fn describe(&self, context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        let name = format!("user {}", self.name);
        recipe.optional(&format!("{name} uid"), self.uid);
        recipe.set(&format!("{name} group"), &self.groups);
        recipe.value(&format!("{name} shell"), &self.shell);
        recipe.value(&format!("{name} sudo"), self.sudo);
        recipe.list(&format!("{name} key"), &self.ssh_keys);
        if let Some(hash) = &self.password_hash {
            context.describe_text(recipe, &format!("{name} password"), hash)?;
        }
        Ok(())
    }
}

/// A script run in the tree.
struct Script {
    content: Content,
    network: Network,
}

fn read_fields(fields: &mut Fields<'_>) -> Option<Parsed> {
    let from = fields.required_input("from", &[ArtifactKind::Tree]);
    let customise = read::read(fields);
    let mut inputs = vec![from?];
    if let Some(input) = customise.additions.as_ref().and_then(|additions| additions.input.clone())
    {
        inputs.push(input);
    }
    inputs.extend(customise.origin.medium.clone());
    inputs.extend(customise.packages.inputs.iter().cloned());
    Some(Parsed::one(inputs, customise))
}

impl Customise {
    /// The packages that its settings need, whatever the tree has.
    fn needed(&self) -> Vec<&'static str> {
        let is_made = |locale: &String| !region::is_always_there(locale);
        let needed = [
            // The installer of guest additions unpacks itself with it.
            (self.additions.is_some(), "bzip2"),
            (self.locale.as_ref().is_some_and(is_made), "locales"),
            (!self.users.is_empty(), "passwd"),
            (self.users.iter().any(|user| user.sudo), "sudo"),
            (self.system.has_services(), "systemd"),
            (self.timezone.is_some(), "tzdata"),
            (self.system.upgrades_itself(), "unattended-upgrades"),
        ];
        needed.into_iter().filter(|(is_needed, _)| *is_needed).map(|(_, name)| name).collect()
    }

    /// The packages to add to a tree with these facts: those that are named, and those that settings
    /// need and the tree is known to lack.
    fn packages_to_add(&self, facts: &Facts) -> Vec<String> {
        let lacks = facts.tree().map_or(&[][..], |tree| &tree.lacks);
        let missing = self.needed().into_iter().filter(|name| lacks.iter().any(|it| it == name));
        let named = |name: &str| self.packages.names.iter().any(|package| package == name);
        let missing = missing.filter(|name| !named(name)).map(str::to_string);
        self.packages.names.iter().cloned().chain(missing).collect()
    }

    fn adds_packages(&self, facts: &Facts) -> bool {
        !self.packages_to_add(facts).is_empty()
            || !self.origin.backports.is_empty()
            || self.packages.has_files()
    }

    /// The question to the archive, if there are packages to add.
    fn request(&self, inputs: &Inputs, keys: &[Pin]) -> Result<Option<Request>> {
        let facts = inputs.facts("from")?;
        if !self.adds_packages(facts) {
            return Ok(None);
        }
        let tree = inputs.artifacts.get("from").cloned();
        let installed = match (facts.tree(), &tree) {
            (Some(facts), _) => facts.packages,
            // Without a list the digest of the whole tree is used.
            (None, Some(tree)) => tree.digest,
            (None, None) => bail!("the tree is not built yet"),
        };
        let base = Base::Tree { installed, tree };
        let request = self.question(Part::Packages, self.packages_to_add(facts), base, inputs)?;
        let (files, recommends) = (self.packages.files(inputs), self.packages.recommends);
        let repositories = self.origin.repositories(keys);
        Ok(Some(Request { files, recommends, repositories, ..request }))
    }

    /// The question for the package that holds the guest additions, if that is where they are from.
    fn additions_request(&self, inputs: &Inputs) -> Result<Option<Request>> {
        match &self.additions {
            Some(additions) if additions.is_of_suite() => {
                let packages = vec![additions::PACKAGE.to_string()];
                let mut request =
                    self.question(Part::GuestAdditions, packages, Base::Exactly, inputs)?;
                // Nothing else is asked for, and the lists of `main` are long.
                request.components = vec![request.distribution.additions.to_string()];
                request.pockets.clear();
                request.backports.clear();
                Ok(Some(request))
            }
            _ => Ok(None),
        }
    }

    fn question(
        &self,
        part: Part,
        packages: Vec<String>,
        base: Base,
        inputs: &Inputs,
    ) -> Result<Request> {
        let facts = inputs.facts("from")?;
        let suite = self.suite.clone().or_else(|| facts.tree()?.suite.clone());
        let suite = suite.ok_or_else(|| {
            with_hint(
                anyhow!("the tree does not say which suite its packages are from"),
                "name it with `suite = \"...\"` in this stage",
            )
        })?;
        let of_tree = facts.tree().map_or(&[][..], |facts| &facts.components);
        let components = match (self.components.as_slice(), of_tree) {
            ([], []) => vec!["main".to_string()],
            ([], of_tree) => of_tree.to_vec(),
            (own, _) => own.to_vec(),
        };
        let distribution = distribution_of(facts);
        // What the tree is from, unless this stage names another suite.
        let of_tree = facts.tree().filter(|tree| tree.suite.as_ref() == Some(&suite));
        let mut pockets = distribution.pockets_of(&suite);
        if let Some(tree) = of_tree {
            pockets.retain(|pocket| tree.pockets.iter().any(|known| known == pocket));
        }
        Ok(Request {
            part,
            distribution,
            suite,
            components,
            pockets: self.origin.searched(pockets),
            packages,
            backports: self.origin.backports.clone(),
            files: Vec::new(),
            recommends: false,
            base,
            optional: false,
            source: self.origin.package_source(inputs)?,
            keyring: self.origin.keyring.clone(),
            repositories: Vec::new(),
        })
    }
}

/// The distribution of a tree with these facts.
fn distribution_of(facts: &Facts) -> &'static Distribution {
    Distribution::named(facts.tree().and_then(|facts| facts.distribution.as_deref()))
}

impl Stage for Customise {
    fn revision(&self) -> u32 {
        // 3: packages are installed in batches.
        3
    }

    fn describe(&self, context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        recipe.optional("suite", self.suite.as_ref());
        recipe.set("component", &self.components);
        self.packages.describe(recipe)?;
        self.debconf.describe(context, recipe)?;
        recipe.set("needed package", self.needed());
        recipe.set("remove", &self.remove);
        recipe.set("backport", &self.origin.backports);
        if let Some(pockets) = &self.origin.pockets {
            recipe.value("pockets", pockets.join(" "));
        }
        recipe.optional("hostname", self.hostname.as_ref());
        if let Some(locale) = &self.locale {
            region::describe_locale(locale, recipe);
        }
        recipe.optional("timezone", self.timezone.as_ref());
        for file in &self.files {
            let name = format!("file {}", file.path);
            file.content.describe(context, recipe, &name)?;
            file.describe_place(recipe);
        }
        self.users.iter().try_for_each(|user| user.describe(context, recipe))?;
        self.system.describe(recipe);
        if let Some(additions) = &self.additions {
            additions.describe(context, recipe)?;
        }
        for (at, script) in self.scripts.iter().enumerate() {
            let name = format!("run {}", at + 1);
            script.content.describe(context, recipe, &name)?;
            recipe.value(&format!("{name} network"), script.network == Network::Host);
        }
        recipe.value("seal", self.seal);
        self.origin.describe_repositories(context, recipe)
    }

    fn resource(&self) -> Resource {
        Resource::Cpu
    }

    fn pin(&self, context: &StageContext, inputs: &Inputs) -> Result<PinOutcome> {
        let keys = repository::pin_keys(context, &self.origin.repositories)?;
        let requests = [self.request(inputs, &keys)?, self.additions_request(inputs)?];
        debian::pin(context, requests.iter().flatten(), keys)
    }

    fn materials(&self, inputs: &Inputs, pins: &[Pin]) -> Result<Vec<Material>> {
        Ok(materials::packages(distribution_of(inputs.facts("from")?), pins))
    }

    fn predict(&self, inputs: &Inputs, pins: &[Pin]) -> Option<Facts> {
        let facts = inputs.facts("from").ok()?;
        let added = match self.adds_packages(facts) {
            true => pins.first()?.packages(),
            false => &[],
        };
        Some(self.facts(facts, added))
    }

    fn need(&self, _context: &StageContext, inputs: &Inputs) -> u64 {
        let tree = inputs.get("from").map_or(0, |tree| tree.size);
        let adds = inputs.facts("from").is_ok_and(|facts| self.adds_packages(facts));
        // The tree unpacked and packed, and as much again for what is added.
        2 * tree + if adds { 2 << 30 } else { 64 << 20 }
    }

    fn run(&self, context: &StageContext, inputs: &Inputs, pins: &[Pin]) -> Result<Output> {
        // Before packages are downloaded.
        place::choose()?;
        let tree = inputs.get("from")?;
        let hostname = self.hostname.as_deref().unwrap_or("localhost");
        let pins = Pins::new(self, inputs, pins)?;
        let actions = self.actions(context, inputs, &pins)?;
        let mut last = install::scrub();
        if self.seal {
            last.push(Step::Seal);
        }
        let made = actions::run(context, hostname, tree, &actions, &last)?;
        Ok(made.with(self.facts(&tree.facts, pins.added())))
    }
}

impl Customise {
    /// What the tree is, for stages that take it; `below` are the facts of the one it is made from.
    fn facts(&self, below: &Facts, added: &[Package]) -> Facts {
        let below = below.tree();
        let mut installed = below.map_or(String::new(), |below| below.packages.to_string());
        for package in &self.remove {
            installed += &format!(" -{package}");
        }
        Facts::Tree(Box::new(TreeFacts {
            components: below.map_or(Vec::new(), |below| below.components.clone()),
            distribution: below.and_then(|below| below.distribution.clone()),
            lacks: self.lacks(below, added),
            packages: bootstrap::installed(added, Some(&installed)),
            pockets: below.map_or(Vec::new(), |below| below.pockets.clone()),
            suite: below.and_then(|below| below.suite.clone()),
        }))
    }

    /// The packages for settings that the tree lacks in the end.
    fn lacks(&self, below: Option<&TreeFacts>, added: &[Package]) -> Vec<String> {
        let below = below.map_or(&[][..], |below| &below.lacks);
        let is_added = |name: &str| added.iter().any(|package| package.name == name);
        let lacks = |name: &&str| match self.remove.iter().any(|removed| removed == name) {
            true => true,
            false => below.iter().any(|it| it == name) && !is_added(name),
        };
        SETTING_PACKAGES.into_iter().filter(lacks).map(str::to_string).collect()
    }
}
