//! What came out of the stages of a build so far, shared by its threads: the walk reads inputs
//! from it, and a thread that makes something again writes there.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::plan::Node;
use crate::artifact::Artifact;
use crate::recipe::Recipe;
use crate::stage::{Inputs, Pin};

/// Whether a result may leave this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// It may.
    #[default]
    Open,
    /// A secret went into it, or into something it is made of.
    Secret,
}

impl Reach {
    /// That of what this recipe describes, for itself.
    pub fn of(recipe: &Recipe) -> Reach {
        if recipe.is_secret() { Reach::Secret } else { Reach::Open }
    }
}

#[derive(Clone, Debug, Default)]
struct Entry {
    artifact: Option<Artifact>,
    reach: Reach,
    /// Its inputs were put back just now, or it was.
    moved: bool,
    origin: Option<Origin>,
}

/// What the result of a stage depends on.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its recipe.
    pub recipe: Recipe,
    /// What it ate.
    pub inputs: Inputs,
    /// What it is pinned to.
    pub pins: Vec<Pin>,
}

/// See the file.
pub struct Results(Mutex<Vec<Entry>>);

impl Results {
    /// Nothing of `count` stages so far.
    pub fn new(count: usize) -> Results {
        Results(Mutex::new(vec![Entry::default(); count]))
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The result of a stage, where there is one.
    pub fn artifact(&self, at: usize) -> Option<Artifact> {
        self.entries()[at].artifact.clone()
    }

    /// Notes a result, also one in the place of another.
    pub fn set(&self, at: usize, artifact: &Artifact) {
        self.entries()[at].artifact = Some(artifact.clone());
    }

    /// Notes that a result was put back into its place.
    pub fn set_moved(&self, at: usize) {
        self.entries()[at].moved = true;
    }

    /// Notes what the result of a stage depends on.
    pub fn set_origin(&self, at: usize, recipe: &Recipe, inputs: &Inputs, pins: &[Pin]) {
        let (recipe, inputs, pins) = (recipe.clone(), inputs.clone(), pins.to_vec());
        self.entries()[at].origin = Some(Origin { recipe, inputs, pins });
    }

    /// What the result of a stage depends on, once that is known.
    pub fn origin(&self, at: usize) -> Option<Origin> {
        self.entries()[at].origin.clone()
    }

    /// Whether the result of a stage may leave, as [`Results::reach`] found.
    pub fn reach_of(&self, at: usize) -> Reach {
        self.entries()[at].reach
    }

    /// Whether something that a node eats was put back just now.
    pub fn moved(&self, node: &Node<'_>) -> bool {
        let entries = self.entries();
        node.inputs.iter().any(|(_, input)| entries[input.0].moved)
    }

    /// What a node eats.
    pub fn inputs(&self, node: &Node<'_>) -> Inputs {
        let entries = self.entries();
        let found = node.inputs.iter().filter_map(|(key, input)| {
            entries[input.0].artifact.as_ref().map(|artifact| (*key, artifact.clone()))
        });
        found.collect()
    }

    /// Notes whether the result of `node`, at `at`, may leave, given that of its own recipe.
    pub fn reach(&self, at: usize, node: &Node<'_>, own: Reach) -> Reach {
        let mut entries = self.entries();
        let eats_secrets =
            node.inputs.iter().any(|(_, input)| entries[input.0].reach == Reach::Secret);
        entries[at].reach = if eats_secrets { Reach::Secret } else { own };
        entries[at].reach
    }
}
