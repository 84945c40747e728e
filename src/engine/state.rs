//! The state of one stage in a build.
//!
//! ```text
//! Waiting -> Running -> Done | Cached | Kept | Failed
//!    \--> Skipped (something it needs failed)
//! Cached -> Done | Failed (its object lay on a remote cache and could not be fetched)
//! ```

use crate::artifact::Artifact;

/// Where a stage stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum State {
    /// Its inputs are not all there.
    #[default]
    Waiting,
    /// A thread looks it up or runs it.
    Running,
    /// It ran.
    Done(Artifact),
    /// Its result was there.
    Cached(Artifact),
    /// Its earlier result stands, on purpose.
    Kept(Artifact),
    /// It failed.
    Failed,
    /// Something it needs failed.
    Skipped,
}

impl State {
    /// The result, where there is one.
    pub fn artifact(&self) -> Option<&Artifact> {
        match self {
            State::Done(artifact) | State::Cached(artifact) | State::Kept(artifact) => {
                Some(artifact)
            }
            _ => None,
        }
    }

    /// Whether nothing more will happen to it.
    pub fn is_final(&self) -> bool {
        !matches!(self, State::Waiting | State::Running)
    }
}

/// The states of all stages of a build, changed in one place.
#[derive(Clone, Debug)]
pub struct States(Vec<State>);

impl States {
    /// All of `count` stages wait.
    pub fn new(count: usize) -> States {
        States(vec![State::Waiting; count])
    }

    /// The state of a stage.
    pub fn get(&self, at: usize) -> &State {
        &self.0[at]
    }

    /// Moves a stage on. A final state stays what it is.
    pub fn set(&mut self, at: usize, state: State) {
        debug_assert!(!self.0[at].is_final(), "stage {at} is {:?} already", self.0[at]);
        self.0[at] = state;
    }

    /// Moves a stage whose result was known, but could not be had, to what became of it.
    pub fn again(&mut self, at: usize, state: State) {
        self.0[at] = state;
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &State> {
        self.0.iter()
    }
}
