//! One stage in a build: its recipe is completed and looked up, in the cache and then in the remote
//! cache; what to do is decided ([`super::decision`]) and done. Inputs that are on the remote cache
//! alone are fetched only for a stage that runs. Where that fails, the stages that made them run
//! again, although their results were reported as cached.

use std::time::Instant;

use super::decision::{Availability, Decision, Facts, LastBuild, Lookup, Reason, decide};
use super::event::Event;
use super::key;
use super::plan::{Node, NodeId};
use super::results::{Confidentiality, Origin, Results};
use super::scheduler::{Build, Fetch, Message, Shared, StageOutcome};
use crate::artifact::Artifact;
use crate::cache::{self, Record, space};
use crate::error::{Context, Error, Result, anyhow, bail, with_hint};
use crate::recipe::{Difference, Key, Recipe, first_difference};
use crate::stage::{PinOutcome, Placement, Stage, StageContext};
use crate::stage_context::Progress;
use crate::units::Bytes;

/// A smaller object is fetched without an event.
const WORTH_REPORTING: Bytes = Bytes::MIB;

/// Where a key is looked up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// In the cache, then in the remote cache.
    LocalAndRemote,
    /// In the cache alone: the remote cache has just been asked, or must not be.
    Local,
}

impl Scope {
    /// Where a result of this confidentiality may be.
    pub(super) fn of(confidentiality: Confidentiality) -> Scope {
        match confidentiality {
            Confidentiality::Public => Scope::LocalAndRemote,
            Confidentiality::Secret => Scope::Local,
        }
    }
}

/// Whether an object is in the cache now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FetchOutcome {
    /// It is.
    Fetched,
    /// It is not, and a warning said why.
    Unavailable,
}

/// Why a stage is executed.
#[derive(Clone, Copy)]
pub(super) enum Trigger<'a> {
    /// Its result is made, for this reason.
    Run(&'a Reason),
    /// Its result is known and only has to be in its place.
    Restore,
}

/// A stage whose recipe is complete.
pub(super) struct Prepared {
    pub context: StageContext,
    pub origin: Origin,
    pub confidentiality: Confidentiality,
}

/// What executing a stage came to.
enum ExecuteOutcome {
    /// It made this.
    Done(Artifact),
    /// It did not run: an input was made again, perhaps with other bytes.
    InputsChanged,
}

/// How a stage says where its result is: [`Stage::materialize`] or [`Stage::locate`].
pub(super) type Locate = fn(&dyn Stage, &StageContext, &Artifact) -> Result<Placement>;

impl Build<'_> {
    /// Does what has to be done for the node `at`, and reports it.
    pub(super) fn process(&self, at: usize, shared: &Shared) -> StageOutcome {
        let start = Instant::now();
        let stage = &self.plan.nodes()[at].name;
        self.restore_or_run(at, shared).unwrap_or_else(|error| {
            if self.cancel.is_set() {
                self.observer.notify(&Event::Skipped { stage, reason: "interrupted", path: None });
                return StageOutcome::Interrupted;
            }
            self.observer.notify(&Event::Failed { stage, error: &error, took: start.elapsed() });
            StageOutcome::Failed
        })
    }

    fn restore_or_run(&self, at: usize, shared: &Shared) -> Result<StageOutcome> {
        let node = &self.plan.nodes()[at];
        let (stage, pipeline) = (&node.name, &self.settings.pipeline);
        loop {
            let Some(prepared) = self.prepare(at, &shared.results)? else {
                self.fetch_inputs(node, shared, &self.context(node).progress)?;
                self.cancel.check()?;
                continue;
            };
            let key = prepared.origin.recipe.key();
            let mut decision =
                self.decide(at, shared, &prepared, Scope::of(prepared.confidentiality))?;
            let mut _lock = None;
            if matches!(decision, Decision::Run(_) | Decision::Restore(_)) {
                _lock = Some(self.cache.lock_key(&key, &self.cancel)?);
                // Another process may have made it while this one waited.
                decision = self.decide(at, shared, &prepared, Scope::Local)?;
            }
            let trigger = match &decision {
                Decision::Cached(artifact, path) => {
                    if path.is_some() {
                        let context = &prepared.context;
                        self.write_sidecars(at, shared, context, artifact, Trigger::Restore)?;
                    }
                    self.cache.note_latest(pipeline, stage, &key)?;
                    let path = path.clone();
                    self.observer.notify(&Event::Cached { stage, key: &key, artifact, path });
                    return Ok(StageOutcome::Cached(artifact.clone()));
                }
                Decision::Retained(artifact, path, reason) => {
                    let path = Some(path.clone());
                    self.observer.notify(&Event::Skipped { stage, reason, path });
                    return Ok(StageOutcome::Retained(artifact.clone()));
                }
                Decision::Restore(_) => Trigger::Restore,
                Decision::Run(reason) => Trigger::Run(reason),
                Decision::Fetch(_) | Decision::Unknown(_) => {
                    bail!("{stage}: {decision:?} is not a decision on a complete recipe")
                }
            };
            match (self.execute(at, shared, prepared, trigger)?, trigger) {
                (ExecuteOutcome::Done(artifact), Trigger::Run(_)) => {
                    return Ok(StageOutcome::Done(artifact));
                }
                (ExecuteOutcome::Done(artifact), Trigger::Restore) => {
                    return Ok(StageOutcome::Restored(artifact));
                }
                (ExecuteOutcome::InputsChanged, _) => self.cancel.check()?,
            }
        }
    }

    /// Completes the recipe of the node `at` with what is known of its inputs, and notes it there.
    /// `None` where the content of inputs is needed that are not in the cache.
    pub(super) fn prepare(&self, at: usize, results: &Results) -> Result<Option<Prepared>> {
        let node = &self.plan.nodes()[at];
        let inputs = results.inputs(node);
        let mut context = self.context(node);
        let log = self.cache.log(&self.settings.pipeline, &format!("{}.resolve", node.name));
        let log = std::mem::replace(&mut context.log, log);
        let PinOutcome::Pinned(pins) = node.stage.pin(&context, &inputs)? else { return Ok(None) };
        pins.iter().try_for_each(|pin| self.lock.record(&node.name, &pin.locked))?;
        context.log = log;
        let recipe = key::recipe(node, &context, &inputs, &pins)?;
        let origin = Origin { recipe, inputs, pins };
        let confidentiality = results.set_origin(at, node, &origin);
        Ok(Some(Prepared { context, origin, confidentiality }))
    }

    /// Looks the result of the node `at` up and decides what to do. An object is fetched here, so
    /// the decision is never that.
    fn decide(
        &self,
        at: usize,
        shared: &Shared,
        prepared: &Prepared,
        scope: Scope,
    ) -> Result<Decision> {
        let node = &self.plan.nodes()[at];
        let restored_input = shared.results.has_restored_input(node);
        let look_up = || {
            let materialize: Locate =
                |stage, context, artifact| stage.materialize(context, artifact);
            self.look_up(at, &prepared.context, &prepared.origin.recipe, scope, materialize)
        };
        let mut lookup = look_up()?;
        loop {
            let artifact = match decide(Facts { lookup, restored_input }) {
                Decision::Fetch(artifact) => artifact,
                decision => return Ok(decision),
            };
            lookup = match self.fetch(node, &artifact)? {
                FetchOutcome::Fetched => look_up()?,
                FetchOutcome::Unavailable => {
                    Lookup::NotInCache(artifact, Availability::Unavailable)
                }
            };
        }
    }

    /// What is known of the result of the node `at`, whose recipe is complete.
    pub(super) fn look_up(
        &self,
        at: usize,
        context: &StageContext,
        recipe: &Recipe,
        scope: Scope,
        locate: Locate,
    ) -> Result<Lookup> {
        let (node, pipeline) = (&self.plan.nodes()[at], &self.settings.pipeline);
        if self.is_forced(node) {
            return Ok(Lookup::Forced);
        }
        let key = recipe.key();
        let Some(record) = self.recorded(&key, scope)? else {
            let latest = self.cache.latest_recipe(pipeline, &node.name)?;
            let differences = latest.map(|latest| recipe.differences(&latest));
            return Ok(Lookup::Unrecorded(self.last_build(node, differences.as_deref())));
        };
        let built_here = record.origin == cache::Origin::Here
            || self.cache.latest(pipeline, &node.name) == Some(key);
        let artifact = record.output;
        if self.cache.holds(&artifact) {
            let placement = locate(node.stage, context, &artifact)?;
            return Ok(Lookup::InCache { artifact, placement, built_here });
        }
        let is_target = self.plan.dependents(NodeId(at)).next().is_none();
        let is_needed =
            is_target && self.options.fetch == Fetch::Targets || artifact.kind.has_a_place();
        let availability = match scope {
            _ if !is_needed => Availability::NotNeeded,
            Scope::LocalAndRemote => Availability::Remote,
            Scope::Local => Availability::Unavailable,
        };
        Ok(Lookup::NotInCache(artifact, availability))
    }

    /// Whether the node, or its stage, is named with `--rebuild`.
    pub(super) fn is_forced(&self, node: &Node<'_>) -> bool {
        self.options.rebuild.iter().any(|name| *name == node.name || *name == node.stage_name)
    }

    /// How the recipe of `node` compares with that of its last build, given the differences from
    /// that where it is recorded.
    pub(super) fn last_build(
        &self,
        node: &Node<'_>,
        differences: Option<&[Difference]>,
    ) -> LastBuild {
        match differences {
            Some(found) => first_difference(found).map_or(LastBuild::Same, LastBuild::Differs),
            None if self.cache.latest(&self.settings.pipeline, &node.name).is_none() => {
                LastBuild::Never
            }
            None => LastBuild::Unknown,
        }
    }

    /// The record under `key`.
    pub(super) fn recorded(&self, key: &Key, scope: Scope) -> Result<Option<Record>> {
        if let Some(record) = self.cache.known(key)? {
            return Ok(Some(record));
        }
        match &self.remote {
            Some(remote) if scope == Scope::LocalAndRemote => remote.record(key),
            _ => Ok(None),
        }
    }

    /// Runs the stage of the node `at`, once its inputs are in the cache.
    fn execute(
        &self,
        at: usize,
        shared: &Shared,
        Prepared { mut context, origin, confidentiality }: Prepared,
        trigger: Trigger<'_>,
    ) -> Result<ExecuteOutcome> {
        let node = &self.plan.nodes()[at];
        let (stage, key) = (node.name.as_str(), &origin.recipe.key());
        let start = Instant::now();
        let reason = match trigger {
            Trigger::Run(reason) => Some(reason.to_string()),
            Trigger::Restore => None,
        };
        // A log is of one run, and whoever reads it from here on reads this one.
        let _ = std::fs::remove_file(&context.log);
        if let Some(reason) = &reason {
            self.observer.notify(&Event::Started { stage, key, reason });
        }
        self.fetch_inputs(node, shared, &context.progress)?;
        if shared.results.inputs(node) != origin.inputs {
            return Ok(ExecuteOutcome::InputsChanged);
        }
        let need = Bytes(node.stage.need(&context, &origin.inputs));
        let explain = |error| space::explain(error, self.cache.directory(), need);
        space::require(self.cache.directory(), need)?;
        let scratch = self.cache.scratch()?;
        context.work = scratch.path().to_path_buf();
        let output = match node.stage.run(&context, &origin.inputs, &origin.pins) {
            Ok(output) => output,
            Err(error) => return Err(self.after_failure(stage, explain(error), scratch)),
        };
        let took = start.elapsed();
        if let Trigger::Run(_) = trigger {
            self.announce(key, confidentiality)?;
            self.announce_inventory(at, shared, &context)?;
        }
        let artifact = self.cache.commit(&origin.recipe, output, took).map_err(explain)?;
        drop(scratch);
        self.cache.note_latest(&self.settings.pipeline, stage, key)?;
        let path = match node.stage.materialize(&context, &artifact)? {
            Placement::Present(path) | Placement::Retained(path, _) => path,
            Placement::Missing(reason) | Placement::Replaced(reason) => {
                return Err(anyhow!("{reason}, although it was just made"));
            }
        };
        if let Trigger::Run(_) = trigger {
            self.offer(node, key, confidentiality)?;
        }
        self.write_sidecars(at, shared, &context, &artifact, trigger)?;
        self.observer.notify(&match &reason {
            Some(reason) => Event::Done { stage, key, artifact: &artifact, path, took, reason },
            None => Event::Cached { stage, key, artifact: &artifact, path: Some(path) },
        });
        Ok(ExecuteOutcome::Done(artifact))
    }

    fn after_failure(&self, stage: &str, error: Error, scratch: crate::files::Scratch) -> Error {
        if self.settings.keep_failed && !self.cancel.is_set() {
            let kept = scratch.keep();
            self.observer.notify(&Event::WorkKept { stage, directory: &kept });
            return with_hint(error, format!("its directory was kept: {}", kept.display()));
        }
        error
    }

    /// Sees to it that the inputs of `node` are in the cache. They may be other ones afterwards.
    fn fetch_inputs(&self, node: &Node<'_>, shared: &Shared, progress: &Progress) -> Result<()> {
        node.inputs
            .iter()
            .try_for_each(|(_, input)| self.fetch_or_rebuild(input.0, shared, progress))
    }

    fn fetch_or_rebuild(&self, at: usize, shared: &Shared, progress: &Progress) -> Result<()> {
        let name = &self.plan.nodes()[at].name;
        let artifact = shared.results.artifact(at);
        let artifact = artifact.with_context(|| format!("{name} has no result"))?;
        if self.fetch_object(&artifact, progress)? == FetchOutcome::Fetched {
            return Ok(());
        }
        let rebuilt = self.rebuild(at, shared);
        if let Err(error) = &rebuilt
            && !self.cancel.is_set()
        {
            self.observer.notify(&Event::Failed { stage: name, error, took: Default::default() });
        }
        // The scheduler outlives every thread, so the channel is open.
        let _ = shared.messages.send(Message::Rebuilt(at, rebuilt.as_ref().ok().cloned()));
        rebuilt.map(|_| ()).with_context(|| format!("making {name} again"))
    }

    fn rebuild(&self, at: usize, shared: &Shared) -> Result<Artifact> {
        let node = &self.plan.nodes()[at];
        loop {
            self.cancel.check()?;
            let Some(prepared) = self.prepare(at, &shared.results)? else {
                self.fetch_inputs(node, shared, &self.context(node).progress)?;
                continue;
            };
            let key = prepared.origin.recipe.key();
            let _lock = self.cache.lock_key(&key, &self.cancel)?;
            // Another dependent may have had it rebuilt meanwhile.
            let artifact = match self.cache.find(&key)? {
                Some(record) => record.output,
                None => {
                    let trigger = Trigger::Run(&Reason::NotFetched);
                    match self.execute(at, shared, prepared, trigger)? {
                        ExecuteOutcome::Done(artifact) => artifact,
                        ExecuteOutcome::InputsChanged => continue,
                    }
                }
            };
            shared.results.set(at, &artifact);
            return Ok(artifact);
        }
    }

    /// Fetches the result of `node`, and reports it.
    pub(super) fn fetch(&self, node: &Node<'_>, artifact: &Artifact) -> Result<FetchOutcome> {
        let size = Bytes(artifact.size);
        if self.remote.is_some() && size >= WORTH_REPORTING {
            self.observer.notify(&Event::Fetching { stage: &node.name, size });
        }
        self.fetch_object(artifact, &self.context(node).progress)
    }

    /// Fetches the object of `artifact` unless it is in the cache.
    pub(super) fn fetch_object(
        &self,
        artifact: &Artifact,
        progress: &Progress,
    ) -> Result<FetchOutcome> {
        if self.cache.holds(artifact) {
            return Ok(FetchOutcome::Fetched);
        }
        let Some(remote) = &self.remote else { return Ok(FetchOutcome::Unavailable) };
        // Others that want the same wait, and find it.
        let _lock = self.cache.lock_object(artifact, &self.cancel)?;
        let report = |done, total| progress(done, total, "B");
        match self.cache.holds(artifact) || remote.fetch(artifact, &report)? {
            true => Ok(FetchOutcome::Fetched),
            false => Ok(FetchOutcome::Unavailable),
        }
    }

    /// Notes that a result will be for the remote cache: once it is in the local one, it is cached for
    /// every later build, and none of them would upload it.
    pub(super) fn announce(&self, key: &Key, confidentiality: Confidentiality) -> Result<()> {
        match (&self.remote, confidentiality) {
            (Some(remote), Confidentiality::Public) if remote.is_writable() => remote.announce(key),
            _ => Ok(()),
        }
    }

    /// Queues a result for the remote cache, unless a secret went into it.
    pub(super) fn offer(
        &self,
        node: &Node<'_>,
        key: &Key,
        confidentiality: Confidentiality,
    ) -> Result<()> {
        match &self.remote {
            Some(remote) if remote.is_writable() => match confidentiality {
                Confidentiality::Public => remote.offer(key),
                Confidentiality::Secret => {
                    self.observer.notify(&Event::Withheld { stage: &node.name });
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }
}
