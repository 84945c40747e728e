//! The actions that a `customise` table means, in their order, and the recipe of each.

use std::cell::Cell;

use super::{Content, Customise, File, Script, additions};
use crate::artifact::Facts;
use crate::debian::{Request, batches, install, package_file, pool};
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::lock::Package;
use crate::recipe::Recipe;
use crate::sandbox::{Network, Sandbox, Step};
use crate::stage::actions::{Action, Sees};
use crate::stage::{Inputs, Pin, Stage, StageContext, bootstrap};

/// What the stage resolved, by what it is for.
pub(super) struct Pins<'a> {
    request: Option<(Request, &'a Pin)>,
    additions: Option<&'a Pin>,
    /// The keys of repositories, and others.
    rest: &'a [Pin],
    all: &'a [Pin],
    /// Whether the files of the packages that are added are known to be in the store.
    is_fetched: Cell<bool>,
}

impl<'a> Pins<'a> {
    /// Tells the pins apart, which are in the order of the stage's questions.
    pub(super) fn new(stage: &Customise, inputs: &Inputs, all: &'a [Pin]) -> Result<Pins<'a>> {
        let mut rest = all;
        let mut next = || -> Result<&'a Pin> {
            let (first, others) = rest.split_first().context("a pin is missing")?;
            rest = others;
            Ok(first)
        };
        let request = match stage.request(inputs, all)? {
            Some(request) => Some((request, next()?)),
            None => None,
        };
        let additions = match stage.additions_request(inputs)? {
            Some(_) => Some(next()?),
            None => None,
        };
        Ok(Pins { request, additions, rest, all, is_fetched: Cell::new(false) })
    }

    /// The packages that are added.
    pub(super) fn added(&self) -> &'a [Package] {
        self.request.as_ref().map_or(&[], |(_, pin)| pin.packages())
    }
}

impl Customise {
    /// The actions that have something to do.
    pub(super) fn actions<'a>(
        &'a self,
        context: &'a StageContext,
        inputs: &'a Inputs,
        pins: &'a Pins<'a>,
    ) -> Result<Vec<Action<'a>>> {
        let facts = &inputs.get("from")?.facts;
        let mut actions = self.packages(context, inputs, pins, facts)?;
        actions.extend(self.action("removal", self.removal_steps()).map(|mut action| {
            action.recipe.set("remove", &self.remove);
            action
        }));
        actions.extend(self.action("settings", self.setting_steps()).map(|mut action| {
            action.recipe.set("hold", self.packages.held());
            action.recipe.optional("hostname", self.hostname.as_ref());
            action.recipe.optional("locale", self.locale.as_ref());
            action.recipe.optional("timezone", self.timezone.as_ref());
            action
        }));
        let steps = self.users.iter().flat_map(|user| user.steps()).collect();
        if let Some(mut action) = self.action("users", steps) {
            self.users.iter().try_for_each(|user| user.describe(context, &mut action.recipe))?;
            actions.push(action);
        }
        if !self.files.is_empty() {
            actions.push(self.put_files(context)?);
        }
        actions.extend(self.action("system", self.system.steps()).map(|mut action| {
            self.system.describe(&mut action.recipe);
            Action { sees: Sees::Observed, ..action }
        }));
        actions.extend(self.guest_additions(context, inputs, pins, facts)?);
        if self.shapes_initial_ram_disk(pins.added()) {
            let step = install::initial_ram_disks();
            let text = serde_json::to_vec(&step).context("writing a step")?;
            actions.extend(self.action("initial RAM disks", vec![step]).map(|mut action| {
                action.recipe.value("script", Digest::of(text));
                Action { sees: Sees::Observed, ..action }
            }));
        }
        for (at, script) in self.scripts.iter().enumerate() {
            actions.push(self.script(context, script, at)?);
        }
        Ok(actions)
    }

    /// An action whose steps need nothing from outside; none if there are no steps.
    fn action<'a>(&self, name: &str, steps: Vec<Step>) -> Option<Action<'a>> {
        (!steps.is_empty()).then(|| self.lazy_action(name, move |_| Ok(steps.clone())))
    }

    /// An action whose steps are made when it runs.
    fn lazy_action<'a>(
        &self,
        name: &str,
        steps: impl Fn(&Sandbox) -> Result<Vec<Step>> + 'a,
    ) -> Action<'a> {
        Action {
            name: name.to_string(),
            recipe: Recipe::new("customise", self.revision()),
            contents: Vec::new(),
            sees: Sees::Everything,
            network: Network::None,
            steps: Box::new(steps),
        }
    }

    /// Repositories, answers and the first packages; then the other batches of packages.
    fn packages<'a>(
        &'a self,
        context: &'a StageContext,
        inputs: &'a Inputs,
        pins: &'a Pins<'a>,
        facts: &'a Facts,
    ) -> Result<Vec<Action<'a>>> {
        if pins.request.is_none() && self.debconf.is_empty() && self.origin.repositories.is_empty()
        {
            return Ok(Vec::new());
        }
        let fetch = move || -> Result<()> {
            if let (Some((request, pin)), false) = (&pins.request, pins.is_fetched.get()) {
                let source = self.origin.package_source(inputs)?;
                package_file::store(context, &request.files, pin.packages())?;
                pool::fetch(context, super::distribution_of(facts), pin, &source)?;
                pins.is_fetched.set(true);
            }
            Ok(())
        };
        let batches = batches::split(context, pins.added(), fetch)?;
        let last = batches.len() - 1;
        let mut actions = Vec::new();
        for (at, batch) in batches.iter().enumerate() {
            let name = match at {
                0 => "packages".to_string(),
                at => format!("packages {}", at + 1),
            };
            let is_last = at == last;
            let offered = batch.iter().map(|package| (*package).clone());
            let offered: Vec<Package> = offered.collect();
            // The last batch has the others too, for the case that they could not be installed alone.
            let before: Vec<Package> = match is_last {
                true => batches[..at].iter().flatten().map(|package| (*package).clone()).collect(),
                false => Vec::new(),
            };
            let batch = offered.iter().chain(&before).map(|package| package.sha256);
            let digests: Vec<Digest> = batch.collect();
            let mut action = self.lazy_action(&name, move |sandbox| {
                let mut steps = Vec::new();
                if at == 0 {
                    steps.extend(self.origin.keep_repositories(context, sandbox, pins.all)?);
                    steps.extend(self.debconf.step());
                    if !offered.is_empty() {
                        steps.extend(install::kernel_defaults());
                    }
                }
                fetch()?;
                bootstrap::offer_batch(context, sandbox, install::PACKAGES, &offered)?;
                if !is_last {
                    steps.extend(install::install_early());
                } else {
                    bootstrap::offer_batch(context, sandbox, install::EARLIER, &before)?;
                    steps.extend(self.package_steps(facts, pins.added()));
                }
                Ok(steps)
            });
            let recipe = &mut action.recipe;
            if is_last {
                recipe.optional("packages", pins.request.as_ref().map(|(_, pin)| pin.digest));
                recipe.set("asked", self.packages_to_add(facts));
                recipe.set("backport", &self.origin.backports);
                self.packages.describe_files(recipe)?;
            } else {
                recipe.set("early package", digests);
            }
            if at == 0 {
                recipe.list("pin", pins.rest.iter().map(|pin| pin.digest));
                self.debconf.describe(context, recipe)?;
                self.origin.describe_repositories(context, recipe)?;
            }
            actions.push(action);
        }
        Ok(actions)
    }

    /// The files; later actions may turn out not to depend on the content of single ones.
    fn put_files<'a>(&'a self, context: &StageContext) -> Result<Action<'a>> {
        let mut action = self.lazy_action("files", |sandbox| self.file_steps(sandbox));
        for file in &self.files {
            let name = format!("file {}", file.path);
            let recipe = &mut action.recipe;
            match file.lone_content(context)? {
                Some(content) => {
                    recipe.value(&name, content.described);
                    action.contents.push((file.path.clone(), content.digest));
                }
                None => file.content.describe(context, recipe, &name)?,
            }
            file.describe_place(recipe);
        }
        Ok(action)
    }

    fn guest_additions<'a>(
        &'a self,
        context: &'a StageContext,
        inputs: &'a Inputs,
        pins: &'a Pins<'a>,
        facts: &'a Facts,
    ) -> Result<Option<Action<'a>>> {
        let Some(additions) = &self.additions else { return Ok(None) };
        let mut action = self.lazy_action("guest additions", move |sandbox| {
            let (packages, files) = match pins.additions {
                Some(pin) => {
                    let source = self.origin.package_source(inputs)?;
                    pool::fetch(context, super::distribution_of(facts), pin, &source)?
                }
                None => Default::default(),
            };
            additions.offer(context, sandbox, inputs, &packages, &files)?;
            Ok(additions.steps())
        });
        additions.describe(context, &mut action.recipe)?;
        action.recipe.optional("pin", pins.additions.map(|pin| pin.digest));
        let input = inputs.artifacts.get(additions::INPUT);
        action.recipe.optional("iso", input.map(|artifact| artifact.digest));
        Ok(Some(Action { sees: Sees::Observed, ..action }))
    }

    fn script<'a>(
        &self,
        context: &StageContext,
        script: &'a Script,
        at: usize,
    ) -> Result<Action<'a>> {
        let steps = move |sandbox: &Sandbox| script.steps(sandbox, at);
        let mut action = self.lazy_action(&format!("script {}", at + 1), steps);
        script.content.describe(context, &mut action.recipe, "run")?;
        Ok(Action { network: script.network, ..action })
    }
}

/// The content of a file that is not a directory.
struct LoneContent {
    digest: Digest,
    /// What of it is seen without opening the file.
    described: &'static str,
}

impl File {
    fn lone_content(&self, context: &StageContext) -> Result<Option<LoneContent>> {
        let mut recipe = Recipe::new("content", 1);
        self.content.describe(context, &mut recipe, "content")?;
        let is_empty = match &self.content {
            Content::Text(text) => text.text.is_empty(),
            // That of a directory has no digest.
            Content::Local(path) => match path.digest() {
                Ok(digest) => digest == Digest::of(""),
                Err(_) => return Ok(None),
            },
        };
        let is_executable = matches!(self.content, Content::Local(_))
            && recipe.lines().last().is_some_and(|line| line.ends_with(" executable"));
        let described = match (is_empty, is_executable) {
            (true, false) => "empty",
            (true, true) => "empty executable",
            (false, false) => "file",
            (false, true) => "executable",
        };
        Ok(Some(LoneContent { digest: Digest::of(recipe.text()), described }))
    }
}
