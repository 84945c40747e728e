//! Brings what the stages of a plan made to the remote cache, or from there, with none of them
//! run: to fill a new remote from a cache that is there already, or a cache before a journey.

use super::attempt::Where;
use super::bring::Brought;
use super::plan::Node;
use super::results::{Reach, Results};
use super::worker::Build;
use crate::artifact::{Artifact, ArtifactKind};
use crate::error::Result;
use crate::provenance::inventory;
use crate::recipe::Key;
use crate::remote::RemoteCache;
use crate::units::Bytes;

/// What became of the result of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// It is where it was wanted already.
    There,
    /// It is on its way to the remote cache.
    Sent,
    /// It came from the remote cache.
    Fetched(Bytes),
    /// A secret went into it.
    Withheld,
    /// There is none to be had, for this reason.
    Missing(String),
}

impl Build<'_> {
    /// Brings what is here to the remote cache, and waits until it is there. For each node, in the
    /// order of the plan, what became of its result.
    pub fn push(&self) -> Result<Vec<Moved>> {
        let moved = self.transfer(|_, key, reach| {
            let Some(record) = self.cache.known(key)? else {
                return Ok((None, Moved::Missing("not built here".to_string())));
            };
            let moved = match (reach, &self.shelf) {
                (Reach::Secret, _) => Moved::Withheld,
                _ if !self.cache.holds(&record.output) => Moved::There,
                (Reach::Open, Some(shelf)) => {
                    shelf.offer(key)?;
                    self.offer_inventory(shelf, &record.output)?;
                    Moved::Sent
                }
                (Reach::Open, None) => Moved::Missing("there is no remote cache".to_string()),
            };
            Ok((Some(record.output), moved))
        })?;
        self.drain()?;
        Ok(moved)
    }

    /// What is installed in a tree goes with it, so that who has an export can tell without the
    /// tree.
    fn offer_inventory(&self, shelf: &RemoteCache, made: &Artifact) -> Result<()> {
        let key = inventory::recipe(made.digest).key();
        match made.kind == ArtifactKind::Tree && self.cache.find(&key)?.is_some() {
            true => shelf.offer(&key),
            false => Ok(()),
        }
    }

    /// Fetches what the remote cache has of what is not here. For each node, in the order of the
    /// plan, what became of its result.
    pub fn pull(&self) -> Result<Vec<Moved>> {
        self.transfer(|node, key, reach| {
            let Some(record) = self.recorded(key, Where::of(reach))? else {
                let why = match reach {
                    Reach::Open => "not in the remote cache",
                    Reach::Secret => "a secret went into it, so it is made where it is needed",
                };
                return Ok((None, Moved::Missing(why.to_string())));
            };
            let output = record.output;
            let moved = if self.cache.holds(&output) {
                Moved::There
            } else if self.fetch(node, &output)? == Brought::Here {
                Moved::Fetched(Bytes(output.size))
            } else {
                // A warning has said why. What is made of it may still be had.
                Moved::Missing("it could not be fetched".to_string())
            };
            Ok((Some(output), moved))
        })
    }

    fn transfer(
        &self,
        one: impl Fn(&Node<'_>, &Key, Reach) -> Result<(Option<Artifact>, Moved)>,
    ) -> Result<Vec<Moved>> {
        let nodes = self.plan.nodes();
        let results = Results::new(nodes.len());
        let mut all = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            self.cancel.check()?;
            if let Some((_, input)) =
                node.inputs.iter().find(|(_, input)| results.artifact(input.0).is_none())
            {
                let why = format!("depends on what {} makes", nodes[input.0].name);
                all.push(Moved::Missing(why));
                continue;
            }
            let (artifact, moved) = match self.finish_recipe(node, &results.inputs(node)) {
                Ok(Some((_, _, recipe))) => {
                    let reach = results.reach(at, node, Reach::of(&recipe));
                    one(node, &recipe.key(), reach)?
                }
                Ok(None) => {
                    (None, Moved::Missing("what it is made of is not in the cache".to_string()))
                }
                // Mostly that what lies outside is not locked, and nobody is asked here.
                Err(error) => (None, Moved::Missing(error.to_string())),
            };
            artifact.iter().for_each(|artifact| results.set(at, artifact));
            all.push(moved);
        }
        Ok(all)
    }
}
