//! What a stage works with: the cache, a work directory, the settings of the build, a log, a flag to
//! stop, and its entries of the lock. It knows no stage and no graph.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive;
use crate::artifact::{Artifact, Output};
use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::Result;
use crate::lock::{LockEntry, Package};
use crate::pipeline::Text;
use crate::recipe::Recipe;
use crate::run_state::RunState;

/// The settings of a build, from the command line and the environment. Only `architecture` and
/// `epoch` enter a key.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The architecture of the image in Debian's words: `amd64`, `arm64`.
    pub architecture: String,
    /// Every time in a result is clamped to this, in seconds since 1970.
    pub epoch: u64,
    /// The pipeline's name.
    pub pipeline: String,
    /// The directory that paths in the pipeline are relative to.
    pub root: PathBuf,
    /// `--mirror` or `KUTH_DEBIAN_MIRROR`.
    pub mirror: Option<String>,
    /// `--security-mirror` or `KUTH_DEBIAN_SECURITY_MIRROR`: Debian's archive of security updates.
    pub security_mirror: Option<String>,
    /// `--snapshot` or `KUTH_DEBIAN_SNAPSHOT`: the archive of packages that left the mirror.
    pub snapshot: Option<String>,
    /// `--allow-expired`: accept package indexes past their Valid-Until date.
    pub allow_expired: bool,
    /// `--offline`: no network at all.
    pub offline: bool,
    /// `--locked`: the lock must not change.
    pub locked: bool,
    /// The directory of exports, `out/<pipeline>`.
    pub output: PathBuf,
    /// The directory of machines.
    pub machines: PathBuf,
    /// `--driver`, when given.
    pub driver: Option<String>,
    /// The command lines of drivers' own tools, by driver, where they were given (`--vboxmanage`).
    pub driver_commands: BTreeMap<String, String>,
    /// What drivers remember of this run of kuth.
    pub run_state: RunState,
    /// `--replace`: replace machines that hold state.
    pub replace: bool,
    /// `--allow-host-tests`: run tests of the pipeline on this host.
    pub allow_host_tests: bool,
    /// `--on-error keep`: keep the work directory of a stage that failed.
    pub keep_failed: bool,
    /// `--jobs`: the number of processors to use.
    pub jobs: usize,
}

/// A build of `amd64` with the epoch 0 and one job, everything else absent or off.
impl Default for Settings {
    fn default() -> Settings {
        Settings {
            architecture: "amd64".to_string(),
            epoch: 0,
            pipeline: String::new(),
            root: PathBuf::new(),
            mirror: None,
            security_mirror: None,
            snapshot: None,
            allow_expired: false,
            offline: false,
            locked: false,
            output: PathBuf::new(),
            machines: PathBuf::new(),
            driver: None,
            driver_commands: BTreeMap::new(),
            run_state: RunState::default(),
            replace: false,
            allow_host_tests: false,
            keep_failed: false,
            jobs: 1,
        }
    }
}

/// Reports the progress inside a stage: how much is done, of how much (0: not known), and the unit
/// (`B` for bytes) or a word for the step.
pub type Progress = Arc<dyn Fn(u64, u64, &str) + Send + Sync>;

/// What one stage works with.
#[derive(Clone)]
pub struct StageContext {
    /// The store of results.
    pub cache: Arc<Cache>,
    /// This build's settings.
    pub settings: Arc<Settings>,
    /// The stage's name, for messages and the lock alone.
    pub stage: String,
    /// An empty directory of its own, in the cache's file system, removed afterwards.
    pub work: PathBuf,
    /// The file that the output of commands goes to.
    pub log: PathBuf,
    /// Set when the user wants to stop.
    pub cancel: Cancel,
    /// Reports how far it is.
    pub progress: Progress,
    /// Warns the user, in one line, of a problem that does not stop the build.
    pub warn: Arc<dyn Fn(&str) + Send + Sync>,
    /// Whether every action inside the stage runs, cached or not (`--rebuild`).
    pub fresh: bool,
    /// The lock's entries of this stage, one for each suite that it was built for.
    pub locked: Vec<LockEntry>,
    /// The lock's entries of all stages: the indexes they were resolved from serve this one too.
    pub locked_elsewhere: Vec<LockEntry>,
}

impl StageContext {
    /// A context for the stage called `stage`, without observer and lock entries.
    pub fn new(
        cache: Arc<Cache>,
        settings: Arc<Settings>,
        stage: &str,
        log: PathBuf,
    ) -> StageContext {
        StageContext {
            cache,
            settings,
            stage: stage.to_string(),
            work: PathBuf::new(),
            log,
            cancel: Cancel::default(),
            progress: Arc::new(|_, _, _| ()),
            warn: Arc::new(|_| ()),
            fresh: false,
            locked: Vec::new(),
            locked_elsewhere: Vec::new(),
        }
    }

    /// An action inside a stage that is cached on its own (a file system, a package index): looked up
    /// by its recipe, else done in a work directory of its own and committed.
    pub fn cached(
        &self,
        recipe: &Recipe,
        make: impl FnOnce(&StageContext) -> Result<Output>,
    ) -> Result<(Artifact, Outcome)> {
        let _lock = self.cache.lock_key(&recipe.key(), &self.cancel)?;
        if let Some(record) = self.cache.find(&recipe.key())? {
            return Ok((record.output, Outcome::Cached));
        }
        let scratch = self.cache.scratch()?;
        let mut context = self.clone();
        context.work = scratch.path().to_path_buf();
        let start = std::time::Instant::now();
        let made = make(&context)?;
        let artifact = self.cache.commit(recipe, made, start.elapsed())?;
        Ok((artifact, Outcome::Done))
    }

    /// Writes a text of the pipeline into a recipe: as it is, or a secret as a keyed hash.
    pub fn describe_text(&self, recipe: &mut Recipe, name: &str, text: &Text) -> Result<()> {
        match text.secret {
            false => recipe.value(name, &text.text),
            true => {
                recipe.hide();
                recipe.value(name, format!("secret {}", self.cache.keyed_hash(&text.text)?));
            }
        }
        Ok(())
    }

    /// Whether the work directory is kept because the stage failed and the user asked for that.
    pub fn keeps_work<T>(&self, outcome: &Result<T>) -> bool {
        self.settings.keep_failed && outcome.is_err() && !self.cancel.is_set()
    }

    /// How this stage unpacks archives that nobody waits for: without a word of how far it is.
    pub fn unpacking(&self) -> archive::Options<'_> {
        archive::Options {
            limit: None,
            threads: self.settings.jobs,
            epoch: self.settings.epoch,
            work: &self.work,
            cancel: &self.cancel,
            report: &|_, _| (),
        }
    }

    /// The path of an artifact's object in the cache.
    pub fn object(&self, artifact: &Artifact) -> PathBuf {
        self.cache.object(artifact)
    }

    /// A path in the work directory.
    pub fn scratch(&self, name: impl AsRef<Path>) -> PathBuf {
        self.work.join(name)
    }
}

/// Whether an action ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Taken from the cache.
    Cached,
    /// Done now.
    Done,
}

/// What `Stage::pin` came to.
#[derive(Clone, Debug, PartialEq)]
pub enum PinOutcome {
    /// What the stage needs from outside, in the order of its questions.
    Pinned(Vec<Pin>),
    /// The answer depends on the content of inputs that are not in the cache, or not built yet.
    /// The caller fetches or builds them and asks again.
    NeedsInputs,
}

impl PinOutcome {
    /// The pins, or `None` where inputs are needed first.
    pub fn pinned(self) -> Option<Vec<Pin>> {
        match self {
            PinOutcome::Pinned(pins) => Some(pins),
            PinOutcome::NeedsInputs => None,
        }
    }
}

/// What a stage resolved of the outside (packages, the checksum of a download), in the form that its
/// key depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// As the lock keeps it.
    pub locked: LockEntry,
    /// The digest of what of it shapes the bytes; see [`LockEntry::digest`].
    pub digest: Digest,
}

impl Pin {
    /// A pin to what `locked` says.
    pub fn new(locked: LockEntry) -> Pin {
        Pin { digest: locked.digest(), locked }
    }

    /// The packages it is pinned to; none if it is a download.
    pub fn packages(&self) -> &[Package] {
        self.locked.as_packages().map_or(&[], |locked| &locked.packages)
    }
}
