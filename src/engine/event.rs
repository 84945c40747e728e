//! What the engine tells while it works. Observers draw bars, print lines or write JSON; the
//! engine does not care.

use std::path::PathBuf;
use std::time::Duration;

use crate::artifact::Artifact;
use crate::error::Error;
use crate::recipe::Key;
use crate::units::Bytes;

/// Something that happened. `stage` is the name of a node: `disk`, or `nodes/gate-node01`.
#[derive(Debug)]
pub enum Event<'a> {
    /// The build begins with this many stages.
    Begin {
        /// The names of all stages of this build, in the order of the plan.
        stages: &'a [String],
    },
    /// The result of a stage was there already.
    Cached {
        /// Which stage.
        stage: &'a str,
        /// Its key.
        key: &'a Key,
        /// Its result.
        artifact: &'a Artifact,
        /// Where it lies; nowhere here if only a remote cache has it, and nothing needs it.
        path: Option<PathBuf>,
    },
    /// A result that is asked for is on its way from the remote cache.
    Fetching {
        /// Which stage's.
        stage: &'a str,
        /// Its size, holes included.
        size: Bytes,
    },
    /// A stage begins to run.
    Started {
        /// Which stage.
        stage: &'a str,
        /// Its key.
        key: &'a Key,
        /// Why it runs.
        reason: &'a str,
    },
    /// How far a running stage is.
    Progress {
        /// Which stage.
        stage: &'a str,
        /// So much is done ...
        done: u64,
        /// ... of so much; 0 where that is not known.
        total: u64,
        /// Of what: `B` for bytes, else a word for what it is at.
        what: &'a str,
    },
    /// A stage ran and its result is kept.
    Done {
        /// Which stage.
        stage: &'a str,
        /// Its key.
        key: &'a Key,
        /// Its result.
        artifact: &'a Artifact,
        /// Where it lies.
        path: PathBuf,
        /// How long it ran.
        took: Duration,
        /// Why it ran.
        reason: &'a str,
    },
    /// A stage did not run, on purpose or because what it needs failed.
    Skipped {
        /// Which stage.
        stage: &'a str,
        /// Why.
        reason: &'a str,
        /// Where what was left as it is lies.
        path: Option<PathBuf>,
    },
    /// A stage failed.
    Failed {
        /// Which stage.
        stage: &'a str,
        /// Why.
        error: &'a Error,
        /// How long it ran.
        took: Duration,
    },
    /// The result of a stage stays on this machine: a secret went into it.
    Withheld {
        /// Which stage.
        stage: &'a str,
    },
    /// Something is wrong that the build goes on without.
    Warning {
        /// What, in one line.
        text: &'a str,
    },
    /// All stages have ended; results are still on their way to the remote cache.
    Pushing {
        /// So much was sent so far.
        bytes: Bytes,
    },
    /// Results were brought to the remote cache.
    Pushed {
        /// How many.
        results: usize,
        /// What was sent for them.
        bytes: Bytes,
        /// Where to.
        to: &'a str,
    },
    /// The build is over.
    End(Summary),
}

/// How a build went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Stages of the build.
    pub stages: usize,
    /// Taken from the cache.
    pub cached: usize,
    /// Run.
    pub run: usize,
    /// Failed.
    pub failed: usize,
    /// Left or not reached.
    pub skipped: usize,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Watches a build. Called from several threads.
pub trait Observer: Send + Sync {
    /// Told of everything, in order for each stage.
    fn notify(&self, event: &Event<'_>);
}
