//! Walks a plan: a stage whose inputs are known gets a thread ([`super::attempt`]). What becomes of
//! it comes back over a channel; the walk itself is this one loop.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::event::{Event, Observer, Summary};
use super::plan::{Node, NodeId, Plan};
use super::results::Results;
use super::state::{State, States};
use crate::artifact::Artifact;
use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::error::{Error, Interrupted, Result, caused_by};
use crate::lock::LockFile;
use crate::remote::RemoteCache;
use crate::remote::trust::PrivateKey;
use crate::stage::{Resource, Settings, StageContext};
use crate::units::Bytes;

/// Which results are fetched from the remote cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fetch {
    /// What was asked for, and what a stage that runs eats.
    #[default]
    Asked,
    /// Only what a stage that runs eats, and what has a place outside the cache.
    Needed,
}

/// How to build, beyond what [`Settings`] says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Stages to run although their result is there.
    pub rebuild: Vec<String>,
    /// Signs what is told of exports.
    pub signer: Option<PrivateKey>,
    /// What is fetched of results that only the remote cache has.
    pub fetch: Fetch,
}

/// A build about to happen.
pub struct Build<'p> {
    /// What to build.
    pub plan: &'p Plan<'p>,
    /// Where results are kept.
    pub cache: Arc<Cache>,
    /// The settings all stages see.
    pub settings: Arc<Settings>,
    /// What is pinned.
    pub lock: &'p LockFile,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
    /// Set to stop.
    pub cancel: Cancel,
    /// The remote cache, where there is one.
    pub shelf: Option<Arc<RemoteCache>>,
    /// More.
    pub options: Options,
}

/// How one stage ended.
pub(super) enum Ended {
    Cached(Artifact),
    /// Was there before, and was put back into its place.
    PutBack(Artifact),
    Done(Artifact),
    Kept(Artifact),
    Failed(Error),
}

/// What a thread tells the walk.
pub(super) enum Message {
    /// The stage that it was started for ended.
    Ended(usize, Ended),
    /// A stage whose result was known, but could not be fetched, ran after all, or could not.
    Again(usize, Option<Artifact>),
}

/// What the threads of one walk share.
pub(super) struct Walk {
    pub results: Results,
    pub messages: mpsc::Sender<Message>,
}

impl Build<'_> {
    /// Builds. A failed stage does not stop others that do not need it; the summary counts it.
    /// The error is [`Interrupted`], or that the build could not be begun.
    pub fn run(&self) -> Result<Summary> {
        let start = Instant::now();
        crate::files::sweep(&self.cache.directory().join("work"), crate::sandbox::remove_left)?;
        self.observer.notify(&Event::Begin { stages: &self.plan.names() });
        let states = self.walk()?;
        let brought = self.drain();
        let count = |matches: fn(&State) -> bool| states.iter().filter(|s| matches(s)).count();
        let summary = Summary {
            stages: self.plan.nodes().len(),
            cached: count(|state| matches!(state, State::Cached(_))),
            run: count(|state| matches!(state, State::Done(_))),
            failed: count(|state| matches!(state, State::Failed)),
            skipped: count(|state| matches!(state, State::Skipped | State::Kept(_))),
            seconds: start.elapsed().as_secs_f64(),
        };
        self.observer.notify(&Event::End(summary));
        // After the summary: what finished before the interruption is told like any other.
        self.cancel.check()?;
        brought.map(|()| summary)
    }

    /// Waits for what is still on its way to the remote cache.
    pub(super) fn drain(&self) -> Result<()> {
        let Some(shelf) = &self.shelf else { return Ok(()) };
        let pushed = shelf.drain(&|bytes| {
            self.observer.notify(&Event::Pushing { bytes: Bytes(bytes) });
        })?;
        if pushed.results > 0 {
            let (results, bytes) = (pushed.results, Bytes(pushed.bytes));
            self.observer.notify(&Event::Pushed { results, bytes, to: shelf.address() });
        }
        Ok(())
    }

    fn walk(&self) -> Result<States> {
        let nodes = self.plan.nodes();
        let mut states = States::new(nodes.len());
        let mut busy: BTreeMap<Resource, usize> = BTreeMap::new();
        let (sender, messages) = mpsc::channel::<Message>();
        let walk = Walk { results: Results::new(nodes.len()), messages: sender };
        std::thread::scope(|scope| {
            loop {
                while !self.cancel.is_set()
                    && let Some(at) = self.next_ready(&states, &busy)
                {
                    states.set(at, State::Running);
                    *busy.entry(nodes[at].stage.resource()).or_default() += 1;
                    let walk = &walk;
                    scope.spawn(move || {
                        let ended = self.carry_out(at, walk);
                        // The walk outlives every thread, so the channel is open.
                        let _ = walk.messages.send(Message::Ended(at, ended));
                    });
                }
                if !states.iter().any(|state| *state == State::Running) {
                    break;
                }
                match messages.recv() {
                    Ok(Message::Ended(at, ended)) => {
                        busy.entry(nodes[at].stage.resource()).and_modify(|n| *n -= 1);
                        self.settle(at, ended, &walk.results, &mut states);
                    }
                    Ok(Message::Again(at, Some(artifact))) => {
                        states.again(at, State::Done(artifact));
                    }
                    Ok(Message::Again(at, None)) => states.again(at, State::Failed),
                    Err(mpsc::RecvError) => break,
                }
            }
        });
        Ok(states)
    }

    /// The first waiting stage whose inputs are there and whose pool has room.
    fn next_ready(&self, states: &States, busy: &BTreeMap<Resource, usize>) -> Option<usize> {
        let nodes = self.plan.nodes();
        (0..nodes.len()).find(|at| {
            let node = &nodes[*at];
            let pool = node.stage.resource();
            *states.get(*at) == State::Waiting
                && node.inputs.iter().all(|(_, input)| states.get(input.0).artifact().is_some())
                && busy.get(&pool).copied().unwrap_or(0) < self.depth(pool)
        })
    }

    /// How many stages of a pool run at once.
    fn depth(&self, pool: Resource) -> usize {
        match pool {
            Resource::Cpu | Resource::Network => self.settings.jobs.max(1),
            // A guest wants a processor of its own, and two at most fill a small machine.
            Resource::Machine => (self.settings.jobs / 2).max(1),
            // Each change is a few commands that mostly wait for the hypervisor's server; more than
            // some at once only wait for each other.
            Resource::Hypervisor => self.settings.jobs.clamp(1, 4),
        }
    }

    fn settle(&self, at: usize, ended: Ended, results: &Results, states: &mut States) {
        if let Ended::Cached(artifact)
        | Ended::PutBack(artifact)
        | Ended::Done(artifact)
        | Ended::Kept(artifact) = &ended
        {
            results.set(at, artifact);
        }
        match ended {
            Ended::Cached(artifact) => states.set(at, State::Cached(artifact)),
            Ended::PutBack(artifact) => {
                results.set_moved(at);
                states.set(at, State::Cached(artifact));
            }
            Ended::Done(artifact) => states.set(at, State::Done(artifact)),
            Ended::Kept(artifact) => states.set(at, State::Kept(artifact)),
            Ended::Failed(error) => {
                let interrupted = caused_by::<Interrupted>(&error).is_some();
                states.set(at, State::Failed);
                let why = if interrupted { "was interrupted" } else { "failed" };
                let reason = format!("{} {why}", self.plan.nodes()[at].name);
                self.skip_dependents(at, &reason, states);
            }
        }
    }

    fn skip_dependents(&self, at: usize, reason: &str, states: &mut States) {
        for eater in self.plan.dependents(NodeId(at)) {
            if *states.get(eater.0) == State::Waiting {
                states.set(eater.0, State::Skipped);
                let stage = &self.plan.nodes()[eater.0].name;
                self.observer.notify(&Event::Skipped { stage, reason, path: None });
                self.skip_dependents(eater.0, reason, states);
            }
        }
    }

    /// The place of a node, without a directory to work in yet.
    pub(super) fn context(&self, node: &Node<'_>) -> StageContext {
        let (observer, warned) = (self.observer.clone(), self.observer.clone());
        let stage = node.name.clone();
        let progress = move |done, total, what: &str| {
            observer.notify(&Event::Progress { stage: &stage, done, total, what });
        };
        let log = self.cache.log(&self.settings.pipeline, &node.name);
        StageContext {
            cancel: self.cancel.clone(),
            progress: Arc::new(progress),
            warn: Arc::new(move |text| warned.notify(&Event::Warning { text })),
            locked: self.lock.stage(&node.name),
            locked_elsewhere: self.lock.all(),
            ..StageContext::new(self.cache.clone(), self.settings.clone(), &node.name, log)
        }
    }
}

/// Seconds for people.
pub fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
