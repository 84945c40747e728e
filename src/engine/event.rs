//! The events of a build. Observers draw bars, print lines or write JSON.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::artifact::Artifact;
use crate::error::Error;
use crate::recipe::Key;
use crate::units::Bytes;

/// An event. `stage` is the name of a node: `disk`, or `nodes/gate-node01`.
#[derive(Debug)]
pub enum Event<'a> {
    /// The build begins.
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
        /// Where it is; `None` if it is on the remote cache alone, and nothing needs it.
        path: Option<PathBuf>,
    },
    /// A result is being fetched from the remote cache.
    Fetching {
        /// Which stage's.
        stage: &'a str,
        /// The size of its object, holes included.
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
        /// How much is done, in units of `what`.
        done: u64,
        /// How much there is; 0 where that is not known.
        total: u64,
        /// `B` for bytes, else a word for the step it is at.
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
        /// Where it is.
        path: PathBuf,
        /// How long it ran.
        took: Duration,
        /// Why it ran.
        reason: &'a str,
    },
    /// A stage did not run: its result is retained, an input failed, or it was interrupted.
    Skipped {
        /// Which stage.
        stage: &'a str,
        /// Why.
        reason: &'a str,
        /// Where the retained result is.
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
    /// The work directory of a stage that failed was kept; its error says so too.
    WorkKept {
        /// Which stage.
        stage: &'a str,
        /// The directory.
        directory: &'a Path,
    },
    /// The result of a stage stays on this machine: a secret went into it.
    Withheld {
        /// Which stage.
        stage: &'a str,
    },
    /// A problem that does not stop the build.
    Warning {
        /// The warning, in one line.
        text: &'a str,
    },
    /// All stages have ended; results are still being copied to the remote cache.
    Pushing {
        /// Sent so far.
        bytes: Bytes,
    },
    /// Results were copied to the remote cache.
    Pushed {
        /// How many.
        results: usize,
        /// Sent for them.
        bytes: Bytes,
        /// The address of the remote cache.
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
    /// Retained, or not run because an input failed.
    pub skipped: usize,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Watches a build. Called from several threads.
pub trait Observer: Send + Sync {
    /// Receives every event, in order for each stage.
    fn notify(&self, event: &Event<'_>);
}
