//! A command that ran, above all kuth, and what it said; and a kuth that still runs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group};
use serde_json::Value;

/// Longer than anything here takes, so that a build that hangs is an error and not a mystery.
const LIMIT: Duration = Duration::from_secs(1200);

/// A command that ended.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its exit status; -1 after a signal.
    pub status: i32,
    /// Its standard output.
    pub out: String,
    /// The lines of its standard output that are JSON objects.
    pub events: Vec<Value>,
    /// Its standard error.
    pub err: String,
    /// Processor time of kuth itself without that of its commands, to 10 ms; zero unless it was [`Live`].
    pub cpu: Duration,
    /// From start to end; zero unless it was [`Live`].
    pub wall: Duration,
}

impl Run {
    /// What ended with status 0.
    pub fn ok(self) -> Run {
        self.ended(0)
    }

    /// What ended with this status.
    pub fn ended(self, status: i32) -> Run {
        assert_eq!(self.status, status, "{}\n{}", self.out, self.err);
        self
    }

    /// It failed with status 1 and one error that has all of `parts`.
    pub fn refused(self, parts: &[&str]) {
        assert_eq!(self.status, 1, "{}{}", self.out, self.err);
        let errors = self.err.lines().filter(|line| line.starts_with("error:"));
        assert_eq!(errors.count(), 1, "{}", self.err);
        for part in parts {
            assert!(self.err.contains(part), "{part}: {}", self.err);
        }
    }

    /// Runs a command to its end, without input.
    pub fn to_end(command: &mut Command) -> Run {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Run::of_child(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Waits for a command whose standard output and error are pipes.
    pub fn of_child(child: Child) -> Run {
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let status = output.status.code().unwrap_or(-1);
        Run { status, err: text(output.stderr), ..Run::of_output(text(output.stdout)) }
    }

    /// One that went well, of what an earlier one wrote to its standard output.
    pub fn of_output(out: String) -> Run {
        let events = out.lines().filter_map(|line| serde_json::from_str(line).ok());
        let events = events.filter(Value::is_object).collect();
        let (cpu, wall) = Default::default();
        Run { status: 0, out, events, err: String::new(), cpu, wall }
    }

    /// The last event of a build, with its counts.
    pub fn summary(&self) -> &Value {
        let summary = self.events.iter().find(|event| event["event"] == "summary");
        summary.unwrap_or_else(|| panic!("no summary: {}\n{}", self.out, self.err))
    }

    /// A count of the summary.
    pub fn count(&self, name: &str) -> u64 {
        self.summary()[name].as_u64().unwrap()
    }

    /// The digest of a stage's result.
    pub fn digest(&self, stage: &str) -> &str {
        let is_it = |event: &&Value| event["stage"] == stage && event["digest"].is_string();
        let event = self.events.iter().rfind(is_it);
        event.unwrap_or_else(|| panic!("{stage}: {}", self.out))["digest"].as_str().unwrap()
    }

    fn last(&self, stage: &str) -> &Value {
        let last = self.events.iter().rfind(|event| event["stage"] == stage);
        last.unwrap_or_else(|| panic!("nothing of {stage}: {self:?}"))
    }

    /// A field of the last event of a stage.
    pub fn of(&self, stage: &str, field: &str) -> &str {
        let value = self.last(stage)[field].as_str();
        value.unwrap_or_else(|| panic!("no {field} of {stage}: {self:?}"))
    }

    /// The last state of each stage.
    pub fn states(&self) -> BTreeMap<&str, &str> {
        let stages = self.events.iter().filter(|event| event["stage"].is_string());
        stages
            .map(|event| (event["stage"].as_str().unwrap(), event["state"].as_str().unwrap()))
            .collect()
    }

    /// The stages in this state, joined by spaces, sorted.
    pub fn those(&self, state: &str) -> String {
        let states = self.states();
        let found: Vec<_> = states.iter().filter(|(_, s)| **s == state).map(|(n, _)| *n).collect();
        found.join(" ")
    }

    /// Every stage was in this state.
    pub fn assert_all(&self, state: &str) {
        let others: Vec<_> = self.states().into_iter().filter(|(_, s)| *s != state).collect();
        assert!(!self.states().is_empty() && others.is_empty(), "{others:?}\n{}", self.out);
    }
}

/// A kuth that runs, in a process group of its own.
#[derive(Debug)]
pub struct Live {
    child: Child,
    start: Instant,
    lines: Receiver<String>,
    seen: Vec<String>,
    err: JoinHandle<String>,
}

impl Live {
    /// Starts it.
    pub fn start(mut command: Command) -> Live {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let start = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = channel();
        let (out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let err = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = err.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Live { child, start, lines, seen: Vec::new(), err }
    }

    /// Its process, which is its group too.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Waits until it reports that a stage began; panics when it ends before.
    pub fn wait_for(&mut self, stage: &str, state: &str) {
        loop {
            let line = match self.lines.recv_timeout(LIMIT) {
                Ok(line) => line,
                Err(error) => panic!("{stage} is not {state} ({error}): {:#?}", self.seen),
            };
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            self.seen.push(line);
            if event["stage"] == stage && event["state"] == state {
                return;
            }
        }
    }

    /// Waits until `what` is so while kuth runs; panics when it ends before.
    pub fn wait_until(&mut self, what: &str, is_so: impl Fn() -> bool) {
        while !is_so() {
            while let Ok(line) = self.lines.try_recv() {
                self.seen.push(line);
            }
            let pid = Pid::from_raw(self.pid()).unwrap();
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
            let ended = rustix::process::waitid(WaitId::Pid(pid), look).unwrap().is_some();
            assert!(!ended, "kuth ended before this was so: {what}: {:#?}", self.seen);
            assert!(self.start.elapsed() < LIMIT, "never: {what}: {:#?}", self.seen);
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// SIGKILL to kuth alone.
    pub fn kill(&self) {
        let pid = Pid::from_raw(self.pid()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    }

    /// What Ctrl-C does.
    pub fn interrupt(&self) {
        kill_process_group(Pid::from_raw(self.pid()).unwrap(), Signal::INT).unwrap();
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Run {
        loop {
            match self.lines.recv_timeout(LIMIT.saturating_sub(self.start.elapsed())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.kill();
                    panic!("still running after {LIMIT:?}: {:#?}", self.seen);
                }
            }
        }
        let pid = Pid::from_raw(self.pid()).unwrap();
        rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            .unwrap();
        let (wall, cpu) = (self.start.elapsed(), crate::processes::cpu(self.pid()));
        let status = self.child.wait().unwrap().code().unwrap_or(-1);
        let out: String = self.seen.iter().map(|line| format!("{line}\n")).collect();
        let err = self.err.join().unwrap();
        Run { status, err, cpu, wall, ..Run::of_output(out) }
    }
}
