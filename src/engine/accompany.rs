//! Has what is told of an export laid beside it: how it came, by the recipes of all stages on the
//! way, and what is in it, by the tree on that way. An export that was there before is told of in
//! the same words as one that was just made.

use std::collections::BTreeSet;

use super::attempt::Where;
use super::bring::Brought;
use super::event::Event;
use super::results::Reach;
use super::worker::{Build, Walk};
use crate::artifact::{Artifact, ArtifactKind};
use crate::error::{Context, Result};
use crate::provenance::inventory::{self, Inventory};
use crate::provenance::{self, BuildHistory, BuildStep};
use crate::stage::StageContext;

/// Why an export is told of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// It was made now.
    Output,
    /// It was there before, or is put back.
    Known,
}

impl Build<'_> {
    /// Lays beside the result of the node `at` what its stage wants there.
    pub(super) fn accompany(
        &self,
        at: usize,
        walk: &Walk,
        context: &StageContext,
        artifact: &Artifact,
        occasion: Occasion,
    ) -> Result<()> {
        let node = &self.plan.nodes()[at];
        let Some(papers) = node.stage.papers(context) else { return Ok(()) };
        let inventory = match papers.bills.is_empty() {
            true => None,
            false => self.inventory(at, walk, context, occasion)?,
        };
        let story = self.story(at, walk, artifact)?;
        let (inventory, signer) = (inventory.as_ref(), self.options.signer.as_ref());
        provenance::place(context, &papers, artifact, &story, inventory, signer)
            .with_context(|| format!("telling what {} is made of", node.name))
    }

    /// How the result of the node `at` came about.
    fn story(&self, at: usize, walk: &Walk, artifact: &Artifact) -> Result<BuildHistory> {
        let nodes = self.plan.nodes();
        let (mut chapters, mut materials) = (Vec::new(), Vec::new());
        for stage in self.ancestry(at) {
            let node = &nodes[stage];
            let what = || format!("{} has no result", node.name);
            let origin = walk.results.origin(stage).with_context(what)?;
            let output = match stage == at {
                true => artifact.clone(),
                false => walk.results.artifact(stage).with_context(what)?,
            };
            let inputs = node.inputs.iter();
            let inputs = inputs.map(|(key, input)| (key.to_string(), nodes[input.0].name.clone()));
            materials.extend(node.stage.materials(&origin.inputs, &origin.pins)?);
            let (stage, inputs) = (node.name.clone(), inputs.collect());
            chapters.push(BuildStep { stage, recipe: origin.recipe, inputs, output });
        }
        let key = chapters.last().map(|chapter| chapter.recipe.key());
        let record = key.map(|key| self.cache.recorded(&key)).transpose()?.flatten();
        Ok(BuildHistory {
            pipeline: self.settings.pipeline.clone(),
            chapters,
            materials,
            tool: record.map_or(String::new(), |record| record.tool),
            epoch: self.settings.epoch,
        })
    }

    /// The node `at` and everything that it is made of, in the order of the plan.
    fn ancestry(&self, at: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open = vec![at];
        while let Some(at) = open.pop() {
            if found.insert(at) {
                open.extend(self.plan.nodes()[at].inputs.iter().map(|(_, input)| input.0));
            }
        }
        found
    }

    /// What is installed in the last tree that the node `at` is made of; `None` where there is no
    /// tree, or it cannot be had.
    fn inventory(
        &self,
        at: usize,
        walk: &Walk,
        context: &StageContext,
        occasion: Occasion,
    ) -> Result<Option<Inventory>> {
        let is_tree = |at: &usize| {
            walk.results.artifact(*at).is_some_and(|made| made.kind == ArtifactKind::Tree)
        };
        let Some(from) = self.ancestry(at).into_iter().rev().find(is_tree) else {
            return Ok(None);
        };
        let tree = walk.results.artifact(from).context("a tree has no result")?;
        let recipe = inventory::recipe(tree.digest);
        let reach = walk.results.reach_of(from);
        // It goes where the export goes, whose receiver may have no tree.
        let offer = |occasion| match (occasion, reach) {
            (Occasion::Output, Reach::Open) => {
                self.offer(&self.plan.nodes()[from], &recipe.key(), reach)
            }
            _ => Ok(()),
        };
        if let Some(record) = self.recorded(&recipe.key(), Where::of(reach))?
            && (self.cache.holds(&record.output)
                || self.fetch_object(&record.output, &context.progress)? == Brought::Here)
        {
            offer(occasion)?;
            return inventory::read(&self.cache.object(&record.output)).map(Some);
        }
        if !self.cache.holds(&tree) && self.fetch_object(&tree, &context.progress)? == Brought::Not
        {
            // The export is as good as before, so nothing is made again for this.
            let (tree, stage) = (&self.plan.nodes()[from].name, &self.plan.nodes()[at].name);
            let text = format!(
                "{stage} has no bill of materials: the tree it is made of is not here and could \
                 not be fetched (`--rebuild {tree}` makes it here)"
            );
            self.observer.notify(&Event::Warning { text: &text });
            return Ok(None);
        }
        let (made, _) = context.cached(&recipe, |context| inventory::make(context, &tree))?;
        offer(Occasion::Output)?;
        inventory::read(&self.cache.object(&made)).map(Some)
    }
}
