//! What a build did with each of its stages, and when: values, and the questions that a report asks
//! of them. The last builds of a pipeline are kept in its cache ([`file`]). Nothing of it enters a key
//! or a result; times are those of the clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::recipe::Key;

pub mod file;

/// One build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The version of kuth that ran it.
    pub tool: String,
    /// Its stages and instances, each after its inputs.
    pub stages: Vec<StageRecord>,
}

/// One stage of a build, or one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// `disk`, `nodes/gate-node01`.
    pub stage: String,
    /// The name of its kind.
    pub kind: String,
    /// The names of its inputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// How it ended.
    pub state: StageState,
    /// Why it ran, or why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The message of a stage that failed, in lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its key, if it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// The digest of its result, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// When it began, in seconds since the beginning of the build.
    pub begin: f64,
    /// How long it took, in seconds; 0 if there was nothing to do.
    pub seconds: f64,
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageState {
    /// Its result was in the cache, or was fetched.
    Cached,
    /// It ran.
    Done,
    /// It failed.
    Failed,
    /// It did not run: its result is retained, an input failed, or it was interrupted.
    Skipped,
    /// The build ended before its turn came.
    NotReached,
}

impl StageState {
    /// The state in one or two words.
    pub fn word(self) -> &'static str {
        match self {
            StageState::Cached => "cached",
            StageState::Done => "done",
            StageState::Failed => "failed",
            StageState::Skipped => "skipped",
            StageState::NotReached => "not reached",
        }
    }
}

impl StageRecord {
    /// When it ended, in seconds since the beginning of the build.
    pub fn end(&self) -> f64 {
        self.begin + self.seconds
    }

    /// Whether it took time: it ran, it failed, or its result was fetched.
    pub fn took_time(&self) -> bool {
        self.seconds > 0.0
    }
}

impl BuildRecord {
    /// The stage of this name.
    pub fn stage(&self, name: &str) -> Option<&StageRecord> {
        self.stages.iter().find(|stage| stage.stage == name)
    }

    /// How many stages ended in `state`.
    pub fn count(&self, state: StageState) -> usize {
        self.stages.iter().filter(|stage| stage.state == state).count()
    }

    /// The critical path: the stage that ended last, before it the input that it waited for longest,
    /// and so on. Indices of `stages`, the first to run first. Stages that took no time are passed
    /// over.
    pub fn critical_path(&self) -> Vec<usize> {
        let mut path = Vec::new();
        let mut from: Vec<usize> = (0..self.stages.len()).collect();
        while let Some(last) = self.last_of(&from) {
            path.push(last);
            from = self.inputs_that_took_time(last);
        }
        path.reverse();
        path
    }

    fn last_of(&self, stages: &[usize]) -> Option<usize> {
        let took_time = stages.iter().copied().filter(|at| self.stages[*at].took_time());
        took_time.max_by(|a, b| self.stages[*a].end().total_cmp(&self.stages[*b].end()))
    }

    /// The nearest stages before `at` that took time.
    fn inputs_that_took_time(&self, at: usize) -> Vec<usize> {
        let inputs = |at: usize| {
            let names = &self.stages[at].inputs;
            // Inputs come before what uses them, so this ends.
            (0..at).filter(move |input| names.contains(&self.stages[*input].stage))
        };
        let (mut open, mut found) = (inputs(at).collect::<Vec<_>>(), Vec::new());
        while let Some(at) = open.pop() {
            match self.stages[at].took_time() {
                true => found.push(at),
                false => open.extend(inputs(at)),
            }
        }
        found
    }
}

/// The builds of a pipeline that are kept, the newest last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Builds(pub Vec<BuildRecord>);

impl Builds {
    /// The newest build, and the one before it.
    pub fn newest(&self) -> Option<(&BuildRecord, Option<&BuildRecord>)> {
        let (newest, earlier) = self.0.split_last()?;
        Some((newest, earlier.last()))
    }

    /// How long `stage` took when it last ran to its end; `None` if no build that is kept ran it.
    pub fn last_run(&self, stage: &str) -> Option<Duration> {
        let mut stages = self.0.iter().rev().filter_map(|build| build.stage(stage));
        let ran = stages.find(|stage| stage.state == StageState::Done)?;
        Duration::try_from_secs_f64(ran.seconds).ok()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A stage that ran, by name, inputs, begin and duration in seconds.
    pub fn ran(stage: &str, inputs: &[&str], begin: f64, seconds: f64) -> StageRecord {
        StageRecord {
            stage: stage.to_string(),
            kind: "customise".to_string(),
            inputs: inputs.iter().map(|input| input.to_string()).collect(),
            state: if seconds > 0.0 { StageState::Done } else { StageState::Cached },
            reason: None,
            error: None,
            key: None,
            digest: None,
            begin,
            seconds,
        }
    }

    /// A build of these stages, a second longer than they are.
    pub fn build(stages: Vec<StageRecord>) -> BuildRecord {
        let seconds = stages.iter().map(StageRecord::end).fold(0.0, f64::max) + 1.0;
        BuildRecord { began: 1_790_000_000, seconds, tool: "0.1.0".to_string(), stages }
    }

    fn path(build: &BuildRecord) -> Vec<&str> {
        build.critical_path().into_iter().map(|at| build.stages[at].stage.as_str()).collect()
    }

    #[test]
    fn the_critical_path_ends_with_the_last_stage_and_follows_the_latest_inputs() {
        let found = build(vec![
            ran("rootfs", &[], 0.0, 5.0),
            ran("download", &[], 0.0, 9.0),
            ran("base", &["rootfs", "download"], 9.0, 4.0),
            ran("disk", &["base"], 13.0, 2.0),
            ran("check", &["disk"], 15.0, 30.0),
            ran("image", &["disk"], 15.0, 8.0),
        ]);
        assert_eq!(path(&found), ["download", "base", "disk", "check"]);
    }

    #[test]
    fn the_critical_path_goes_through_cached_stages() {
        let found = build(vec![
            ran("rootfs", &[], 0.0, 5.0),
            ran("base", &["rootfs"], 5.0, 0.0),
            ran("disk", &["base"], 5.0, 2.0),
        ]);
        assert_eq!(path(&found), ["rootfs", "disk"]);
        let cached = build(vec![ran("rootfs", &[], 0.0, 0.0)]);
        assert_eq!(path(&cached), Vec::<&str>::new());
    }

    #[test]
    fn the_last_run_of_a_stage_may_be_in_an_earlier_build() {
        let failed = StageRecord { state: StageState::Failed, ..ran("disk", &[], 0.0, 1.0) };
        let builds = Builds(vec![
            build(vec![ran("base", &[], 0.0, 5.0), ran("disk", &[], 5.0, 3.0)]),
            build(vec![ran("base", &[], 0.0, 0.0), ran("disk", &[], 5.0, 4.0)]),
            build(vec![ran("base", &[], 0.0, 0.0), failed]),
        ]);
        assert_eq!(builds.last_run("base"), Some(Duration::from_secs(5)));
        assert_eq!(builds.last_run("disk"), Some(Duration::from_secs(4)));
        assert_eq!(builds.last_run("image"), None);
        assert_eq!(builds.newest().unwrap().1, Some(&builds.0[1]));
    }
}
