//! Copies the results of the stages of a plan to the remote cache or from it, with none of them
//! run: to fill a new remote cache from a local one, or a local one before going offline.

use super::execute::{FetchOutcome, Scope};
use super::plan::Node;
use super::results::{Confidentiality, Results};
use super::scheduler::Build;
use crate::artifact::{Artifact, ArtifactKind};
use crate::error::Result;
use crate::provenance::inventory;
use crate::recipe::Key;
use crate::remote::RemoteCache;
use crate::units::Bytes;

/// What became of the result of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferOutcome {
    /// It is already where it was to be copied.
    Present,
    /// It is queued for the remote cache.
    Sent,
    /// It was fetched from the remote cache: the size of its object, holes included.
    Fetched(Bytes),
    /// It stays: a secret went into it.
    Withheld,
    /// It is not available, for this reason.
    Missing(String),
}

impl Build<'_> {
    /// Copies results to the remote cache, and waits until they are there. One outcome for each
    /// node, in the order of the plan.
    pub fn push(&self) -> Result<Vec<TransferOutcome>> {
        let outcomes = self.transfer(|_, key, confidentiality| {
            let Some(record) = self.cache.known(key)? else {
                return Ok((None, TransferOutcome::Missing("not built here".to_string())));
            };
            let outcome = match (confidentiality, &self.remote) {
                (Confidentiality::Secret, _) => TransferOutcome::Withheld,
                _ if !self.cache.holds(&record.output) => TransferOutcome::Present,
                (Confidentiality::Public, Some(remote)) => {
                    remote.offer(key)?;
                    self.offer_inventory(remote, &record.output)?;
                    TransferOutcome::Sent
                }
                (Confidentiality::Public, None) => {
                    TransferOutcome::Missing("there is no remote cache".to_string())
                }
            };
            Ok((Some(record.output), outcome))
        })?;
        self.drain()?;
        Ok(outcomes)
    }

    /// The inventory of a tree goes with it, so that the SBOM of an export needs no tree.
    fn offer_inventory(&self, remote: &RemoteCache, output: &Artifact) -> Result<()> {
        let key = inventory::recipe(output.digest).key();
        match output.kind == ArtifactKind::Tree && self.cache.find(&key)?.is_some() {
            true => remote.offer(&key),
            false => Ok(()),
        }
    }

    /// Fetches what the remote cache has and the local one has not. One outcome for each node, in
    /// the order of the plan.
    pub fn pull(&self) -> Result<Vec<TransferOutcome>> {
        self.transfer(|node, key, confidentiality| {
            let Some(record) = self.recorded(key, Scope::of(confidentiality))? else {
                let reason = match confidentiality {
                    Confidentiality::Public => "not in the remote cache",
                    Confidentiality::Secret => {
                        "a secret went into it, so it is made where it is needed"
                    }
                };
                return Ok((None, TransferOutcome::Missing(reason.to_string())));
            };
            let output = record.output;
            let outcome = if self.cache.holds(&output) {
                TransferOutcome::Present
            } else {
                match self.fetch(node, &output)? {
                    FetchOutcome::Fetched => TransferOutcome::Fetched(Bytes(output.size)),
                    // A warning has said why. Its dependents may still be available.
                    FetchOutcome::Unavailable => {
                        TransferOutcome::Missing("it could not be fetched".to_string())
                    }
                }
            };
            Ok((Some(output), outcome))
        })
    }

    fn transfer(
        &self,
        one: impl Fn(&Node<'_>, &Key, Confidentiality) -> Result<(Option<Artifact>, TransferOutcome)>,
    ) -> Result<Vec<TransferOutcome>> {
        let nodes = self.plan.nodes();
        let results = Results::new(nodes.len());
        let mut outcomes = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            self.cancel.check()?;
            let missing = |reason| Ok((None, TransferOutcome::Missing(reason)));
            let pending = node.inputs.iter().find(|(_, input)| results.artifact(input.0).is_none());
            let (artifact, outcome) = match pending {
                Some((_, input)) => {
                    missing(format!("depends on the result of {}", nodes[input.0].name))
                }
                None => match self.prepare(at, &results) {
                    Ok(Some(it)) => one(node, &it.origin.recipe.key(), it.confidentiality),
                    Ok(None) => missing("its inputs are not in the cache".to_string()),
                    // Mostly that the lock has no answer, and nobody else is asked here.
                    Err(error) => missing(error.to_string()),
                },
            }?;
            artifact.iter().for_each(|artifact| results.set(at, artifact));
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }
}
