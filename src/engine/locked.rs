//! Whether a lock answers all that a pipeline asks, found out before anything runs: the facts that
//! later questions depend on are foretold from the lock's own packages.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::inspect::looking;
use super::plan::{Node, Plan};
use crate::artifact::{Artifact, ArtifactKind, Hashing, PREDICTED};
use crate::cache::Cache;
use crate::error::Error;
use crate::lock::LockFile;
use crate::stage::{Inputs, Settings};

/// What `lock` does not answer of the questions of `plan`, an error for each stage. One that
/// depends on the result of another such stage, or on what only a run shows, is left out.
pub fn unlocked(
    plan: &Plan<'_>,
    cache: &Arc<Cache>,
    settings: &Settings,
    lock: &LockFile,
) -> Vec<Error> {
    // Nothing is noted either.
    let settings = Settings { locked: true, ..settings.clone() };
    let build = looking(plan, cache, settings, lock);
    let mut found = Vec::new();
    let mut foretold = Foretold::default();
    for (at, node) in plan.nodes().iter().enumerate() {
        let (inputs, known) = foretold.inputs(node);
        match node.stage.pin(&build.context(node), &inputs) {
            Ok(pins) => foretold.set(at, node.stage.predict(&inputs, &pins)),
            Err(error) if known == Known::All => found.push(error),
            Err(_) => {}
        }
    }
    found
}

/// Results by their nodes, as far as they can be foretold.
#[derive(Debug, Default)]
pub(super) struct Foretold(BTreeMap<usize, Artifact>);

/// How many of a node's inputs are foretold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// All of them.
    All,
    /// Not all.
    Some,
}

impl Foretold {
    /// What `node` eats, as far as it is known. Such an input has facts and no bytes.
    pub fn inputs(&self, node: &Node<'_>) -> (Inputs, Known) {
        let mut inputs = Inputs::default();
        for (key, input) in &node.inputs {
            if let Some(artifact) = self.0.get(&input.0) {
                inputs.0.insert(key, artifact.clone());
            }
        }
        let known = if inputs.0.len() == node.inputs.len() { Known::All } else { Known::Some };
        (inputs, known)
    }

    /// Notes the facts of the result of the node `at`, if they are known.
    pub fn set(&mut self, at: usize, facts: Option<BTreeMap<String, String>>) {
        let Some(facts) = facts else { return };
        // Nothing has this digest, so nobody takes it for a result that is here.
        let (product, hashing, digest) = (ArtifactKind::Tree, Hashing::Plain, PREDICTED);
        self.0.insert(at, Artifact { product, hashing, digest, size: 0, facts });
    }
}
