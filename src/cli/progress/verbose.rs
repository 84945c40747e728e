//! Verbose progress (`--verbose`): the plain lines, and the logs of stages. On a terminal or in a file
//! their lines come as they are written, each behind the name of its stage. A CI service that folds
//! parts of a log gets each as one part when its stage ends, so that those of parallel stages do not
//! mix.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Sink, message_for};
use crate::boot_check::console::plain;
use crate::cli::screen::Paint;
use crate::digest::Digest;
use crate::engine::{Event, Observer};
use crate::threads;

/// How often a log is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// How logs are set apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// By the name of the stage in front of each line.
    Prefixes,
    /// By GitHub's workflow commands.
    GitHub,
    /// By GitLab's section markers.
    GitLab,
}

impl Grouping {
    /// As the CI service that this environment belongs to has it.
    pub fn of(environment: impl Fn(&str) -> Option<String>) -> Grouping {
        let is_set = |name: &str| environment(name).is_some_and(|value| value == "true");
        match (is_set("GITHUB_ACTIONS"), is_set("GITLAB_CI")) {
            (true, _) => Grouping::GitHub,
            (_, true) => Grouping::GitLab,
            _ => Grouping::Prefixes,
        }
    }

    /// The log of a stage as one part that can be folded; `time` is in seconds since 1970.
    fn group(self, stage: &str, lines: &[String], time: u64) -> String {
        let log = lines.join("\n");
        match self {
            Grouping::Prefixes => {
                let lines: Vec<String> = lines.iter().map(|line| prefixed(stage, line)).collect();
                lines.join("\n")
            }
            Grouping::GitHub => {
                // Until this word comes, no line is taken for a command; a log does not have its own
                // digest in it.
                let word = Digest::of(&log);
                format!(
                    "::group::log of {stage}\n::stop-commands::{word}\n{log}\n::{word}::\n::endgroup::"
                )
            }
            Grouping::GitLab => {
                let section = format!("kuth_{}", stage.replace('/', "."));
                format!(
                    "\u{1b}[0Ksection_start:{time}:{section}[collapsed=true]\r\u{1b}[0Klog of \
                     {stage}\n{log}\n\u{1b}[0Ksection_end:{time}:{section}\r\u{1b}[0K"
                )
            }
        }
    }
}

fn prefixed(stage: &str, line: &str) -> String {
    format!("{stage} | {line}")
}

/// The path of the log of a stage.
type Logs = dyn Fn(&str) -> PathBuf + Send + Sync;

/// An observer that writes plain lines and logs.
pub struct Verbose {
    talk: Arc<Sink>,
    paint: Paint,
    grouping: Grouping,
    logs: Box<Logs>,
    running: Mutex<BTreeMap<String, Follower>>,
}

impl Verbose {
    /// Writes to `talk`; `logs` says where the log of a stage is.
    pub fn new(talk: Sink, paint: Paint, grouping: Grouping, logs: Box<Logs>) -> Verbose {
        Verbose { talk: Arc::new(talk), paint, grouping, logs, running: Mutex::default() }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Follower>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, stage: &str) {
        self.end(stage);
        let follower = match self.grouping {
            Grouping::Prefixes => Follower::start(stage, (self.logs)(stage), self.talk.clone()),
            Grouping::GitHub | Grouping::GitLab => Follower::idle(),
        };
        self.running().insert(stage.to_string(), follower);
    }

    /// Writes what is left of the log of a stage that runs.
    fn end(&self, stage: &str) {
        let Some(follower) = self.running().remove(stage) else { return };
        follower.end();
        if self.grouping == Grouping::Prefixes {
            return;
        }
        let lines = lines_of(&(self.logs)(stage));
        if !lines.is_empty() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.map_or(0, |since| since.as_secs());
            self.talk.line(&self.grouping.group(stage, &lines, now));
        }
    }
}

impl Observer for Verbose {
    fn notify(&self, event: &Event<'_>) {
        match event {
            Event::Done { stage, .. }
            | Event::Cached { stage, .. }
            | Event::Failed { stage, .. }
            | Event::Skipped { stage, .. } => self.end(stage),
            _ => {}
        }
        if let Some(text) = message_for(event, self.paint) {
            self.talk.line(&text);
        }
        if let Event::Started { stage, .. } = event {
            self.begin(stage);
        }
    }
}

/// An interrupted build leaves no thread behind.
impl Drop for Verbose {
    fn drop(&mut self) {
        std::mem::take(&mut *self.running()).into_values().for_each(Follower::end);
    }
}

/// A log as lines without control sequences; none if there is no log.
fn lines_of(log: &Path) -> Vec<String> {
    let bytes = std::fs::read(log).unwrap_or_default();
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| plain(line.strip_suffix(b"\n").unwrap_or(line))).collect()
}

/// A thread that writes what comes into a log.
struct Follower {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// One that does nothing.
    fn idle() -> Follower {
        Follower { ends: Arc::default(), thread: None }
    }

    fn start(stage: &str, log: PathBuf, talk: Arc<Sink>) -> Follower {
        let ends = Arc::new(AtomicBool::new(false));
        let (stage, flag) = (stage.to_string(), ends.clone());
        // Where the system has no thread for it, the log is the only place of these lines.
        let thread = threads::detach(move || {
            let (mut file, mut rest) = (None, Vec::new());
            loop {
                // Seen before the log is read, so nothing is missed that was written before.
                let is_last = flag.load(Ordering::SeqCst);
                if file.is_none() {
                    file = File::open(&log).ok();
                }
                if let Some(file) = &mut file {
                    let _ = file.read_to_end(&mut rest);
                }
                let end = match is_last {
                    true => rest.len(),
                    false => rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1),
                };
                let lines: Vec<u8> = rest.drain(..end).collect();
                for line in lines.split_inclusive(|byte| *byte == b'\n') {
                    talk.line(&prefixed(&stage, &plain(line)));
                }
                if is_last {
                    break;
                }
                std::thread::sleep(INTERVAL);
            }
        });
        Follower { ends, thread: thread.ok() }
    }

    /// Waits until all is written.
    fn end(self) {
        self.ends.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread {
            // A thread that panicked has written what it could.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Captured, play};
    use super::*;
    use crate::pipeline::Color;

    fn verbose(captured: &Captured, grouping: Grouping, directory: &Path) -> Verbose {
        let directory = directory.to_path_buf();
        let logs = Box::new(move |stage: &str| directory.join(format!("{stage}.log")));
        Verbose::new(captured.sink(), Paint(Color::Never), grouping, logs)
    }

    #[test]
    fn lines_of_a_log_come_behind_the_name_of_their_stage() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("base.log"), "$ apt\none\r\n\u{1b}[1mtwo").unwrap();
        let captured = Captured::default();
        play(&verbose(&captured, Grouping::Prefixes, directory.path()));
        let expected = "base: started (package = htop (new))\nbase | $ apt\nbase | one\n\
                        base | two\nbase: done in 12.3 s\n";
        assert!(captured.text().contains(expected), "{}", captured.text());
    }

    #[test]
    fn a_log_is_followed_while_it_grows() {
        use std::io::Write;
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("a.log");
        let captured = Captured::default();
        let follower = Follower::start("a", log.clone(), Arc::new(captured.sink()));
        let mut file = File::create(&log).unwrap();
        file.write_all(b"one\nhalf").unwrap();
        let start = std::time::Instant::now();
        while captured.text().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(60), "nothing was written");
            std::thread::sleep(INTERVAL);
        }
        assert_eq!(captured.text(), "a | one\n");
        file.write_all(b" a line\n").unwrap();
        follower.end();
        assert_eq!(captured.text(), "a | one\na | half a line\n");
    }

    #[test]
    fn a_ci_service_gets_a_group_for_each_log() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("base.log"), "$ apt\n::error::no command\n").unwrap();
        let github = Captured::default();
        play(&verbose(&github, Grouping::GitHub, directory.path()));
        let word = Digest::of("$ apt\n::error::no command");
        let expected = format!(
            "::group::log of base\n::stop-commands::{word}\n$ apt\n::error::no command\n\
             ::{word}::\n::endgroup::\nbase: done in 12.3 s\n"
        );
        assert!(github.text().contains(&expected), "{}", github.text());
        // A stage without a log has no group.
        assert_eq!(github.text().matches("::group::").count(), 1);
        let section = Grouping::GitLab.group("nodes/a", &["x".into()], 7);
        let expected = "\u{1b}[0Ksection_start:7:kuth_nodes.a[collapsed=true]\r\u{1b}[0Klog of \
                        nodes/a\nx\n\u{1b}[0Ksection_end:7:kuth_nodes.a\r\u{1b}[0K";
        assert_eq!(section, expected);
    }

    #[test]
    fn the_service_is_known_by_its_environment() {
        for (pairs, grouping) in [
            (&[("GITHUB_ACTIONS", "true")][..], Grouping::GitHub),
            (&[("GITLAB_CI", "true")], Grouping::GitLab),
            (&[("CI", "true")], Grouping::Prefixes),
            (&[("GITHUB_ACTIONS", "false")], Grouping::Prefixes),
        ] {
            let environment = |name: &str| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
            };
            assert_eq!(Grouping::of(environment), grouping, "{pairs:?}");
        }
    }
}
