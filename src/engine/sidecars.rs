//! Writes the sidecar files of an export, and makes the documents that a stage attaches to its result: the
//! provenance, from the recipes of all stages that it depends on, and the SBOMs, from the tree among them.
//! They are the same whether the result was made now or was cached.

use std::collections::BTreeSet;

use super::event::Event;
use super::execute::{FetchOutcome, Scope, Trigger};
use super::results::Confidentiality;
use super::scheduler::{Build, Shared};
use crate::artifact::{Artifact, ArtifactKind};
use crate::error::{Context, Result};
use crate::provenance::inventory::{self, Inventory};
use crate::provenance::{self, BuildHistory, BuildStep, Sidecars};
use crate::stage::StageContext;

impl Build<'_> {
    /// Writes the sidecar files that the stage of the node `at` has beside its result.
    pub(super) fn write_sidecars(
        &self,
        at: usize,
        shared: &Shared,
        context: &StageContext,
        artifact: &Artifact,
        trigger: Trigger<'_>,
    ) -> Result<()> {
        let node = &self.plan.nodes()[at];
        self.attach_documents(at, shared, context, artifact, trigger)?;
        let Some(sidecars) = node.stage.sidecars(context) else { return Ok(()) };
        let inventory = self.inventory_of(&sidecars, at, shared, context, trigger)?;
        let history = self.history(at, shared, artifact)?;
        let (inventory, signer) = (inventory.as_ref(), self.options.signer.as_ref());
        provenance::write_sidecars(context, &sidecars, artifact, &history, inventory, signer)
            .with_context(|| format!("writing the sidecar files of {}", node.name))
    }

    /// Gives the stage of the node `at` the documents that it attaches to its result.
    fn attach_documents(
        &self,
        at: usize,
        shared: &Shared,
        context: &StageContext,
        artifact: &Artifact,
        trigger: Trigger<'_>,
    ) -> Result<()> {
        let node = &self.plan.nodes()[at];
        let Some((wanted, sha256)) = node.stage.attachments(context, artifact)? else {
            return Ok(());
        };
        let inventory = self.inventory_of(&wanted, at, shared, context, trigger)?;
        let history = self.history(at, shared, artifact)?;
        let (inventory, signer) = (inventory.as_ref(), self.options.signer.as_ref());
        let documents = provenance::documents(&wanted, sha256, &history, inventory, signer);
        node.stage
            .attach(context, artifact, &documents)
            .with_context(|| format!("attaching the documents of {}", node.name))
    }

    /// The inventory that bills of materials of the node `at` need, if there are to be any.
    fn inventory_of(
        &self,
        wanted: &Sidecars,
        at: usize,
        shared: &Shared,
        context: &StageContext,
        trigger: Trigger<'_>,
    ) -> Result<Option<Inventory>> {
        match wanted.sboms.is_empty() {
            true => Ok(None),
            false => self.inventory(at, shared, context, trigger),
        }
    }

    fn history(&self, at: usize, shared: &Shared, artifact: &Artifact) -> Result<BuildHistory> {
        let nodes = self.plan.nodes();
        let (mut steps, mut materials) = (Vec::new(), Vec::new());
        for at_step in self.dependencies(at) {
            let node = &nodes[at_step];
            let what = || format!("{} has no result", node.name);
            let origin = shared.results.origin(at_step).with_context(what)?;
            let output = match at_step == at {
                true => artifact.clone(),
                false => shared.results.artifact(at_step).with_context(what)?,
            };
            let inputs = node.inputs.iter();
            let inputs = inputs.map(|(key, input)| (key.to_string(), nodes[input.0].name.clone()));
            materials.extend(node.stage.materials(&origin.inputs, &origin.pins)?);
            let (stage, inputs) = (node.name.clone(), inputs.collect());
            steps.push(BuildStep { stage, recipe: origin.recipe, inputs, output });
        }
        let key = steps.last().map(|step| step.recipe.key());
        let record = key.map(|key| self.cache.recorded(&key)).transpose()?.flatten();
        Ok(BuildHistory {
            pipeline: self.settings.pipeline.clone(),
            steps,
            materials,
            tool: record.map_or(String::new(), |record| record.tool),
            epoch: self.settings.epoch,
        })
    }

    /// The node `at` and all that it depends on, in the order of the plan.
    fn dependencies(&self, at: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open = vec![at];
        while let Some(at) = open.pop() {
            if found.insert(at) {
                open.extend(self.plan.nodes()[at].inputs.iter().map(|(_, input)| input.0));
            }
        }
        found
    }

    /// The last tree that the node `at` depends on, and its node.
    fn last_tree(&self, at: usize, shared: &Shared) -> Option<(usize, Artifact)> {
        let nodes = self.dependencies(at).into_iter().rev();
        let mut results = nodes.filter_map(|at| Some((at, shared.results.artifact(at)?)));
        results.find(|(_, artifact)| artifact.kind == ArtifactKind::Tree)
    }

    /// Notes that the inventory that goes with the result of the node `at` will be for the remote cache.
    pub(super) fn announce_inventory(
        &self,
        at: usize,
        shared: &Shared,
        context: &StageContext,
    ) -> Result<()> {
        let sidecars = self.plan.nodes()[at].stage.sidecars(context);
        if sidecars.is_none_or(|it| it.sboms.is_empty()) {
            return Ok(());
        }
        match self.last_tree(at, shared) {
            Some((from, tree)) => self.announce(
                &inventory::recipe(tree.digest).key(),
                shared.results.confidentiality(from),
            ),
            None => Ok(()),
        }
    }

    /// The packages of the last tree that the node `at` depends on; `None` where there is no tree,
    /// or it is not available.
    fn inventory(
        &self,
        at: usize,
        shared: &Shared,
        context: &StageContext,
        trigger: Trigger<'_>,
    ) -> Result<Option<Inventory>> {
        let results = &shared.results;
        let Some((from, tree)) = self.last_tree(at, shared) else { return Ok(None) };
        let recipe = inventory::recipe(tree.digest);
        let confidentiality = results.confidentiality(from);
        // It goes where the export goes, whose receiver may have no tree.
        let offer = || match confidentiality {
            Confidentiality::Public => {
                self.offer(&self.plan.nodes()[from], &recipe.key(), confidentiality)
            }
            Confidentiality::Secret => Ok(()),
        };
        let is_available = |artifact: &Artifact| -> Result<bool> {
            Ok(self.fetch_object(artifact, &context.progress)? == FetchOutcome::Fetched)
        };
        if let Some(record) = self.recorded(&recipe.key(), Scope::of(confidentiality))?
            && is_available(&record.output)?
        {
            if let Trigger::Run(_) = trigger {
                offer()?;
            }
            return inventory::read(&self.cache.object(&record.output)).map(Some);
        }
        if !is_available(&tree)? {
            // The export is as good as before, so nothing is made again for this.
            let (tree, stage) = (&self.plan.nodes()[from].name, &self.plan.nodes()[at].name);
            let text = format!(
                "{stage} has no SBOM: the tree {tree} that it depends on is not in the cache and \
                 could not be fetched (`--rebuild {tree}` makes it here)"
            );
            self.observer.notify(&Event::Warning { text: &text });
            return Ok(None);
        }
        self.announce(&recipe.key(), confidentiality)?;
        let (output, _) = context.cached(&recipe, |context| inventory::make(context, &tree))?;
        offer()?;
        inventory::read(&self.cache.object(&output)).map(Some)
    }
}
