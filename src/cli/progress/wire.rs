//! The events that kuth on a build host sends to the kuth that requested the build: the JSON lines,
//! and in addition the events that they omit. [`replay`] reads them. Both ends have the same version,
//! so the fields are not stable.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Sink, json::Json};
use crate::artifact::{Artifact, ArtifactKind, Hashing};
use crate::cli::screen::Paint;
use crate::digest::Digest;
use crate::engine::{Event, Observer, Summary};
use crate::error::{Error, anyhow, caused_by, hints, with_hint};
use crate::pipeline::Color;
use crate::process::CommandFailed;
use crate::recipe::Key;
use crate::units::Bytes;

/// The shortest interval between two progress events of a stage.
const INTERVAL: Duration = Duration::from_millis(200);

/// An observer that sends all events as JSON lines.
pub struct Wire {
    lines: Json,
    data: Sink,
    /// When the progress of each stage was sent last.
    sent: Mutex<BTreeMap<String, Instant>>,
}

impl Wire {
    /// An observer that writes to standard output.
    pub fn to_stdout() -> Wire {
        let nothing = Sink::new(std::io::sink());
        let lines = Json::new(Sink::new(std::io::stdout()), nothing, Paint(Color::Never));
        Wire { lines, data: Sink::new(std::io::stdout()), sent: Mutex::default() }
    }

    /// Whether the progress of `stage` is due again.
    fn is_due(&self, stage: &str) -> bool {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let due = sent.get(stage).is_none_or(|last| last.elapsed() >= INTERVAL);
        if due {
            sent.insert(stage.to_string(), Instant::now());
        }
        due
    }
}

impl Observer for Wire {
    fn notify(&self, event: &Event<'_>) {
        let more = match event {
            Event::Begin { stages } => json!({"event": "begin", "stages": stages}),
            Event::Progress { stage, done, total, what } if self.is_due(stage) => json!({
                "event": "progress", "stage": stage, "done": done, "total": total, "what": what,
            }),
            Event::Progress { .. } => return,
            Event::Fetching { stage, size } => {
                json!({"event": "fetching", "stage": stage, "size": size.0})
            }
            Event::Withheld { stage } => json!({"event": "withheld", "stage": stage}),
            Event::Warning { text } => json!({"event": "warning", "text": text}),
            Event::Pushing { bytes } => json!({"event": "pushing", "bytes": bytes.0}),
            Event::Pushed { results, bytes, to } => json!({
                "event": "pushed", "results": results, "bytes": bytes.0, "to": to,
            }),
            Event::Failed { stage, error, took } => json!({
                "event": "failure",
                "stage": stage,
                "seconds": took.as_secs_f64(),
                "error": write_error(error),
            }),
            Event::End(summary) => json!({
                "event": "end",
                "stages": summary.stages,
                "cached": summary.cached,
                "run": summary.run,
                "failed": summary.failed,
                "skipped": summary.skipped,
                "seconds": summary.seconds,
            }),
            event => return self.lines.notify(event),
        };
        self.data.line(&more.to_string());
    }
}

/// An error as JSON: its chain, its hints, and its failed command.
pub fn write_error(error: &Error) -> Value {
    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    let command = caused_by::<CommandFailed>(error).map(|failed| {
        let CommandFailed { command, status, tail, log } = failed;
        json!({"command": command, "status": status, "tail": tail, "log": log})
    });
    json!({"chain": chain, "hints": hints(error), "command": command})
}

/// Reads the error that [`write_error`] wrote.
pub fn read_error(value: &Value) -> Error {
    let texts = |value: &Value| {
        let texts = value.as_array().into_iter().flatten();
        texts.filter_map(|text| text.as_str().map(str::to_string)).collect::<Vec<_>>()
    };
    let mut chain = texts(&value["chain"]).into_iter().rev();
    let cause = chain
        .next()
        .unwrap_or_else(|| "the build host sent an error without a message".to_string());
    let command = &value["command"];
    let text = |name: &str| command[name].as_str().unwrap_or_default().to_string();
    let cause = match command.is_object() {
        true => Error::new(CommandFailed {
            command: text("command"),
            status: text("status"),
            tail: texts(&command["tail"]),
            log: text("log").into(),
        }),
        false => anyhow!(cause),
    };
    let error = chain.fold(cause, |error, text| error.context(text));
    texts(&value["hints"]).into_iter().rev().fold(error, with_hint)
}

/// Passes the event of a line on to `observer`. `place` maps a stage and a path on the build host to
/// the path here.
pub fn replay(line: &Value, observer: &dyn Observer, place: &dyn Fn(&str, &str) -> String) {
    let text = |name: &str| line[name].as_str().unwrap_or_default();
    let number = |name: &str| line[name].as_u64().unwrap_or_default();
    let count = |name: &str| usize::try_from(number(name)).unwrap_or_default();
    let took = Duration::try_from_secs_f64(line["seconds"].as_f64().unwrap_or_default());
    let took = took.unwrap_or_default();
    let stage = text("stage");
    let reason = text("reason");
    let digest = |name: &str| text(name).parse().unwrap_or_else(|_| Digest::of(""));
    let key = &Key(digest("key"));
    // Observers use nothing of an artifact but its digest.
    let artifact = &Artifact {
        kind: ArtifactKind::File,
        hashing: Hashing::Plain,
        digest: digest("digest"),
        size: 0,
        facts: Default::default(),
    };
    let path = || line["path"].as_str().map(|path| place(stage, path).into());
    match (text("event"), text("state")) {
        ("begin", _) => {
            let stages = line["stages"].as_array().into_iter().flatten();
            let stages: Vec<String> =
                stages.filter_map(|stage| stage.as_str().map(str::to_string)).collect();
            observer.notify(&Event::Begin { stages: &stages });
        }
        ("progress", _) => {
            let (done, total, what) = (number("done"), number("total"), text("what"));
            observer.notify(&Event::Progress { stage, done, total, what });
        }
        ("fetching", _) => {
            observer.notify(&Event::Fetching { stage, size: Bytes(number("size")) });
        }
        ("withheld", _) => observer.notify(&Event::Withheld { stage }),
        ("warning", _) => observer.notify(&Event::Warning { text: text("text") }),
        ("pushing", _) => observer.notify(&Event::Pushing { bytes: Bytes(number("bytes")) }),
        ("pushed", _) => observer.notify(&Event::Pushed {
            results: count("results"),
            bytes: Bytes(number("bytes")),
            to: text("to"),
        }),
        ("failure", _) => {
            let error = read_error(&line["error"]);
            observer.notify(&Event::Failed { stage, error: &error, took });
        }
        ("stage", "cached") => {
            observer.notify(&Event::Cached { stage, key, artifact, path: path() });
        }
        ("stage", "started") => observer.notify(&Event::Started { stage, key, reason }),
        ("stage", "done") => {
            let path = path().unwrap_or_default();
            observer.notify(&Event::Done { stage, key, artifact, path, took, reason });
        }
        ("stage", "skipped") => observer.notify(&Event::Skipped { stage, reason, path: path() }),
        ("end", _) => observer.notify(&Event::End(Summary {
            stages: count("stages"),
            cached: count("cached"),
            run: count("run"),
            failed: count("failed"),
            skipped: count("skipped"),
            seconds: line["seconds"].as_f64().unwrap_or_default(),
        })),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Captured, play};
    use super::*;
    use crate::cli::progress::plain::Plain;

    #[test]
    fn replayed_events_are_those_that_were_sent() {
        let (wire, again) = (Captured::default(), Captured::default());
        let lines = Json::new(wire.sink(), Captured::default().sink(), Paint(Color::Never));
        play(&Wire { lines, data: wire.sink(), sent: Mutex::default() });
        let observer = Plain::new(again.sink(), Paint(Color::Never));
        for line in wire.text().lines() {
            let line = serde_json::from_str(line).unwrap();
            replay(&line, &observer, &|_, path| format!("there:{path}"));
        }
        let here = Captured::default();
        play(&Plain::new(here.sink(), Paint(Color::Never)));
        assert_eq!(again.text(), here.text());
    }
}
