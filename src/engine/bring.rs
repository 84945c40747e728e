//! Sees to it that what a stage needs is here: fetched from the remote cache, or, where that cannot
//! be, made again by the stage that made it, although its result was told as known.

use super::attempt::{Ran, Why};
use super::event::Event;
use super::plan::Node;
use super::results::Reach;
use super::worker::{Build, Ended, Message, Walk};
use crate::artifact::Artifact;
use crate::error::{Context, Interrupted, Result, caused_by};
use crate::recipe::Key;
use crate::stage_context::Progress;
use crate::units::Bytes;

/// What is smaller than this is fetched without a word.
const WORTH: u64 = 1 << 20;

/// Whether something is here now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// It is.
    Here,
    /// It is not, and why has been told.
    Not,
}

impl Build<'_> {
    /// Fetches what was asked for, and says so.
    pub(super) fn fetch(&self, node: &Node<'_>, artifact: &Artifact) -> Result<Brought> {
        if self.shelf.is_some() && artifact.size >= WORTH {
            let (stage, size) = (&node.name, Bytes(artifact.size));
            self.observer.notify(&Event::Fetching { stage, size });
        }
        self.fetch_object(artifact, &self.context(node).progress)
    }

    pub(super) fn fetch_object(&self, artifact: &Artifact, progress: &Progress) -> Result<Brought> {
        let Some(shelf) = &self.shelf else { return Ok(Brought::Not) };
        // Others that want the same wait, and find it.
        let _lock = self.cache.lock_object(artifact, &self.cancel)?;
        let told = |done, total| progress(done, total, "B");
        match self.cache.holds(artifact) || shelf.fetch(artifact, &told)? {
            true => Ok(Brought::Here),
            false => Ok(Brought::Not),
        }
    }

    /// Brings the result of the node `at` here. It may be another one afterwards.
    pub(super) fn bring(&self, at: usize, walk: &Walk, progress: &Progress) -> Result<()> {
        let name = &self.plan.nodes()[at].name;
        let artifact = walk.results.artifact(at);
        let artifact = artifact.with_context(|| format!("{name} has no result"))?;
        if self.cache.holds(&artifact) || self.fetch_object(&artifact, progress)? == Brought::Here {
            return Ok(());
        }
        let made = self.make_again(at, walk);
        if let Err(error) = &made
            && caused_by::<Interrupted>(error).is_none()
        {
            self.observer.notify(&Event::Failed { stage: name, error, took: Default::default() });
        }
        // The walk outlives every thread, so the channel is open.
        let _ = walk.messages.send(Message::Again(at, made.as_ref().ok().cloned()));
        made.map(|_| ()).with_context(|| format!("making {name} again"))
    }

    fn make_again(&self, at: usize, walk: &Walk) -> Result<Artifact> {
        let node = &self.plan.nodes()[at];
        loop {
            self.cancel.check()?;
            let inputs = walk.results.inputs(node);
            let Some((context, pins, recipe)) = self.finish_recipe(node, &inputs)? else {
                for (_, input) in &node.inputs {
                    self.bring(input.0, walk, &self.context(node).progress)?;
                }
                continue;
            };
            walk.results.set_origin(at, &recipe, &inputs, &pins);
            let reach = walk.results.reach(at, node, Reach::of(&recipe));
            let _lock = self.cache.lock_key(&recipe.key(), &self.cancel)?;
            // Another stage that eats it may have had it made meanwhile.
            if let Some(record) = self.cache.find(&recipe.key())? {
                walk.results.set(at, &record.output);
                return Ok(record.output);
            }
            let why = Why::News("its result could not be fetched");
            match self.run_stage(at, walk, context, (&inputs, &pins), &recipe, (why, reach))? {
                Ran::Ended(Ended::Done(artifact)) => {
                    walk.results.set(at, &artifact);
                    return Ok(artifact);
                }
                Ran::Ended(_) | Ran::InputsChanged => {}
            }
        }
    }

    /// Has a result brought to the remote cache, unless a secret went into it.
    pub(super) fn offer(&self, node: &Node<'_>, key: &Key, reach: Reach) -> Result<()> {
        match &self.shelf {
            Some(shelf) if shelf.takes() && reach == Reach::Open => shelf.offer(key),
            Some(shelf) if shelf.takes() => {
                let stage = &node.name;
                self.observer.notify(&Event::Withheld { stage });
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
