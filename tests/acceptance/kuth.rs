//! Runs kuth on a project of the test's own, and reads what it tells.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group};
use serde_json::Value;

/// Longer than anything here takes, so that a build that hangs is an error and not a mystery.
const LIMIT: Duration = Duration::from_secs(1200);

/// A directory with `pipelines/` and `data/`, and where kuth keeps what it makes of them.
#[derive(Debug)]
pub struct Project {
    /// The checkout.
    pub root: PathBuf,
    /// `KUTH_CACHE`.
    pub cache: PathBuf,
    /// `KUTH_MACHINES`.
    pub machines: PathBuf,
    /// A command line that kuth is started through, such as one that drops privileges.
    through: Vec<OsString>,
    /// The program.
    pub program: PathBuf,
    directory: Option<tempfile::TempDir>,
}

impl Project {
    /// A project in `directory`, which nobody removes.
    pub fn at(directory: &Path) -> Project {
        Project {
            root: directory.join("project"),
            cache: directory.join("cache"),
            machines: directory.join("machines"),
            through: Vec::new(),
            program: env!("CARGO_BIN_EXE_kuth").into(),
            directory: None,
        }
    }

    /// A project in a directory that goes with it, unless the test fails.
    pub fn within(directory: tempfile::TempDir) -> Project {
        let mut project = Project::at(directory.path());
        project.directory = Some(directory);
        project
    }

    /// The same project, with kuth started through another command.
    pub fn through(&self, words: &[&str]) -> Project {
        Project {
            root: self.root.clone(),
            cache: self.cache.clone(),
            machines: self.machines.clone(),
            through: words.iter().map(OsString::from).collect(),
            program: self.program.clone(),
            directory: None,
        }
    }

    /// `out/`.
    pub fn output(&self) -> PathBuf {
        self.root.join("out")
    }

    /// Writes a file of the project.
    pub fn write(&self, path: &str, text: &str) {
        std::fs::write(self.root.join(path), text).unwrap();
    }

    /// Changes a file of the project; what is replaced must be there.
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.root.join(path)).unwrap();
        assert!(text.contains(from), "{path} has no {from:?}");
        self.write(path, &text.replace(from, to));
    }

    /// The command, with no variables of kuth but those that say where the packages come from.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut words = self.through.clone();
        words.push(self.program.clone().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(args).current_dir(&self.root);
        for name in ["KUTH_VBOXMANAGE", "SOURCE_DATE_EPOCH", "XDG_DATA_HOME"] {
            command.env_remove(name);
        }
        command.env("KUTH_CACHE", &self.cache).env("KUTH_MACHINES", &self.machines);
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// Runs any subcommand to its end.
    pub fn run(&self, args: &[&str]) -> Run {
        Live::start(self.command(args)).finish()
    }

    /// `kuth build`, told as JSON.
    pub fn build(&self, args: &[&str]) -> Run {
        self.begin(args).finish()
    }

    /// Starts `kuth build`, told as JSON.
    pub fn begin(&self, args: &[&str]) -> Live {
        Live::start(self.command(&build(args)))
    }

    /// `kuth plan`, told as JSON.
    pub fn plan(&self, args: &[&str]) -> Run {
        let mut words = vec!["plan", "--message-format", "json"];
        words.extend(args);
        self.run(&words).ok()
    }

    /// The artifact of a stage, as `kuth path` has it.
    pub fn path(&self, pipeline: &str, stage: &str) -> PathBuf {
        self.run(&["path", pipeline, stage]).ok().out.trim_end().into()
    }

    /// The log of a stage.
    pub fn log(&self, pipeline: &str, stage: &str) -> String {
        let log = self.cache.join(format!("logs/{pipeline}/{stage}.log"));
        std::fs::read_to_string(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display()))
    }

    /// What lies in the cache's directory of scratch directories.
    pub fn scratch(&self) -> Vec<OsString> {
        let entries = std::fs::read_dir(self.cache.join("work")).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    }

    /// `kuth cache verify` finds nothing, and nothing lies about.
    pub fn assert_clean(&self) {
        let verified = self.run(&["cache", "verify"]).ok();
        assert!(verified.out.is_empty() && verified.err.contains(" 0 faulty"), "{verified:?}");
        assert_eq!(self.scratch(), Vec::<OsString>::new(), "scratch directories are left");
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if let Some(directory) = self.directory.take().filter(|_| std::thread::panicking()) {
            eprintln!("left to look at: {}", directory.keep().display());
        }
    }
}

/// The words of `kuth build` before those of the caller.
pub fn build<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["build", "--message-format", "json"];
    words.extend(args);
    words
}

/// A kuth that ended.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its exit status; -1 after a signal.
    pub status: i32,
    /// Its standard output, the same line by line as JSON where it is JSON, and its talk.
    pub out: String,
    pub events: Vec<Value>,
    pub err: String,
    /// Processor time, its own without that of commands, to 10 ms.
    pub cpu: Duration,
    /// From start to end.
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

    /// Takes up what an earlier run wrote.
    pub fn of_output(out: String) -> Run {
        let events = out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let (cpu, wall) = Default::default();
        Run { status: 0, out, events, err: String::new(), cpu, wall }
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

    /// Waits until it tells that a stage began; panics when it ends before.
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
