//! One stage in a build: its recipe is finished and looked up, here and then in the remote cache;
//! on a miss it runs. What it eats is brought here only then, see [`super::bring`].

use std::time::Instant;

use super::accompany::Occasion;
use super::bring::Brought;
use super::event::Event;
use super::key;
use super::plan::{Node, NodeId};
use super::results::Reach;
use super::worker::{Build, Ended, Fetch, Walk};
use crate::cache::{Cache, Origin, Record, space};
use crate::error::{Context, Error, Interrupted, Result, caused_by};
use crate::recipe::{Key, Recipe, first_difference};
use crate::stage::{Inputs, Pin, PinOutcome, Placement, StageContext};
use crate::units::Bytes;

/// Why a stage runs.
#[derive(Clone, Copy)]
pub(super) enum Why<'a> {
    /// For this reason.
    News(&'a str),
    /// Its result is known and only takes its place again.
    PutBack,
}

/// Where a key is looked up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    /// In the cache, then in the remote one.
    Everywhere,
    /// In the cache alone: the remote one has been asked just now, or must not be.
    Here,
}

impl Where {
    /// Wherever a result of this reach may lie.
    pub(super) fn of(reach: Reach) -> Where {
        if reach == Reach::Open { Where::Everywhere } else { Where::Here }
    }
}

/// What looking a key up came to.
enum Sought {
    /// Its stage is done with.
    Found(Ended),
    /// Nothing is known under it.
    Missing,
    /// Its result is known, but it cannot be fetched.
    OutOfReach,
    /// Its result is known, but it is not where it was put, and the reason.
    Gone(String),
    /// The same, but somebody else's result is in its place, or it never was here: it is put back
    /// without that being news.
    Displaced,
}

/// What a run came to.
pub(super) enum Ran {
    /// The stage ended.
    Ended(Ended),
    /// Something it eats came only now, perhaps as other bytes.
    InputsChanged,
}

impl Build<'_> {
    /// Does what has to be done for the node `at`.
    pub(super) fn carry_out(&self, at: usize, walk: &Walk) -> Ended {
        let start = Instant::now();
        let node = &self.plan.nodes()[at];
        match self.look_up_or_run(at, walk) {
            Ok(ended) => ended,
            Err(error) => {
                let (stage, took) = (&node.name, start.elapsed());
                self.observer.notify(&match caused_by::<Interrupted>(&error) {
                    Some(_) => Event::Skipped { stage, reason: "interrupted", path: None },
                    None => Event::Failed { stage, error: &error, took },
                });
                Ended::Failed(error)
            }
        }
    }

    fn look_up_or_run(&self, at: usize, walk: &Walk) -> Result<Ended> {
        loop {
            match self.attempt(at, walk)? {
                Ran::Ended(ended) => return Ok(ended),
                Ran::InputsChanged => self.cancel.check()?,
            }
        }
    }

    /// The recipe of a node with these inputs, and what it is pinned to; `None` where inputs are
    /// needed here to tell.
    pub(super) fn finish_recipe(
        &self,
        node: &Node<'_>,
        inputs: &Inputs,
    ) -> Result<Option<(StageContext, Vec<Pin>, Recipe)>> {
        let mut context = self.context(node);
        context.log = self.cache.log(&self.settings.pipeline, &format!("{}.resolve", node.name));
        let PinOutcome::Pinned(pins) = node.stage.pin(&context, inputs)? else {
            return Ok(None);
        };
        pins.iter().try_for_each(|pin| self.lock.record(&node.name, &pin.locked))?;
        context.log = self.cache.log(&self.settings.pipeline, &node.name);
        let recipe = key::recipe(node, &context, inputs, &pins)?;
        Ok(Some((context, pins, recipe)))
    }

    fn attempt(&self, at: usize, walk: &Walk) -> Result<Ran> {
        let node = &self.plan.nodes()[at];
        let inputs = walk.results.inputs(node);
        let Some((context, pins, recipe)) = self.finish_recipe(node, &inputs)? else {
            // Known, but on the remote cache alone.
            for (_, input) in &node.inputs {
                self.bring(input.0, walk, &self.context(node).progress)?;
            }
            return Ok(Ran::InputsChanged);
        };
        walk.results.set_origin(at, &recipe, &inputs, &pins);
        let key = recipe.key();
        let reach = walk.results.reach(at, node, Reach::of(&recipe));
        let forced =
            self.options.rebuild.iter().any(|name| *name == node.name || *name == node.stage_name);
        let mut sought = Sought::Missing;
        if !forced {
            sought = self.look_up(at, walk, &context, &key, Where::of(reach))?;
        }
        if let Sought::Found(ended) = sought {
            return Ok(Ran::Ended(ended));
        }
        let _lock = self.cache.lock_key(&key, &self.cancel)?;
        if !forced {
            // Another process may have made it while this one waited.
            match self.look_up(at, walk, &context, &key, Where::Here)? {
                Sought::Found(ended) => return Ok(Ran::Ended(ended)),
                // What is known by now says more than what was known then.
                Sought::Missing => {}
                again => sought = again,
            }
        }
        let moved = walk.results.moved(node);
        let reason = match sought {
            Sought::Displaced => None,
            Sought::Gone(_) if moved => None,
            Sought::Gone(reason) => Some(reason),
            Sought::OutOfReach => Some("its result could not be fetched".to_string()),
            _ if forced => Some("asked for with --rebuild".to_string()),
            _ => Some(why(&self.cache, &self.settings.pipeline, node, &recipe)?),
        };
        let why = reason.as_deref().map_or(Why::PutBack, Why::News);
        self.run_stage(at, walk, context, (&inputs, &pins), &recipe, (why, reach))
    }

    /// What is recorded under `key` here, else in the remote cache.
    pub(super) fn recorded(&self, key: &Key, place: Where) -> Result<Option<Record>> {
        if let Some(record) = self.cache.known(key)? {
            return Ok(Some(record));
        }
        match &self.shelf {
            Some(shelf) if place == Where::Everywhere => shelf.record(key),
            _ => Ok(None),
        }
    }

    fn look_up(
        &self,
        at: usize,
        walk: &Walk,
        context: &StageContext,
        key: &Key,
        place: Where,
    ) -> Result<Sought> {
        let node = &self.plan.nodes()[at];
        let Some(record) = self.recorded(key, place)? else { return Ok(Sought::Missing) };
        let elsewhere = was_never_here(&self.cache, &self.settings.pipeline, node, key, &record);
        let artifact = record.output;
        let (stage, pipeline) = (&node.name, &self.settings.pipeline);
        if !self.cache.holds(&artifact) {
            // What something eats may stay away until that has to run; what was asked for may not.
            let is_last = self.plan.dependents(NodeId(at)).next().is_none();
            let asked_for = is_last && self.options.fetch == Fetch::Asked;
            if !asked_for && !artifact.kind.has_a_place() {
                self.cache.note_latest(pipeline, stage, key)?;
                let told = Event::Cached { stage, key, artifact: &artifact, path: None };
                self.observer.notify(&told);
                return Ok(Sought::Found(Ended::Cached(artifact)));
            }
            if place == Where::Here || self.fetch(node, &artifact)? == Brought::Not {
                return Ok(Sought::OutOfReach);
            }
        }
        match node.stage.materialize(context, &artifact)? {
            Placement::Present(path) => {
                self.accompany(at, walk, context, &artifact, Occasion::Known)?;
                self.cache.note_latest(pipeline, stage, key)?;
                let told = Event::Cached { stage, key, artifact: &artifact, path: Some(path) };
                self.observer.notify(&told);
                Ok(Sought::Found(Ended::Cached(artifact)))
            }
            Placement::Retained(path, reason) => {
                let path = Some(path);
                self.observer.notify(&Event::Skipped { stage, reason: &reason, path });
                Ok(Sought::Found(Ended::Kept(artifact)))
            }
            Placement::Replaced(_) => Ok(Sought::Displaced),
            Placement::Missing(_) if elsewhere => Ok(Sought::Displaced),
            Placement::Missing(reason) => Ok(Sought::Gone(reason)),
        }
    }

    /// Runs the stage of the node `at`, once everything that it eats is here.
    pub(super) fn run_stage(
        &self,
        at: usize,
        walk: &Walk,
        mut context: StageContext,
        (inputs, pins): (&Inputs, &[Pin]),
        recipe: &Recipe,
        (why, reach): (Why<'_>, Reach),
    ) -> Result<Ran> {
        let node = &self.plan.nodes()[at];
        let (stage, key) = (node.name.as_str(), recipe.key());
        let start = Instant::now();
        if let Why::News(reason) = why {
            self.observer.notify(&Event::Started { stage, key: &key, reason });
        }
        for (_, input) in &node.inputs {
            self.bring(input.0, walk, &context.progress)?;
        }
        if walk.results.inputs(node) != *inputs {
            return Ok(Ran::InputsChanged);
        }
        let need = Bytes(node.stage.need(&context, inputs));
        space::require(self.cache.directory(), need)?;
        // A log is of one run.
        let _ = std::fs::remove_file(&context.log);
        let scratch = self.cache.scratch()?;
        context.work = scratch.path().to_path_buf();
        let made = match node.stage.run(&context, inputs, pins) {
            Ok(made) => made,
            Err(error) => {
                let error = space::explain(error, self.cache.directory(), need);
                return Err(self.after_failure(error, scratch));
            }
        };
        let took = start.elapsed();
        let artifact = self
            .cache
            .commit(recipe, made, took)
            .map_err(|error| space::explain(error, self.cache.directory(), need))?;
        drop(scratch);
        self.cache.note_latest(&self.settings.pipeline, stage, &key)?;
        let path = match node.stage.materialize(&context, &artifact)? {
            Placement::Present(path) | Placement::Retained(path, _) => path,
            Placement::Missing(reason) | Placement::Replaced(reason) => {
                return Err(crate::error::anyhow!("{reason}, although it was just made"));
            }
        };
        let key = &key;
        let occasion = match why {
            Why::News(_) => {
                self.offer(node, key, reach)?;
                Occasion::Output
            }
            Why::PutBack => Occasion::Known,
        };
        self.accompany(at, walk, &context, &artifact, occasion)?;
        Ok(Ran::Ended(match why {
            Why::News(reason) => {
                let told = Event::Done { stage, key, artifact: &artifact, path, took, reason };
                self.observer.notify(&told);
                Ended::Done(artifact)
            }
            Why::PutBack => {
                let path = Some(path);
                self.observer.notify(&Event::Cached { stage, key, artifact: &artifact, path });
                Ended::PutBack(artifact)
            }
        }))
    }

    fn after_failure(&self, error: Error, scratch: crate::files::Scratch) -> Error {
        if self.settings.keep_failed && caused_by::<Interrupted>(&error).is_none() {
            let kept = scratch.keep();
            return crate::error::with_hint(
                error,
                format!("its directory was kept: {}", kept.display()),
            );
        }
        error
    }
}

/// Whether a result that has a place outside the cache never was in it: another machine made it,
/// and this one has not built it so far.
pub(super) fn was_never_here(
    cache: &Cache,
    pipeline: &str,
    node: &Node<'_>,
    key: &Key,
    record: &Record,
) -> bool {
    record.origin == Origin::Remote && cache.latest(pipeline, &node.name) != Some(*key)
}

/// Why a node with this recipe and no result has to run: the first line in which the recipe
/// differs from that of the last time.
pub(super) fn why(
    cache: &Cache,
    pipeline: &str,
    node: &Node<'_>,
    recipe: &Recipe,
) -> Result<String> {
    let Some(latest) = cache.latest(pipeline, &node.name) else {
        return Ok("not built before".to_string());
    };
    if latest == recipe.key() {
        return Ok("its result is no longer in the cache".to_string());
    }
    let Some(earlier) = cache.latest_recipe(pipeline, &node.name)? else {
        return Ok("the record of the last build is no longer in the cache".to_string());
    };
    let reason = first_difference(&recipe.differences(&earlier));
    reason.context("two recipes of different keys do not differ")
}
