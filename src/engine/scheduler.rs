//! The scheduler of a build: each stage whose inputs are there gets a thread ([`super::execute`]),
//! which sends back what became of it. One loop receives that and starts what can start then.
//!
//! ```text
//! Waiting -> Running -> Done | Cached | Restored | Retained | Failed | Interrupted
//!    \--> Skipped (an input failed)
//! Cached -> Done | Failed (its object was on the remote cache alone and could not be fetched)
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::event::{Event, Observer, Summary};
use super::plan::{Node, NodeId, Plan};
use super::results::Results;
use crate::artifact::Artifact;
use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::lock::LockFile;
use crate::remote::RemoteCache;
use crate::remote::trust::PrivateKey;
use crate::stage::{Resource, Settings, StageContext};
use crate::threads;
use crate::units::Bytes;

/// Which results are fetched from the remote cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fetch {
    /// Those that nothing else in the build depends on, and what [`Fetch::Needed`] says.
    #[default]
    Targets,
    /// The inputs of stages that run, and results that have a place outside the cache.
    Needed,
}

/// How to build, beyond what [`Settings`] says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Names of stages and instances that run although their results are cached.
    pub rebuild: Vec<String>,
    /// Signs the provenance of exports.
    pub signer: Option<PrivateKey>,
    /// What is fetched of results that are on the remote cache alone.
    pub fetch: Fetch,
}

/// A build, ready to run.
pub struct Build<'p> {
    /// What to build.
    pub plan: &'p Plan<'p>,
    /// The store of results.
    pub cache: Arc<Cache>,
    /// The settings of all stages.
    pub settings: Arc<Settings>,
    /// The pins, read and written.
    pub lock: &'p LockFile,
    /// Receives the events.
    pub observer: Arc<dyn Observer>,
    /// Set to stop.
    pub cancel: Cancel,
    /// The remote cache, where there is one.
    pub remote: Option<Arc<RemoteCache>>,
    /// More of the command line.
    pub options: Options,
}

/// The state of a stage.
#[derive(Clone, Debug, PartialEq)]
enum State {
    /// Its inputs are not all there.
    Waiting,
    /// A thread looks it up or runs it.
    Running,
    /// Nothing more will happen to it.
    Finished(StageOutcome),
}

/// How a stage ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum StageOutcome {
    /// Its result was there.
    Cached(Artifact),
    /// Its result was known, and was put back into its place.
    Restored(Artifact),
    /// It ran.
    Done(Artifact),
    /// Its earlier result holds state and was left as it is.
    Retained(Artifact),
    /// It failed.
    Failed,
    /// It was interrupted.
    Interrupted,
    /// An input failed.
    Skipped,
}

impl StageOutcome {
    /// The result, where there is one.
    fn artifact(&self) -> Option<&Artifact> {
        match self {
            StageOutcome::Cached(artifact)
            | StageOutcome::Restored(artifact)
            | StageOutcome::Done(artifact)
            | StageOutcome::Retained(artifact) => Some(artifact),
            StageOutcome::Failed | StageOutcome::Interrupted | StageOutcome::Skipped => None,
        }
    }
}

/// What a thread sends to the scheduler.
pub(super) enum Message {
    /// The stage that it was started for ended.
    Finished(usize, StageOutcome),
    /// A stage whose result could not be fetched ran again and made this, or failed.
    Rebuilt(usize, Option<Artifact>),
}

/// What the threads of a build share.
pub(super) struct Shared {
    pub results: Results,
    pub messages: mpsc::Sender<Message>,
}

impl Build<'_> {
    /// Builds. A failed stage does not stop others that do not need it; the summary counts it.
    /// Fails with [`crate::error::Interrupted`], or when the build cannot be begun.
    pub fn run(&self) -> Result<Summary> {
        let start = Instant::now();
        crate::files::sweep(&self.cache.directory().join("work"), crate::sandbox::remove_left)?;
        self.observer.notify(&Event::Begin { stages: &self.plan.names() });
        let states = self.schedule();
        let drained = self.drain();
        let mut summary = Summary { stages: states.len(), ..Summary::default() };
        for state in &states {
            *match state {
                State::Finished(StageOutcome::Cached(_) | StageOutcome::Restored(_)) => {
                    &mut summary.cached
                }
                State::Finished(StageOutcome::Done(_)) => &mut summary.run,
                State::Finished(StageOutcome::Failed | StageOutcome::Interrupted) => {
                    &mut summary.failed
                }
                State::Finished(StageOutcome::Skipped | StageOutcome::Retained(_)) => {
                    &mut summary.skipped
                }
                // An interrupted build does not get to it.
                State::Waiting | State::Running => continue,
            } += 1;
        }
        summary.seconds = start.elapsed().as_secs_f64();
        self.observer.notify(&Event::End(summary));
        // After the summary: what finished before the interruption is reported like any other.
        self.cancel.check()?;
        drained.map(|()| summary)
    }

    /// Waits until all that was queued is on the remote cache.
    pub(super) fn drain(&self) -> Result<()> {
        let Some(remote) = &self.remote else { return Ok(()) };
        let pushed = remote.drain(&|bytes| {
            self.observer.notify(&Event::Pushing { bytes: Bytes(bytes) });
        })?;
        if pushed.results > 0 {
            let (results, bytes) = (pushed.results, Bytes(pushed.bytes));
            self.observer.notify(&Event::Pushed { results, bytes, to: remote.address() });
        }
        Ok(())
    }

    fn schedule(&self) -> Vec<State> {
        let nodes = self.plan.nodes();
        let mut states = vec![State::Waiting; nodes.len()];
        let mut running: BTreeMap<Resource, usize> = BTreeMap::new();
        let (sender, messages) = mpsc::channel::<Message>();
        let shared = Shared { results: Results::new(nodes.len()), messages: sender };
        std::thread::scope(|scope| {
            loop {
                while !self.cancel.is_set()
                    && let Some(at) = self.next_ready(&states, &running)
                {
                    states[at] = State::Running;
                    *running.entry(nodes[at].stage.resource()).or_default() += 1;
                    let shared = &shared;
                    let process = move || {
                        let outcome = self.process(at, shared);
                        // The scheduler outlives every thread, so the channel is open.
                        let _ = shared.messages.send(Message::Finished(at, outcome));
                    };
                    if threads::start(scope, process).is_err() {
                        // Slower, as the others are not seen to end meanwhile, and as good.
                        process();
                    }
                }
                if !states.contains(&State::Running) {
                    break;
                }
                match messages.recv() {
                    Ok(Message::Finished(at, outcome)) => {
                        running.entry(nodes[at].stage.resource()).and_modify(|n| *n -= 1);
                        self.settle(at, outcome, &shared.results, &mut states);
                    }
                    Ok(Message::Rebuilt(at, artifact)) => {
                        let outcome = artifact.map_or(StageOutcome::Failed, StageOutcome::Done);
                        states[at] = State::Finished(outcome);
                    }
                    Err(mpsc::RecvError) => break,
                }
            }
        });
        states
    }

    /// The first waiting stage whose inputs are there and whose resource is free.
    fn next_ready(&self, states: &[State], running: &BTreeMap<Resource, usize>) -> Option<usize> {
        let has_result = |at: usize| match &states[at] {
            State::Finished(outcome) => outcome.artifact().is_some(),
            State::Waiting | State::Running => false,
        };
        self.plan.nodes().iter().enumerate().position(|(at, node)| {
            let resource = node.stage.resource();
            states[at] == State::Waiting
                && node.inputs.iter().all(|(_, input)| has_result(input.0))
                && running.get(&resource).copied().unwrap_or(0) < self.concurrency(resource)
        })
    }

    /// How many stages that need `resource` run at once.
    fn concurrency(&self, resource: Resource) -> usize {
        match resource {
            Resource::Cpu | Resource::Network => self.settings.jobs.max(1),
            // A guest needs a processor of its own, and two at most fill a small machine.
            Resource::Machine => (self.settings.jobs / 2).max(1),
            // Each change is a few commands that mostly wait for the hypervisor's server; more than
            // some at once only wait for each other.
            Resource::Hypervisor => self.settings.jobs.clamp(1, 4),
        }
    }

    fn settle(&self, at: usize, outcome: StageOutcome, results: &Results, states: &mut [State]) {
        if let Some(artifact) = outcome.artifact() {
            results.set(at, artifact);
        }
        let name = &self.plan.nodes()[at].name;
        match outcome {
            StageOutcome::Restored(_) => results.set_restored(at),
            StageOutcome::Failed => self.skip_dependents(at, &format!("{name} failed"), states),
            StageOutcome::Interrupted => {
                self.skip_dependents(at, &format!("{name} was interrupted"), states);
            }
            _ => {}
        }
        states[at] = State::Finished(outcome);
    }

    fn skip_dependents(&self, at: usize, reason: &str, states: &mut [State]) {
        for dependent in self.plan.dependents(NodeId(at)) {
            if states[dependent.0] == State::Waiting {
                states[dependent.0] = State::Finished(StageOutcome::Skipped);
                let stage = &self.plan.nodes()[dependent.0].name;
                self.observer.notify(&Event::Skipped { stage, reason, path: None });
                self.skip_dependents(dependent.0, reason, states);
            }
        }
    }

    /// The context of a node, without a work directory.
    pub(super) fn context(&self, node: &Node<'_>) -> StageContext {
        let (observer, warnings) = (self.observer.clone(), self.observer.clone());
        let stage = node.name.clone();
        let progress = move |done, total, what: &str| {
            observer.notify(&Event::Progress { stage: &stage, done, total, what });
        };
        let log = self.cache.log(&self.settings.pipeline, &node.name);
        StageContext {
            cancel: self.cancel.clone(),
            progress: Arc::new(progress),
            warn: Arc::new(move |text| warnings.notify(&Event::Warning { text })),
            fresh: self.is_forced(node),
            locked: self.lock.stage(&node.name),
            locked_elsewhere: self.lock.all(),
            ..StageContext::new(self.cache.clone(), self.settings.clone(), &node.name, log)
        }
    }
}

/// A duration for people, in seconds: `1.5 s`.
pub fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
