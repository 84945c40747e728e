//! The results of the stages of a build so far, shared by its threads: the scheduler writes them,
//! and a thread that has a stage rebuilt.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::plan::Node;
use crate::artifact::Artifact;
use crate::recipe::Recipe;
use crate::stage::{Inputs, Pin};

/// Whether a result may leave this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confidentiality {
    /// It may.
    #[default]
    Public,
    /// It must not: a secret went into it, or into an input.
    Secret,
}

/// What the result of a stage depends on.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its recipe.
    pub recipe: Recipe,
    /// The inputs.
    pub inputs: Inputs,
    /// The pins.
    pub pins: Vec<Pin>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    artifact: Option<Artifact>,
    confidentiality: Confidentiality,
    restored: bool,
    origin: Option<Origin>,
}

/// An entry for each node of a plan, in its order.
pub struct Results(Mutex<Vec<Entry>>);

impl Results {
    /// No results yet of `count` nodes.
    pub fn new(count: usize) -> Results {
        Results(Mutex::new(vec![Entry::default(); count]))
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The result of the node `at`, where there is one.
    pub fn artifact(&self, at: usize) -> Option<Artifact> {
        self.entries()[at].artifact.clone()
    }

    /// Notes a result; it may replace an earlier one.
    pub fn set(&self, at: usize, artifact: &Artifact) {
        self.entries()[at].artifact = Some(artifact.clone());
    }

    /// Notes that the result was put back into its place.
    pub fn set_restored(&self, at: usize) {
        self.entries()[at].restored = true;
    }

    /// Notes what the result of `node`, at `at`, depends on, and returns whether it may leave.
    pub fn set_origin(&self, at: usize, node: &Node<'_>, origin: &Origin) -> Confidentiality {
        let mut entries = self.entries();
        let is_secret = |at: usize| entries[at].confidentiality == Confidentiality::Secret;
        let secret =
            origin.recipe.is_secret() || node.inputs.iter().any(|(_, input)| is_secret(input.0));
        let entry = &mut entries[at];
        entry.origin = Some(origin.clone());
        entry.confidentiality =
            if secret { Confidentiality::Secret } else { Confidentiality::Public };
        entry.confidentiality
    }

    /// What the result of the node `at` depends on, once that is known.
    pub fn origin(&self, at: usize) -> Option<Origin> {
        self.entries()[at].origin.clone()
    }

    /// Whether the result of the node `at` may leave, once its origin is noted.
    pub fn confidentiality(&self, at: usize) -> Confidentiality {
        self.entries()[at].confidentiality
    }

    /// Whether an input of `node` was put back into its place.
    pub fn has_restored_input(&self, node: &Node<'_>) -> bool {
        let entries = self.entries();
        node.inputs.iter().any(|(_, input)| entries[input.0].restored)
    }

    /// The inputs of `node`, as far as there are results.
    pub fn inputs(&self, node: &Node<'_>) -> Inputs {
        let entries = self.entries();
        let artifact = |at: usize| entries[at].artifact.clone();
        node.inputs.iter().filter_map(|(key, input)| Some((*key, artifact(input.0)?))).collect()
    }
}
