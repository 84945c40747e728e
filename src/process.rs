//! Runs commands; no other module starts processes on the host. A command has a clean environment, its
//! standard error goes to a log, it is killed when kuth ends, and its failure shows how to repeat it.
//! Knows nothing of what the commands do.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::cancel::Cancel;
use crate::error::{Context, Error, Interrupted, Result};
use crate::threads;

mod failure;
pub mod start;

use failure::{AT_LIMIT, read_tail};
pub use failure::{CommandFailed, ending};

/// How long a process group may take to end after SIGTERM before it gets SIGKILL.
const GRACE: Duration = Duration::from_millis(300);

/// The interval at which a wait for a command checks for cancellation.
const CHECK_INTERVAL: Option<&Timespec> = Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 });

/// A command to run: `program` and arguments, with only the environment given here.
#[derive(Clone, Debug)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: Option<PathBuf>,
    input: Vec<u8>,
    limit: Option<Duration>,
}

impl Command {
    /// The variables that `new` sets.
    const FIXED: usize = 3;

    /// A command, given by path or by name. A name is searched in `PATH` and the system directories.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: vec![
                ("PATH".into(), search_path()),
                ("LC_ALL".into(), "C.UTF-8".into()),
                ("TZ".into(), "UTC".into()),
            ],
            cwd: None,
            input: Vec::new(),
            limit: None,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Command {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Command {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable. Only `PATH`, `LC_ALL=C.UTF-8` and `TZ=UTC` are set already.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Command {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Passes these variables on from kuth's environment. A name that ends in `*` is a prefix.
    pub fn inherit(mut self, names: &[&str]) -> Command {
        let wanted = |name: &OsStr| {
            let name = name.to_string_lossy();
            names.iter().any(|wanted| match wanted.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => name == *wanted,
            })
        };
        self.env.extend(std::env::vars_os().filter(|(name, _)| wanted(name)));
        self
    }

    /// Runs in `directory`.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Command {
        self.cwd = Some(directory.into());
        self
    }

    /// Writes `bytes` (less than the 64 KiB of a pipe) to its standard input, which is empty otherwise.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Command {
        self.input = bytes.into();
        self
    }

    /// Kills it after `limit`.
    pub fn time_limit(mut self, limit: Duration) -> Command {
        self.limit = Some(limit);
        self
    }

    /// Runs it with standard error in `log`, and returns its standard output. Fails unless the exit
    /// status is 0.
    pub fn run(&self, log: &Path, cancel: &Cancel) -> Result<Vec<u8>> {
        let mut output = Vec::new();
        self.watch(log, cancel, |bytes| output.extend_from_slice(bytes))?;
        Ok(output)
    }

    /// Like [`Command::run`], with the last lines of its standard error, which is in `log` too.
    pub fn run_with_tail(&self, log: &Path, cancel: &Cancel) -> Result<(Vec<u8>, Vec<String>)> {
        let running = self.start(log, Stdio::null())?;
        let (start, mut output) = (running.log_start, Vec::new());
        self.follow(running, log, cancel, |bytes| output.extend_from_slice(bytes))?;
        Ok((output, read_tail(log, start, 20)))
    }

    /// Like [`Command::run`], but passes standard output to `output` as it arrives.
    pub fn watch(
        &self,
        log: &Path,
        cancel: &Cancel,
        output: impl FnMut(&[u8]) + Send,
    ) -> Result<()> {
        let input = if self.input.is_empty() { Stdio::null() } else { Stdio::piped() };
        let mut running = self.start(log, input)?;
        if let Some(mut stdin) = running.child.stdin.take() {
            // A command may end without reading its input; its exit status decides.
            let _ = stdin.write_all(&self.input);
        }
        self.follow(running, log, cancel, output)
    }

    /// Like [`Command::watch`], while `feed` writes to its standard input. If `feed` returns the input,
    /// it stays open until the command has ended.
    pub fn converse(
        &self,
        log: &Path,
        cancel: &Cancel,
        feed: impl FnOnce(ChildStdin) -> Option<ChildStdin> + Send,
        output: impl FnMut(&[u8]) + Send,
    ) -> Result<()> {
        let mut running = self.start(log, Stdio::piped())?;
        let stdin = running.child.stdin.take().context("taking standard input")?;
        std::thread::scope(|scope| {
            let feeder = threads::start(scope, move || feed(stdin))?;
            let outcome = self.follow(running, log, cancel, output);
            // The pipe is closed when the command has ended, so the feeder ends too.
            drop(feeder.join());
            outcome
        })
    }

    fn follow(
        &self,
        mut running: Running,
        log: &Path,
        cancel: &Cancel,
        mut output: impl FnMut(&[u8]) + Send,
    ) -> Result<()> {
        let start = running.log_start;
        let mut stdout = running.child.stdout.take().context("taking standard output")?;
        let status = std::thread::scope(|scope| {
            let reader = threads::start(scope, move || {
                let mut buffer = [0; 1 << 16];
                while let Ok(n) = stdout.read(&mut buffer)
                    && n > 0
                {
                    output(&buffer[..n]);
                }
            })?;
            let status = running.wait(cancel, self.limit);
            // A killed command may leave a child that holds the pipe; all are in one process group
            // that was killed, so the reader ends.
            let _ = reader.join();
            status
        })?;
        match status {
            Wait::Status(status) if status.success() => Ok(()),
            Wait::Status(status) => Err(self.failure(ending(status), log, start)),
            Wait::TimedOut(limit) => {
                let how = format!("killed after {} s {AT_LIMIT}", limit.as_secs());
                Err(self.failure(how, log, start))
            }
        }
    }

    /// Replaces kuth by the command (`exec`), with kuth's terminal and whole environment. Returns only
    /// if that fails.
    pub fn replace(&self) -> Error {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().skip(Self::FIXED).cloned());
        Error::new(command.exec()).context(format!("starting {self}"))
    }

    /// Runs it with kuth's terminal and whole environment, and waits until it ends, however it does.
    /// Fails if it cannot be started.
    pub fn interact(&self) -> Result<()> {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().skip(Self::FIXED).cloned());
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        command.status().with_context(|| format!("starting {self}"))?;
        Ok(())
    }

    /// Starts it, with standard output in a pipe and standard error in `log`.
    fn start(&self, log: &Path, input: Stdio) -> Result<Running> {
        let mut file = open_log(log)?;
        // In one write, so that lines of parallel commands do not mix.
        let line = format!("$ {self}\n");
        file.write_all(line.as_bytes()).with_context(|| format!("writing {}", log.display()))?;
        let log_start = file.stream_position().context("seeking in the log")?;
        // The kernel kills it when kuth's thread ends.
        let mut command = start::command(&self.program);
        command.args(&self.args).env_clear().envs(self.env.iter().cloned());
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        command.stdin(input).stdout(Stdio::piped()).stderr(file).process_group(0);
        let child = command.spawn().with_context(|| format!("starting {self}"))?;
        Ok(Running { child, log_start })
    }

    fn failure(&self, status: String, log: &Path, start: u64) -> Error {
        let tail = read_tail(log, start, 20);
        Error::new(CommandFailed {
            command: self.to_string(),
            status,
            tail,
            log: log.to_path_buf(),
        })
    }
}

/// The command, quoted for a shell.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote(&self.program.to_string_lossy()))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quote(&arg.to_string_lossy())))
    }
}

/// A running command.
struct Running {
    child: Child,
    log_start: u64,
}

enum Wait {
    Status(ExitStatus),
    TimedOut(Duration),
}

impl Running {
    fn wait(&mut self, cancel: &Cancel, limit: Option<Duration>) -> Result<Wait> {
        let start = Instant::now();
        let process = self.pid().and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        loop {
            if let Some(status) = self.child.try_wait().context("waiting for a command")? {
                return Ok(Wait::Status(status));
            }
            if cancel.is_set() {
                self.end();
                return Err(Error::new(Interrupted));
            }
            if let Some(limit) = limit
                && start.elapsed() > limit
            {
                self.end();
                return Ok(Wait::TimedOut(limit));
            }
            match &process {
                Some(process) => {
                    let mut process = [PollFd::new(process, PollFlags::IN)];
                    let _ = poll(&mut process, CHECK_INTERVAL);
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Ends the process group with SIGTERM, and after a grace period with SIGKILL.
    fn end(&mut self) {
        let Some(group) = self.pid() else { return };
        let _ = kill_process_group(group, Signal::TERM);
        let start = Instant::now();
        while start.elapsed() < GRACE {
            if let Ok(Some(_)) = self.child.try_wait() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.end();
        }
    }
}

/// Opens a log for appending, and creates its directory.
pub fn open_log(log: &Path) -> Result<File> {
    if let Some(directory) = log.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("creating {}", directory.display()))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("opening the log {}", log.display()))
}

/// kuth's `PATH`, followed by the system directories, which an ordinary user's may lack.
fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    path
}

/// The path of `program`, if [`Command::new`] finds it.
pub fn find_program(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path())
        .filter(|directory| !directory.as_os_str().is_empty())
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// `word`, quoted for a POSIX shell.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests;
