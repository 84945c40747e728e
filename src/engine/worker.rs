//! Walks a plan: a stage whose inputs are there gets a thread, which finishes its recipe, looks
//! the key up and runs it on a miss. Results come back over a channel; the walk itself is this
//! one loop.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::event::{Event, Observer, Summary};
use super::key;
use super::lockfile::LockFile;
use super::plan::{Node, NodeId, Plan};
use super::state::{State, States};
use crate::artifact::Artifact;
use crate::cache::{Cache, space};
use crate::error::{Context, Error, Interrupted, Result, caused_by};
use crate::process::Cancel;
use crate::recipe::{Key, Recipe, first_difference};
use crate::stage::{Inputs, KeptAsItIs, Pin, Placed, Pool, Settings, Site};
use crate::units::Bytes;

/// How to build, beyond what [`Settings`] says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Stages to run although their result is there.
    pub rebuild: Vec<String>,
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
    /// More.
    pub options: Options,
}

/// How one stage ended.
enum Ended {
    Cached(Artifact),
    /// Was there before, and was put back into its place.
    PutBack(Artifact),
    Done(Artifact),
    Kept(Option<Artifact>, String),
    Failed(Error),
}

/// Why a stage runs.
#[derive(Clone, Copy)]
enum Why<'a> {
    /// For this reason.
    News(&'a str),
    /// Its result is known and only takes its place again.
    PutBack,
}

impl Build<'_> {
    /// Builds. A failed stage does not stop others that do not need it; the summary counts it.
    /// The error is [`Interrupted`], or that the build could not be begun.
    pub fn run(&self) -> Result<Summary> {
        let start = Instant::now();
        crate::cache::lock::sweep(&self.cache.folder().join("work"), crate::sandbox::remove_left)?;
        self.observer.tell(&Event::Begin { stages: &self.plan.names() });
        let states = self.walk()?;
        let count = |matches: fn(&State) -> bool| states.iter().filter(|s| matches(s)).count();
        let summary = Summary {
            stages: self.plan.nodes().len(),
            cached: count(|state| matches!(state, State::Cached(_))),
            run: count(|state| matches!(state, State::Done(_))),
            failed: count(|state| matches!(state, State::Failed)),
            skipped: count(|state| matches!(state, State::Skipped | State::Kept(_))),
            seconds: start.elapsed().as_secs_f64(),
        };
        self.observer.tell(&Event::End(summary));
        // After the summary: what finished before the interruption is told like any other.
        self.cancel.check()?;
        Ok(summary)
    }

    fn walk(&self) -> Result<States> {
        let nodes = self.plan.nodes();
        let mut states = States::new(nodes.len());
        let mut put_back = vec![false; nodes.len()];
        let mut busy: BTreeMap<Pool, usize> = BTreeMap::new();
        let (sender, results) = mpsc::channel::<(usize, Ended)>();
        std::thread::scope(|scope| {
            loop {
                while !self.cancel.is_set()
                    && let Some(at) = self.next_ready(&states, &busy)
                {
                    states.set(at, State::Running);
                    *busy.entry(nodes[at].stage.pool()).or_default() += 1;
                    let inputs = self.inputs(&nodes[at], &states);
                    let sender = sender.clone();
                    let moved = nodes[at].inputs.iter().any(|(_, input)| put_back[input.0]);
                    scope.spawn(move || {
                        let ended = self.carry_out(&nodes[at], &inputs, moved);
                        // The walk outlives every thread, so the channel is open.
                        let _ = sender.send((at, ended));
                    });
                }
                if !states.iter().any(|state| *state == State::Running) {
                    break;
                }
                let Ok((at, ended)) = results.recv() else { break };
                busy.entry(nodes[at].stage.pool()).and_modify(|n| *n -= 1);
                put_back[at] = matches!(ended, Ended::PutBack(_));
                self.settle(at, ended, &mut states);
            }
        });
        Ok(states)
    }

    /// The first waiting stage whose inputs are there and whose pool has room.
    fn next_ready(&self, states: &States, busy: &BTreeMap<Pool, usize>) -> Option<usize> {
        let nodes = self.plan.nodes();
        (0..nodes.len()).find(|at| {
            let node = &nodes[*at];
            let pool = node.stage.pool();
            *states.get(*at) == State::Waiting
                && node.inputs.iter().all(|(_, input)| states.get(input.0).artifact().is_some())
                && busy.get(&pool).copied().unwrap_or(0) < self.depth(pool)
        })
    }

    /// How many stages of a pool run at once.
    fn depth(&self, pool: Pool) -> usize {
        match pool {
            Pool::Cpu | Pool::Network => self.settings.jobs.max(1),
            // A guest wants a processor of its own, and two at most fill a small machine.
            Pool::Machine => (self.settings.jobs / 2).max(1),
            // Each change is a few commands that mostly wait for the hypervisor's server; more than
            // some at once only wait for each other.
            Pool::Hypervisor => self.settings.jobs.clamp(1, 4),
        }
    }

    fn inputs(&self, node: &Node<'_>, states: &States) -> Inputs {
        let found = node.inputs.iter().filter_map(|(key, input)| {
            states.get(input.0).artifact().map(|artifact| (*key, artifact.clone()))
        });
        Inputs(found.collect())
    }

    fn settle(&self, at: usize, ended: Ended, states: &mut States) {
        match ended {
            Ended::Cached(artifact) | Ended::PutBack(artifact) => {
                states.set(at, State::Cached(artifact));
            }
            Ended::Done(artifact) => states.set(at, State::Done(artifact)),
            Ended::Kept(Some(artifact), _) => states.set(at, State::Kept(artifact)),
            Ended::Kept(None, reason) => {
                states.set(at, State::Skipped);
                self.skip_eaters(at, &reason, states);
            }
            Ended::Failed(error) => {
                let interrupted = caused_by::<Interrupted>(&error).is_some();
                states.set(at, State::Failed);
                let why = if interrupted { "was interrupted" } else { "failed" };
                let reason = format!("{} {why}", self.plan.nodes()[at].name);
                self.skip_eaters(at, &reason, states);
            }
        }
    }

    fn skip_eaters(&self, at: usize, reason: &str, states: &mut States) {
        for eater in self.plan.eaters(NodeId(at)) {
            if *states.get(eater.0) == State::Waiting {
                states.set(eater.0, State::Skipped);
                let stage = &self.plan.nodes()[eater.0].name;
                self.observer.tell(&Event::Skipped { stage, reason, path: None });
                self.skip_eaters(eater.0, reason, states);
            }
        }
    }

    /// The place of a node, without a folder to work in yet.
    pub(super) fn site(&self, node: &Node<'_>) -> Site {
        let observer = self.observer.clone();
        let stage = node.name.clone();
        let progress = move |done, total, what: &str| {
            observer.tell(&Event::Progress { stage: &stage, done, total, what });
        };
        let log = self.cache.log(&self.settings.pipeline, &node.name);
        Site {
            cancel: self.cancel.clone(),
            progress: Arc::new(progress),
            locked: self.lock.stage(&node.name),
            locked_elsewhere: self.lock.all(),
            ..Site::new(self.cache.clone(), self.settings.clone(), &node.name, log)
        }
    }

    /// `moved` says that something the node eats was put back just now.
    fn carry_out(&self, node: &Node<'_>, inputs: &Inputs, moved: bool) -> Ended {
        let start = Instant::now();
        match self.look_up_or_run(node, inputs, moved) {
            Ok(ended) => ended,
            Err(error) => match caused_by::<KeptAsItIs>(&error) {
                Some(KeptAsItIs { path, reason }) => {
                    let path = Some(path.clone());
                    self.observer.tell(&Event::Skipped { stage: &node.name, reason, path });
                    Ended::Kept(None, reason.clone())
                }
                None => {
                    let (stage, took) = (&node.name, start.elapsed());
                    self.observer.tell(&match caused_by::<Interrupted>(&error) {
                        Some(_) => Event::Skipped { stage, reason: "interrupted", path: None },
                        None => Event::Failed { stage, error: &error, took },
                    });
                    Ended::Failed(error)
                }
            },
        }
    }

    fn look_up_or_run(&self, node: &Node<'_>, inputs: &Inputs, moved: bool) -> Result<Ended> {
        let mut site = self.site(node);
        site.log = self.cache.log(&self.settings.pipeline, &format!("{}.resolve", node.name));
        let pins = node.stage.pin(&site, inputs)?;
        pins.iter().try_for_each(|pin| self.lock.note(&node.name, &pin.locked))?;
        site.log = self.cache.log(&self.settings.pipeline, &node.name);
        let recipe = key::recipe(node, &site, inputs, &pins)?;
        let key = recipe.key();
        let forced =
            self.options.rebuild.iter().any(|name| *name == node.name || *name == node.stage_name);
        let mut gone = None;
        if !forced && let Some(ended) = self.look_up(node, &site, &key, &mut gone)? {
            return Ok(ended);
        }
        let _lock = self.cache.lock_key(&key, &self.cancel)?;
        // Another process may have made it while this one waited.
        if !forced && let Some(ended) = self.look_up(node, &site, &key, &mut gone)? {
            return Ok(ended);
        }
        let reason = match gone {
            Some(Placed::Replaced(_)) => None,
            Some(Placed::Gone(_)) if moved => None,
            Some(Placed::Gone(reason)) => Some(reason),
            _ if forced => Some("asked for with --rebuild".to_string()),
            _ => Some(why(&self.cache, &self.settings.pipeline, node, &recipe)?),
        };
        let why = reason.as_deref().map_or(Why::PutBack, Why::News);
        self.run_stage(node, site, inputs, &pins, &recipe, why)
    }

    fn look_up(
        &self,
        node: &Node<'_>,
        site: &Site,
        key: &Key,
        gone: &mut Option<Placed>,
    ) -> Result<Option<Ended>> {
        let Some(record) = self.cache.find(key)? else { return Ok(None) };
        let artifact = record.output;
        match node.stage.place(site, &artifact)? {
            Placed::Here(path) => {
                self.cache.note_latest(&self.settings.pipeline, &node.name, key)?;
                let told = Event::Cached { stage: &node.name, key, artifact: &artifact, path };
                self.observer.tell(&told);
                Ok(Some(Ended::Cached(artifact)))
            }
            Placed::Kept(path, reason) => {
                let (stage, path) = (&node.name, Some(path));
                self.observer.tell(&Event::Skipped { stage, reason: &reason, path });
                Ok(Some(Ended::Kept(Some(artifact), reason)))
            }
            placed @ (Placed::Gone(_) | Placed::Replaced(_)) => {
                *gone = Some(placed);
                Ok(None)
            }
        }
    }

    fn run_stage(
        &self,
        node: &Node<'_>,
        mut site: Site,
        inputs: &Inputs,
        pins: &[Pin],
        recipe: &Recipe,
        why: Why<'_>,
    ) -> Result<Ended> {
        let (stage, key) = (node.name.as_str(), recipe.key());
        let start = Instant::now();
        if let Why::News(reason) = why {
            self.observer.tell(&Event::Started { stage, key: &key, reason });
        }
        let need = Bytes(node.stage.need(&site, inputs));
        space::require(self.cache.folder(), need)?;
        // A log is of one run.
        let _ = std::fs::remove_file(&site.log);
        let scratch = self.cache.scratch()?;
        site.work = scratch.path().to_path_buf();
        let made = match node.stage.run(&site, inputs, pins) {
            Ok(made) => made,
            Err(error) => {
                let error = space::explain(error, self.cache.folder(), need);
                return Err(self.after_failure(error, scratch));
            }
        };
        let took = start.elapsed();
        let artifact = self
            .cache
            .commit(recipe, made, took)
            .map_err(|error| space::explain(error, self.cache.folder(), need))?;
        drop(scratch);
        self.cache.note_latest(&self.settings.pipeline, stage, &key)?;
        let path = match node.stage.place(&site, &artifact)? {
            Placed::Here(path) | Placed::Kept(path, _) => path,
            Placed::Gone(reason) | Placed::Replaced(reason) => {
                return Err(crate::error::anyhow!("{reason}, although it was just made"));
            }
        };
        let (key, artifact) = (&key, artifact);
        Ok(match why {
            Why::News(reason) => {
                let artifact = &artifact;
                self.observer.tell(&Event::Done { stage, key, artifact, path, took, reason });
                Ended::Done(artifact.clone())
            }
            Why::PutBack => {
                let artifact = &artifact;
                self.observer.tell(&Event::Cached { stage, key, artifact, path });
                Ended::PutBack(artifact.clone())
            }
        })
    }

    fn after_failure(&self, error: Error, scratch: crate::cache::Scratch) -> Error {
        if self.settings.keep_failed && caused_by::<Interrupted>(&error).is_none() {
            let kept = scratch.keep();
            return crate::error::with_hint(
                error,
                format!("its folder was kept: {}", kept.display()),
            );
        }
        error
    }
}

/// Why a node with this recipe and no result has to run: the first line in which the recipe
/// differs from that of the last time.
pub(super) fn why(
    cache: &Cache,
    pipeline: &str,
    node: &Node<'_>,
    recipe: &Recipe,
) -> Result<String> {
    let Some(latest) = cache.latest(pipeline, &node.name) else {
        return Ok("not built before".to_string());
    };
    if latest == recipe.key() {
        return Ok("its result is no longer in the cache".to_string());
    }
    let Some(earlier) = cache.latest_recipe(pipeline, &node.name)? else {
        return Ok("the record of the last build is no longer in the cache".to_string());
    };
    let reason = first_difference(&recipe.differences(&earlier));
    reason.context("two recipes of different keys do not differ")
}

/// Seconds for people.
pub fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
