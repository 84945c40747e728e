//! JSON lines: one object per line, for programs. The names of fields and states are stable; fields
//! that do not apply are omitted. Failures and warnings are also written as messages for people.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Sink, message_for};
use crate::cli::report;
use crate::cli::screen::Paint;
use crate::engine::{Event, Observer};
use crate::recipe::Key;

/// An observer that writes JSON lines.
pub struct Json {
    data: Sink,
    talk: Sink,
    paint: Paint,
    /// The keys of stages that were started, for those that fail.
    keys: Mutex<BTreeMap<String, Key>>,
}

impl Json {
    /// Writes objects to `data`, failures and warnings to `talk`.
    pub fn new(data: Sink, talk: Sink, paint: Paint) -> Json {
        Json { data, talk, paint, keys: Mutex::default() }
    }

    fn object(&self, event: &Event<'_>) -> Option<Value> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        Some(match event {
            Event::Begin { .. }
            | Event::Progress { .. }
            | Event::Fetching { .. }
            | Event::WorkKept { .. }
            | Event::Withheld { .. }
            | Event::Warning { .. }
            | Event::Pushing { .. }
            | Event::Pushed { .. } => return None,
            Event::Cached { stage, key, artifact, path } => {
                let line = Line::new(stage, "cached").with("key", key);
                let line = line.with("digest", artifact.digest);
                match path {
                    Some(path) => line.path(path).end(),
                    None => line.end(),
                }
            }
            Event::Started { stage, key, reason } => {
                keys.insert(stage.to_string(), **key);
                Line::new(stage, "started").with("key", key).with("reason", reason).end()
            }
            Event::Done { stage, key, artifact, path, took, reason } => Line::new(stage, "done")
                .with("key", key)
                .with("digest", artifact.digest)
                .path(path)
                .seconds(*took)
                .with("reason", reason)
                .end(),
            Event::Failed { stage, error, took } => {
                let line = Line::new(stage, "failed");
                let line = match keys.get(*stage) {
                    Some(key) => line.with("key", key),
                    None => line,
                };
                line.seconds(*took).with("reason", report::line(error)).end()
            }
            Event::Skipped { stage, reason, path } => {
                let line = Line::new(stage, "skipped");
                let line = match path {
                    Some(path) => line.path(path),
                    None => line,
                };
                line.with("reason", reason).end()
            }
            Event::End(summary) => json!({
                "event": "summary",
                "stages": summary.stages,
                "cached": summary.cached,
                "run": summary.run,
                "failed": summary.failed,
                "seconds": thousandths(summary.seconds),
            }),
        })
    }
}

impl Observer for Json {
    fn notify(&self, event: &Event<'_>) {
        if let Some(object) = self.object(event) {
            self.data.line(&object.to_string());
        }
        if let Event::Failed { .. }
        | Event::Withheld { .. }
        | Event::Warning { .. }
        | Event::Pushed { .. } = event
            && let Some(text) = message_for(event, self.paint)
        {
            self.talk.line(&text);
        }
    }
}

/// The object of a stage, in the order of its fields.
struct Line(Map<String, Value>);

impl Line {
    fn new(stage: &str, state: &str) -> Line {
        Line(Map::new()).with("event", "stage").with("stage", stage).with("state", state)
    }

    fn with(mut self, name: &str, value: impl std::fmt::Display) -> Line {
        self.0.insert(name.to_string(), value.to_string().into());
        self
    }

    fn path(self, path: &Path) -> Line {
        self.with("path", path.display())
    }

    fn seconds(mut self, took: Duration) -> Line {
        self.0.insert("seconds".to_string(), thousandths(took.as_secs_f64()).into());
        self
    }

    fn end(self) -> Value {
        Value::Object(self.0)
    }
}

fn thousandths(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Captured, play};
    use super::*;
    use crate::digest::Digest;
    use crate::pipeline::Color;

    #[test]
    fn every_line_is_one_object_with_the_documented_fields() {
        let (data, talk) = (Captured::default(), Captured::default());
        play(&Json::new(data.sink(), talk.sink(), Paint(Color::Never)));
        let (key, digest) = (Digest::of("key"), Digest::of("bytes"));
        let expected = [
            format!(
                r#"{{"event":"stage","stage":"rootfs","state":"cached","key":"{key}","digest":"{digest}","path":"/cache/objects/aa"}}"#
            ),
            format!(
                r#"{{"event":"stage","stage":"base","state":"started","key":"{key}","reason":"package = htop (new)"}}"#
            ),
            format!(
                r#"{{"event":"stage","stage":"base","state":"done","key":"{key}","digest":"{digest}","path":"/cache/objects/aa","seconds":12.345,"reason":"package = htop (new)"}}"#
            ),
            format!(
                r#"{{"event":"stage","stage":"disk","state":"started","key":"{key}","reason":"not built before"}}"#
            ),
            format!(
                r#"{{"event":"stage","stage":"disk","state":"failed","key":"{key}","seconds":12.345,"reason":"configuring packages: a command failed: exit status 1"}}"#
            ),
            r#"{"event":"stage","stage":"image","state":"skipped","reason":"disk failed"}"#.into(),
            r#"{"event":"stage","stage":"nodes/a","state":"skipped","path":"/machines/a","reason":"it was started"}"#.into(),
            r#"{"event":"summary","stages":5,"cached":1,"run":1,"failed":1,"seconds":24.69}"#.into(),
        ];
        assert_eq!(data.text().lines().collect::<Vec<_>>(), expected);
        assert!(talk.text().starts_with("disk: failed after 12.3 s\nerror: configuring"));
    }
}
