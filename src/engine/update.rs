//! Resolves the pins of a lock again. The new lock is a draft: the caller looks at the changes and
//! saves it, or does not.
//!
//! The answer can depend on the content of the tree that packages are added to. Where that is not
//! in the cache it is built, with the pins of the draft; the next build finds it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::decision::Decision;
use super::event::{Event, Observer};
use super::inspect;
use super::locked::{Known, Predicted};
use super::plan::{Node, Plan, Ready};
use super::scheduler::Build;
use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::error::{Context, Result, anyhow};
use crate::lock::{LockEntry, LockFile};
use crate::remote::RemoteCache;
use crate::stage::{Inputs, Pin, PinOutcome, Settings, StageContext};

/// An update, ready to run.
pub struct Update<'p> {
    /// The pipeline that the lock belongs to.
    pub pipeline: &'p Ready,
    /// The store of results.
    pub cache: Arc<Cache>,
    /// The settings of a build.
    pub settings: Arc<Settings>,
    /// The current lock.
    pub lock: &'p LockFile,
    /// Receives the events.
    pub observer: Arc<dyn Observer>,
    /// Set to stop.
    pub cancel: Cancel,
    /// The remote cache, where there is one.
    pub remote: Option<Arc<RemoteCache>>,
}

impl Update<'_> {
    /// The new lock. Resolves `stages` again, and others whose questions change with the answers.
    /// Where no stage is named, resolves all and drops the entries of stages that are gone.
    pub fn draft(&self, stages: &[String]) -> Result<LockFile> {
        let names: Vec<String> =
            self.pipeline.stages.iter().map(|stage| stage.name.clone()).collect();
        let plan = Plan::new(self.pipeline, &names)?;
        // Refuses a stage that does not exist, with the same words as for a target.
        Plan::new(self.pipeline, stages)?;
        let mut entries = self.lock.entries();
        let named = |node: &Node<'_>| {
            stages.is_empty()
                || stages.iter().any(|name| *name == node.name || name == node.stage_name)
        };
        if stages.is_empty() {
            let known: BTreeSet<String> = plan.names().into_iter().collect();
            entries.retain(|stage, _| known.contains(stage));
        }
        let draft = self.lock.draft(entries);
        let mut resolver = Resolver {
            update: self,
            build: self.build(&plan, &draft),
            draft: &draft,
            fresh: Vec::new(),
            predicted: Predicted::default(),
        };
        for (at, node) in plan.nodes().iter().enumerate() {
            self.cancel.check()?;
            resolver
                .node(at, node, named(node))
                .with_context(|| format!("resolving what {} needs", node.name))?;
        }
        Ok(draft)
    }

    fn build<'a>(&self, plan: &'a Plan<'a>, draft: &'a LockFile) -> Build<'a> {
        Build {
            plan,
            cache: self.cache.clone(),
            settings: self.settings.clone(),
            lock: draft,
            observer: Arc::new(Quiet(self.observer.clone())),
            cancel: self.cancel.clone(),
            remote: self.remote.clone(),
            options: Default::default(),
        }
    }

    /// Builds the inputs of `node`, with the pins of the draft.
    fn build_inputs(
        &self,
        node: &Node<'_>,
        nodes: &[Node<'_>],
        draft: &LockFile,
    ) -> Result<Inputs> {
        let names: Vec<String> =
            node.inputs.iter().map(|(_, input)| nodes[input.0].name.clone()).collect();
        let plan = Plan::new(self.pipeline, &names)?;
        let summary = self.build(&plan, draft).run()?;
        if summary.failed + summary.skipped > 0 {
            return Err(anyhow!("{} could not be made", names.join(" and ")));
        }
        let found = inspect::explain(&plan, &self.cache, &self.settings, draft, &[])?;
        let mut inputs = Inputs::default();
        for ((key, _), name) in node.inputs.iter().zip(&names) {
            let at = plan.nodes().iter().position(|node| node.name == *name);
            let artifact = match at.map(|at| &found[at].decision) {
                Some(Decision::Cached(artifact, _) | Decision::Restore(artifact)) => artifact,
                _ => return Err(anyhow!("{name} was built, and is not in the cache")),
            };
            inputs.artifacts.insert(key, artifact.clone());
        }
        Ok(inputs)
    }
}

/// Resolves one stage after the other.
struct Resolver<'a> {
    update: &'a Update<'a>,
    build: Build<'a>,
    draft: &'a LockFile,
    /// The new answers so far: later questions are answered as of the same index.
    fresh: Vec<LockEntry>,
    predicted: Predicted,
}

impl Resolver<'_> {
    fn node(&mut self, at: usize, node: &Node<'_>, named: bool) -> Result<()> {
        let (mut inputs, known) = self.predicted.inputs(node);
        if !named {
            let entries = self.draft.stage(&node.name);
            let was_locked = !entries.is_empty();
            match self.pin(node, &inputs, entries) {
                Ok(PinOutcome::Pinned(pins)) => {
                    self.predicted.set(at, node.stage.predict(&inputs, &pins));
                    return Ok(());
                }
                // Its question is another since what it stands on is.
                _ if was_locked && known == Known::All && !self.fresh.is_empty() => {}
                _ => return Ok(()),
            }
        }
        let mut context = self.build.context(node);
        let (cache, settings) = (&self.update.cache, &self.update.settings);
        context.log = cache.log(&settings.pipeline, &format!("{}.resolve", node.name));
        context.locked = Vec::new();
        context.locked_elsewhere = self.fresh.clone();
        let pins = match node.stage.pin(&context, &inputs) {
            Ok(PinOutcome::Pinned(pins)) => pins,
            Err(error) if known == Known::All => return Err(error),
            // The answer depends on what was not predicted, or on the content of an input.
            Err(_) | Ok(PinOutcome::NeedsInputs) => {
                self.update.cancel.check()?;
                inputs = self.update.build_inputs(node, self.build.plan.nodes(), self.draft)?;
                let pins = node.stage.pin(&context, &inputs)?.pinned();
                pins.context("what it is made of was built, and is not in the cache")?
            }
        };
        self.take_out_old(node, &inputs, &pins);
        for pin in &pins {
            self.draft.record(&node.name, &pin.locked)?;
            self.fresh.push(pin.locked.clone());
        }
        self.predicted.set(at, node.stage.predict(&inputs, &pins));
        Ok(())
    }

    /// What `node` is pinned to if the lock says `entries` of it and nothing else may be asked.
    fn pin(&self, node: &Node<'_>, inputs: &Inputs, entries: Vec<LockEntry>) -> Result<PinOutcome> {
        let context = self.build.context(node);
        let settings = Settings { locked: true, offline: true, ..(*context.settings).clone() };
        let context = StageContext { locked: entries, settings: Arc::new(settings), ..context };
        node.stage.pin(&context, inputs)
    }

    /// Takes out of the draft what `pins` come in the place of. What was resolved for other values
    /// of the pipeline's variables (another suite, another address) stays.
    fn take_out_old(&self, node: &Node<'_>, inputs: &Inputs, pins: &[Pin]) {
        let mut entries = self.draft.stage(&node.name);
        entries.retain(|entry| {
            let question = entry.question();
            let mut resolved = pins.iter().map(|pin| pin.locked.question());
            let same_target = question.target.is_some()
                && resolved.clone().any(|other| other.target == question.target);
            let answers = || {
                let outcome = self.pin(node, inputs, vec![entry.clone()]);
                matches!(outcome, Ok(PinOutcome::Pinned(_)))
            };
            // An entry that is resolved anew is replaced when its new answer is recorded.
            !pins.is_empty()
                && (resolved.any(|other| other == question) || !same_target && !answers())
        });
        self.draft.replace(&node.name, entries);
    }
}

/// Passes on the events of stages that run.
struct Quiet(Arc<dyn Observer>);

impl Observer for Quiet {
    fn notify(&self, event: &Event<'_>) {
        match event {
            Event::Begin { .. } | Event::Cached { .. } | Event::End(_) => {}
            event => self.0.notify(event),
        }
    }
}
