//! Checks before anything runs whether a lock answers all questions of a pipeline. The facts that
//! later questions depend on are predicted from the lock's own packages.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::inspect::offline_build;
use super::plan::{Node, Plan};
use super::scheduler::Options;
use crate::artifact::Facts;
use crate::cache::Cache;
use crate::error::Error;
use crate::lock::LockFile;
use crate::stage::{Inputs, PinOutcome, Settings};

/// The questions of `plan` that `lock` does not answer, an error for each stage. A stage that
/// depends on the result of another such stage, or on what only a run shows, is left out.
pub fn unlocked(
    plan: &Plan<'_>,
    cache: &Arc<Cache>,
    settings: &Settings,
    lock: &LockFile,
) -> Vec<Error> {
    // Nothing is noted either.
    let settings = Settings { locked: true, ..settings.clone() };
    let build = offline_build(plan, cache, settings, lock, Options::default());
    let mut found = Vec::new();
    let mut predicted = Predicted::default();
    for (at, node) in plan.nodes().iter().enumerate() {
        let (inputs, known) = predicted.inputs(node);
        match node.stage.pin(&build.context(node), &inputs) {
            Ok(PinOutcome::Pinned(pins)) => predicted.set(at, node.stage.predict(&inputs, &pins)),
            Ok(PinOutcome::NeedsInputs) => {}
            Err(error) if known == Known::All => found.push(error),
            Err(_) => {}
        }
    }
    found
}

/// The facts of results by their nodes, as far as they can be predicted.
#[derive(Debug, Default)]
pub(super) struct Predicted(BTreeMap<usize, Facts>);

/// How many of a node's inputs are predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// All of them.
    All,
    /// Not all.
    Some,
}

impl Predicted {
    /// The inputs of `node`, as far as they are predicted.
    pub fn inputs(&self, node: &Node<'_>) -> (Inputs, Known) {
        let mut inputs = Inputs::default();
        for (key, input) in &node.inputs {
            if let Some(facts) = self.0.get(&input.0) {
                inputs.predicted.insert(key, facts.clone());
            }
        }
        let known =
            if inputs.predicted.len() == node.inputs.len() { Known::All } else { Known::Some };
        (inputs, known)
    }

    /// Records the facts of the result of the node `at`, if they are known.
    pub fn set(&mut self, at: usize, facts: Option<Facts>) {
        self.0.extend(facts.map(|facts| (at, facts)));
    }
}
