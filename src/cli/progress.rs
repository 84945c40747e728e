//! Progress of a build: three observers of the engine (bars for a terminal, plain lines for anything
//! else, JSON lines for programs) and the texts they share.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::options::MessageFormat;
use super::report;
use super::screen::{self, Paint};
use crate::engine::{Event, Observer, Summary};
use crate::units;

pub mod bars;
pub mod json;
pub mod plain;
pub mod quiet;
pub mod recorder;
pub mod verbose;
pub mod wire;

/// The output of an observer. Lines of several threads do not mix.
pub struct Sink(Mutex<Box<dyn Write + Send>>);

impl Sink {
    /// Writes to `target`.
    pub fn new(target: impl Write + Send + 'static) -> Sink {
        Sink(Mutex::new(Box::new(target)))
    }

    /// Writes `text` and a line end in one piece. A closed pipe does not stop a build.
    pub fn line(&self, text: &str) {
        let mut target = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = target.write_all(format!("{text}\n").as_bytes());
        let _ = target.flush();
    }
}

/// How much a build says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Failures and warnings.
    Quiet,
    /// What happens to each stage.
    Normal,
    /// The logs of stages too.
    Verbose,
}

/// The observer for this terminal, verbosity and format; only the format for people has several
/// verbosities. `logs` says where the log of a stage is.
pub fn observer_of(
    format: MessageFormat,
    verbosity: Verbosity,
    logs: impl Fn(&str) -> PathBuf + Send + Sync + 'static,
) -> Arc<dyn Observer> {
    let talk = || Sink::new(std::io::stderr());
    match (format, verbosity) {
        (MessageFormat::Human, Verbosity::Quiet) => {
            Arc::new(quiet::Quiet::new(talk(), screen::paint()))
        }
        (MessageFormat::Human, Verbosity::Verbose) => {
            let grouping = verbose::Grouping::of(|name| std::env::var(name).ok());
            Arc::new(verbose::Verbose::new(talk(), screen::paint(), grouping, Box::new(logs)))
        }
        _ => observer(format),
    }
}

/// The observer for this terminal and format.
pub fn observer(format: MessageFormat) -> Arc<dyn Observer> {
    match format {
        MessageFormat::Json => {
            let (data, talk) = (Sink::new(std::io::stdout()), Sink::new(std::io::stderr()));
            Arc::new(json::Json::new(data, talk, screen::paint()))
        }
        MessageFormat::Wire => Arc::new(wire::Wire::to_stdout()),
        MessageFormat::Human if screen::can_draw() => Arc::new(bars::Bars::new(
            Sink::new(std::io::stderr()),
            screen::paint(),
            indicatif::ProgressDrawTarget::stderr(),
        )),
        MessageFormat::Human => {
            Arc::new(plain::Plain::new(Sink::new(std::io::stderr()), screen::paint()))
        }
    }
}

/// The message for an event; `None` for events without one.
fn message_for(event: &Event<'_>, paint: Paint) -> Option<String> {
    Some(match event {
        Event::Begin { .. }
        | Event::Progress { .. }
        | Event::WorkKept { .. }
        | Event::Pushing { .. } => return None,
        Event::Fetching { stage, size } => {
            format!("{stage}: pulling {}", units::Human(*size))
        }
        Event::Withheld { stage } => {
            format!("{stage}: not pushed, it contains a secret")
        }
        Event::Warning { text } => {
            format!("{} {}", paint.yellow("warning:"), screen::escaped(text))
        }
        Event::Pushed { results, bytes, to } => {
            let results = match results {
                1 => "1 result".to_string(),
                count => format!("{count} results"),
            };
            format!("{results} pushed to {to}, {} sent", units::Human(*bytes))
        }
        Event::Cached { stage, .. } => format!("{stage}: {}", paint.dim("cached")),
        Event::Started { stage, reason, .. } => {
            format!("{stage}: {} ({reason})", paint.yellow("started"))
        }
        Event::Done { stage, took, .. } => {
            format!("{stage}: {} in {}", paint.green("done"), seconds(*took))
        }
        Event::Skipped { stage, reason, .. } => {
            format!("{stage}: {} ({reason})", paint.yellow("skipped"))
        }
        Event::Failed { stage, error, took } => {
            let failed = format!("{stage}: {} after {}", paint.red("failed"), seconds(*took));
            format!("{failed}\n{}", report::render(error, paint))
        }
        Event::End(summary) => summary_line(summary),
    })
}

fn seconds(took: Duration) -> String {
    crate::engine::seconds(took)
}

/// `12 stages, 12 cached`, `8 stages: 3 run, 5 cached, in 61.2 s`.
fn summary_line(summary: &Summary) -> String {
    let stages = match summary.stages {
        1 => "1 stage".to_string(),
        count => format!("{count} stages"),
    };
    if summary.cached == summary.stages {
        return format!("{stages}, {} cached", summary.cached);
    }
    let counts = [
        (summary.run, "run"),
        (summary.cached, "cached"),
        (summary.failed, "failed"),
        (summary.skipped, "skipped"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    format!("{stages}: {}, in {:.1} s", counts.join(", "), summary.seconds)
}

/// Records the paths of results, and of work directories that were kept; passes all events on to
/// another observer.
pub struct ResultPaths {
    observer: Arc<dyn Observer>,
    paths: Mutex<Vec<(String, PathBuf)>>,
    kept: Mutex<Vec<PathBuf>>,
}

impl ResultPaths {
    /// Passes everything on to `observer`.
    pub fn new(observer: Arc<dyn Observer>) -> ResultPaths {
        ResultPaths { observer, paths: Mutex::default(), kept: Mutex::default() }
    }

    /// The work directories of failed stages that were kept, in the order of the failures.
    pub fn kept(&self) -> Vec<PathBuf> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stages and the paths of their results, in the order in which they finished.
    pub fn recorded(&self) -> Vec<(String, PathBuf)> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for ResultPaths {
    fn notify(&self, event: &Event<'_>) {
        let result = match event {
            Event::Cached { stage, path: Some(path), .. } | Event::Done { stage, path, .. } => {
                Some((stage, path))
            }
            Event::Skipped { stage, path: Some(path), .. } => Some((stage, path)),
            _ => None,
        };
        if let Some((stage, path)) = result {
            let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
            paths.push((stage.to_string(), path.clone()));
        }
        if let Event::WorkKept { directory, .. } = event {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push(directory.to_path_buf());
        }
        self.observer.notify(event);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::artifact::{Artifact, ArtifactKind, Hashing};
    use crate::digest::Digest;
    use crate::error::{Error, anyhow, with_hint};
    use crate::process::CommandFailed;
    use crate::recipe::Key;

    /// Captures what an observer writes.
    #[derive(Clone, Default)]
    pub struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Captured {
        pub fn sink(&self) -> Sink {
            Sink::new(self.clone())
        }
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn failure() -> Error {
        let failed = CommandFailed {
            command: "dpkg --configure -a".into(),
            status: "exit status 1".into(),
            tail: vec!["dpkg: broken".into()],
            log: "/cache/logs/p/base.log".into(),
        };
        with_hint(Error::new(failed).context("configuring packages"), "look at the log")
    }

    /// A build in which each event happens once.
    pub fn play(observer: &dyn Observer) {
        let names = ["rootfs", "base", "disk", "image", "nodes/a"].map(str::to_string);
        let key = Key(Digest::of("key"));
        let artifact = Artifact {
            kind: ArtifactKind::Tree,
            hashing: Hashing::Plain,
            digest: Digest::of("bytes"),
            size: 5,
            facts: Default::default(),
        };
        let (artifact, key) = (&artifact, &key);
        let took = Duration::from_millis(12_345);
        let reason = "package = htop (new)";
        observer.notify(&Event::Begin { stages: &names });
        let path = PathBuf::from("/cache/objects/aa");
        observer.notify(&Event::Cached {
            stage: "rootfs",
            key,
            artifact,
            path: Some(path.clone()),
        });
        observer.notify(&Event::Started { stage: "base", key, reason });
        observer.notify(&Event::Progress { stage: "base", done: 1, total: 3, what: "unpacking" });
        observer.notify(&Event::Progress {
            stage: "base",
            done: 1 << 20,
            total: 3 << 20,
            what: "B",
        });
        observer.notify(&Event::Done { stage: "base", key, artifact, path, took, reason });
        observer.notify(&Event::Started { stage: "disk", key, reason: "not built before" });
        let error = failure();
        observer.notify(&Event::Failed { stage: "disk", error: &error, took });
        observer.notify(&Event::Skipped { stage: "image", reason: "disk failed", path: None });
        let path = Some(PathBuf::from("/machines/a"));
        observer.notify(&Event::Skipped { stage: "nodes/a", reason: "it was started", path });
        observer.notify(&Event::End(Summary {
            stages: 5,
            cached: 1,
            run: 1,
            failed: 1,
            skipped: 2,
            seconds: 24.69,
        }));
    }

    #[test]
    fn the_summary_counts_outcomes_that_occurred() {
        let summary = |stages, cached, run, failed, skipped| {
            summary_line(&Summary { stages, cached, run, failed, skipped, seconds: 61.23 })
        };
        assert_eq!(summary(12, 12, 0, 0, 0), "12 stages, 12 cached");
        assert_eq!(summary(1, 1, 0, 0, 0), "1 stage, 1 cached");
        assert_eq!(summary(8, 5, 3, 0, 0), "8 stages: 3 run, 5 cached, in 61.2 s");
        assert_eq!(
            summary(8, 1, 3, 1, 3),
            "8 stages: 3 run, 1 cached, 1 failed, 3 skipped, in 61.2 s"
        );
    }

    #[test]
    fn result_paths_are_recorded() {
        let paths = ResultPaths::new(Arc::new(plain::Plain::new(
            Captured::default().sink(),
            Paint(crate::pipeline::Color::Never),
        )));
        play(&paths);
        let stages: Vec<String> = paths.recorded().into_iter().map(|(stage, _)| stage).collect();
        assert_eq!(stages, ["rootfs", "base", "nodes/a"]);
        assert_eq!(paths.kept(), Vec::<PathBuf>::new());
        let directory = std::path::Path::new("/cache/work/a");
        paths.notify(&Event::WorkKept { stage: "disk", directory });
        assert_eq!(paths.kept(), [directory]);
    }

    #[test]
    fn an_error_of_one_line_stays_one_line() {
        let text = message_for(
            &Event::Failed { stage: "x", error: &anyhow!("no"), took: Duration::ZERO },
            Paint(crate::pipeline::Color::Never),
        );
        assert_eq!(text.unwrap(), "x: failed after 0.0 s\nerror: no");
    }
}
