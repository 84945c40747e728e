//! Records what a build does with each stage, and when, for its reports; passes all events on to
//! another observer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::build_record::{BuildRecord, StageRecord, StageState};
use crate::cli::report;
use crate::cli::screen::Paint;
use crate::digest::Digest;
use crate::engine::{Event, Observer, Plan};
use crate::pipeline::Color;
use crate::recipe::Key;

/// An observer that records.
pub struct Recorder {
    observer: Arc<dyn Observer>,
    start: Instant,
    /// The same moment, in seconds since 1970.
    began: u64,
    noted: Mutex<Noted>,
}

/// What is known so far.
#[derive(Default)]
struct Noted {
    /// Whether the build has begun.
    begun: bool,
    stages: BTreeMap<String, NotedStage>,
}

/// What is known so far of a stage.
#[derive(Default)]
struct NotedStage {
    state: Option<StageState>,
    reason: Option<String>,
    error: Option<String>,
    key: Option<Key>,
    digest: Option<Digest>,
    /// Since when it runs or is fetched.
    begin: Option<Duration>,
    took: Duration,
}

impl NotedStage {
    /// Notes how it ended at the moment `now`; it took the time from its beginning on.
    fn end(&mut self, state: StageState, now: Duration) {
        self.state = Some(state);
        self.took = self.begin.map_or(Duration::ZERO, |begin| now.saturating_sub(begin));
        self.begin.get_or_insert(now);
    }
}

impl Recorder {
    /// Records a build that begins now, and passes everything on to `observer`.
    pub fn new(observer: Arc<dyn Observer>) -> Recorder {
        let began = SystemTime::now().duration_since(UNIX_EPOCH);
        let began = began.map_or(0, |since| since.as_secs());
        Recorder { observer, start: Instant::now(), began, noted: Mutex::default() }
    }

    /// The record of the build of `plan`, which ends now; `None` if it has not begun.
    pub fn record(&self, plan: &Plan<'_>) -> Option<BuildRecord> {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let stages = plan.nodes().iter().map(|node| {
            let mut inputs: Vec<String> =
                node.inputs.iter().map(|(_, input)| plan.nodes()[input.0].name.clone()).collect();
            inputs.dedup();
            let nothing = NotedStage::default();
            let found = noted.stages.get(&node.name).unwrap_or(&nothing);
            StageRecord {
                stage: node.name.clone(),
                kind: node.kind.to_string(),
                inputs,
                state: found.state.unwrap_or(StageState::NotReached),
                reason: found.reason.clone(),
                error: found.error.clone(),
                key: found.key,
                digest: found.digest,
                begin: thousandths(found.begin.unwrap_or_default()),
                seconds: thousandths(found.took),
            }
        });
        noted.begun.then(|| BuildRecord {
            began: self.began,
            seconds: thousandths(self.start.elapsed()),
            tool: env!("CARGO_PKG_VERSION").to_string(),
            stages: stages.collect(),
        })
    }

    fn note(&self, event: &Event<'_>) {
        let now = self.start.elapsed();
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of = |stage: &str, note: &dyn Fn(&mut NotedStage)| {
            note(noted.stages.entry(stage.to_string()).or_default());
        };
        match event {
            Event::Begin { .. } => noted.begun = true,
            Event::Fetching { stage, .. } => of(stage, &|it| it.begin = Some(now)),
            Event::Started { stage, key, reason } => of(stage, &|it| {
                it.begin = Some(now);
                it.key = Some(**key);
                it.reason = Some(reason.to_string());
            }),
            Event::Cached { stage, key, artifact, .. } => of(stage, &|it| {
                it.end(StageState::Cached, now);
                it.key = Some(**key);
                it.digest = Some(artifact.digest);
            }),
            Event::Done { stage, key, artifact, took, reason, .. } => of(stage, &|it| {
                it.begin.get_or_insert(now.saturating_sub(*took));
                it.end(StageState::Done, now);
                // As it is reported.
                it.took = *took;
                it.key = Some(**key);
                it.digest = Some(artifact.digest);
                it.reason = Some(reason.to_string());
            }),
            Event::Skipped { stage, reason, .. } => of(stage, &|it| {
                it.end(StageState::Skipped, now);
                it.reason = Some(reason.to_string());
            }),
            Event::Failed { stage, error, took } => of(stage, &|it| {
                it.begin.get_or_insert(now.saturating_sub(*took));
                it.end(StageState::Failed, now);
                it.digest = None;
                it.error = Some(report::render(error, Paint(Color::Never)));
            }),
            Event::Progress { .. }
            | Event::WorkKept { .. }
            | Event::Withheld { .. }
            | Event::Warning { .. }
            | Event::Pushing { .. }
            | Event::Pushed { .. }
            | Event::End(_) => {}
        }
    }
}

impl Observer for Recorder {
    fn notify(&self, event: &Event<'_>) {
        self.note(event);
        self.observer.notify(event);
    }
}

/// In seconds, rounded to a millisecond.
fn thousandths(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::plain::Plain;
    use super::super::tests::{Captured, play};
    use super::*;
    use crate::stage::Table;

    const PIPELINE: &str = "[pipeline]\nname = \"p\"\n\
        [stage.rootfs]\nkind = \"bootstrap\"\nsuite = \"trixie\"\n\
        [stage.base]\nkind = \"customise\"\nfrom = \"rootfs\"\nhostname = \"a\"\n\
        [stage.disk]\nkind = \"customise\"\nfrom = \"base\"\nhostname = \"b\"\n\
        [stage.image]\nkind = \"customise\"\nfrom = \"disk\"\nhostname = \"c\"\n\
        [stage.last]\nkind = \"customise\"\nfrom = \"disk\"\nhostname = \"d\"\n";

    #[test]
    fn every_stage_of_the_plan_is_recorded_as_the_events_say() {
        let path = std::path::Path::new("pipelines/p.toml");
        let loaded = crate::pipeline::load(path, PIPELINE, &[], &|_| None, &Table);
        let pipeline = loaded.unwrap_or_else(|faulty| panic!("{faulty}"));
        let plan = Plan::new(&pipeline, &["image".to_string(), "last".to_string()]).unwrap();
        let captured = Captured::default();
        let plain = Plain::new(captured.sink(), Paint(Color::Never));
        let recorder = Recorder::new(Arc::new(plain));
        assert_eq!(recorder.record(&plan), None);
        play(&recorder);
        assert!(captured.text().starts_with("rootfs: cached\n"), "{}", captured.text());
        let record = recorder.record(&plan).unwrap();
        let found: Vec<_> = record
            .stages
            .iter()
            .map(|it| (it.stage.as_str(), it.state, it.reason.as_deref(), it.digest.is_some()))
            .collect();
        assert_eq!(
            found,
            [
                ("rootfs", StageState::Cached, None, true),
                ("base", StageState::Done, Some("package = htop (new)"), true),
                ("disk", StageState::Failed, Some("not built before"), false),
                ("image", StageState::Skipped, Some("disk failed"), false),
                ("last", StageState::NotReached, None, false),
            ]
        );
        let [rootfs, base, disk, image, last] = &record.stages[..] else { panic!() };
        assert_eq!((rootfs.seconds, base.seconds), (0.0, 12.345));
        assert!(base.begin <= record.seconds && last.begin == 0.0);
        assert_eq!((base.kind.as_str(), &base.inputs[..]), ("customise", &["rootfs".into()][..]));
        let error = disk.error.as_deref().unwrap();
        assert!(error.starts_with("error: configuring packages\n"), "{error}");
        assert!(disk.key.is_some() && image.key.is_none());
    }
}
