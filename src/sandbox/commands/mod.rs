//! Runs commands in a sandbox, for the process that works on the tree. A separate process, the
//! [`supervisor`], starts them in a nested user namespace: a command that is root there cannot undo a
//! mount of the sandbox, use a device, or reach processes, networks and files of the host, even if kuth
//! runs as root.
//!
//! The two processes exchange JSON lines over pipes and share no other files.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};

use serde::{Deserialize, Serialize};

use super::{FailedCommand, Network};
use crate::error::{Context, Error, Result, anyhow, bail, ensure, with_hint};

mod filter;
mod loopback;
pub mod supervisor;
mod tracer;
mod unstarted;

/// The environment of every command; nothing is inherited from the host.
const ENVIRONMENT: [(&str, &str); 7] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LC_ALL", "C.UTF-8"),
    ("TZ", "UTC"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
    ("SHELL", "/bin/sh"),
];

/// The number of user and group ids that exist for commands: those of Debian and of the usual range of
/// an ordinary user. A command that sets another owner fails, for root too.
const IDS: u32 = 1 << 16;

const UNEXPECTED: &str = "unexpected reply from the command supervisor";

/// The lines of output kept for a failure.
const TAIL: usize = 20;

/// A request to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Request {
    /// Create the namespaces for commands; answered by `Isolated`.
    Isolate {
        /// Without network, this includes a network namespace.
        network: Network,
    },
    /// Change the root, where no namespaces can be created, and drop privileges; answered by
    /// `Ready`.
    Confine { network: Network },
    /// Drop privileges, after ids were mapped; answered by `Ready`.
    Restrict,
    /// Run a command; answered by any number of `Output` and one `Finished`.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
        /// The whole environment.
        env: Vec<(String, String)>,
        /// Bytes for its standard input.
        input: String,
    },
}

/// A reply of the supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reply {
    /// Sent once at the start: the program is loaded.
    Started,
    Isolated,
    Ready,
    /// A line of the command's output.
    Output(String),
    Finished {
        /// The status as `wait` returns it.
        status: i32,
        /// Processes that the command left running, which were killed.
        killed: Vec<String>,
        /// Mounts that it left, which were unmounted.
        unmounted: Vec<String>,
    },
    /// The last request failed; the chain of the error, and a hint.
    Failed {
        causes: Vec<String>,
        hint: Option<String>,
    },
}

/// A running supervisor.
pub struct Commands {
    /// Killed with this process, because the kernel kills the whole PID namespace.
    supervisor: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Commands {
    /// Starts the supervisor in the mounted tree `root`. Must be called before `root` becomes the root,
    /// while kuth's program is still accessible.
    pub fn start(root: &Path) -> Result<Commands> {
        let kuth = std::env::current_exe().context("finding kuth's own program")?;
        let mut supervisor = std::process::Command::new(kuth)
            .arg(supervisor::SUBCOMMAND)
            .env_clear()
            .current_dir(root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting the command supervisor")?;
        let requests = supervisor.stdin.take().context("taking its standard input")?;
        let replies = supervisor.stdout.take().context("taking its standard output")?;
        let mut commands = Commands { supervisor, requests, replies: BufReader::new(replies) };
        // Its libraries are the host's and must be loaded before the root changes.
        let Reply::Started = commands.receive()? else { bail!(UNEXPECTED) };
        Ok(commands)
    }

    /// Creates the namespaces of the commands. Must be called when the tree is the root and /proc is that
    /// of the PID namespace.
    pub fn isolate(&mut self, network: Network) -> Result<()> {
        self.send(&Request::Isolate { network })?;
        let Reply::Isolated = self.receive()? else { bail!(UNEXPECTED) };
        for map in ["uid_map", "gid_map"] {
            self.map_ids(map)?;
        }
        self.send(&Request::Restrict)?;
        let Reply::Ready = self.receive()? else { bail!(UNEXPECTED) };
        Ok(())
    }

    /// Has commands find /proc and this host name where neither can be mounted or set. Must be called
    /// before `root` becomes the root, while /proc is accessible.
    pub fn trace(&self, hostname: &str) -> Result<()> {
        tracer::start(self.supervisor.id(), hostname)
    }

    /// In the place of [`Commands::isolate`] where there are no namespaces, after [`Commands::trace`]. Must be
    /// called when the tree is the root.
    pub fn confine(&mut self, network: Network) -> Result<()> {
        self.send(&Request::Confine { network })?;
        let Reply::Ready = self.receive()? else { bail!(UNEXPECTED) };
        Ok(())
    }

    /// Maps the first [`IDS`] ids of this namespace into the namespace of the commands, unchanged.
    fn map_ids(&self, name: &str) -> Result<()> {
        let here = std::fs::read_to_string(format!("/proc/self/{name}"))
            .with_context(|| format!("reading /proc/self/{name}"))?;
        let path = format!("/proc/{}/{name}", self.supervisor.id());
        std::fs::write(&path, same_ids(&here)?).with_context(|| format!("writing {path}"))
    }

    /// Runs a command. Its output is written to standard error, the stage's log, line by line. Fails with
    /// [`CommandError`] unless the exit status is 0.
    pub fn run(
        &mut self,
        argv: &[String],
        env: &[(String, String)],
        input: &str,
        epoch: u64,
    ) -> Result<()> {
        ensure!(argv.first().is_some_and(|program| !program.is_empty()), "an empty command");
        let shown: Vec<String> = argv.iter().map(|word| crate::process::quote(word)).collect();
        let shown = shown.join(" ");
        eprintln!("$ {shown}");
        let fixed = ENVIRONMENT.map(|(name, value)| (name.to_string(), value.to_string()));
        let time = ("SOURCE_DATE_EPOCH".to_string(), epoch.to_string());
        let env = fixed.into_iter().chain([time]).chain(env.iter().cloned()).collect();
        self.send(&Request::Run { argv: argv.to_vec(), env, input: input.to_string() })?;
        let mut tail = VecDeque::new();
        let status = loop {
            match self.receive().with_context(|| format!("starting {shown}"))? {
                Reply::Output(line) => {
                    eprintln!("{line}");
                    if !line.trim().is_empty() {
                        tail.push_back(line);
                    }
                    if tail.len() > TAIL {
                        tail.pop_front();
                    }
                }
                Reply::Finished { status, killed, unmounted } => {
                    for process in killed {
                        eprintln!("# killed {process}, which the command left running");
                    }
                    for place in unmounted {
                        eprintln!("# unmounted {place}, which the command left mounted");
                    }
                    break ExitStatus::from_raw(status);
                }
                _ => bail!(UNEXPECTED),
            }
        };
        if status.success() {
            return Ok(());
        }
        let status = crate::process::ending(status);
        let failed = FailedCommand { command: shown, status, tail: tail.into() };
        let hint = hint(&failed.tail);
        let error = Error::new(CommandError(failed));
        Err(match hint {
            Some(hint) => with_hint(error, hint),
            None => error,
        })
    }

    fn send(&mut self, request: &Request) -> Result<()> {
        let line = line_of(request)?;
        self.requests.write_all(&line).context("sending a request to the command supervisor")
    }

    fn receive(&mut self) -> Result<Reply> {
        let mut line = Vec::new();
        let what = "reading a reply of the command supervisor";
        self.replies.read_until(b'\n', &mut line).context(what)?;
        ensure!(!line.is_empty(), "the command supervisor has ended");
        match serde_json::from_slice(&line).context(what)? {
            Reply::Failed { causes, hint } => {
                let mut causes = causes.into_iter().rev();
                let root = anyhow!("{}", causes.next().unwrap_or_else(|| "unknown".into()));
                let error = causes.fold(root, Error::context);
                Err(match hint {
                    Some(hint) => with_hint(error, hint),
                    None => error,
                })
            }
            reply => Ok(reply),
        }
    }
}

/// A hint for a command that failed because of a restriction of the sandbox.
fn hint(tail: &[String]) -> Option<&'static str> {
    let says = |what: &str| tail.iter().any(|line| line.to_lowercase().contains(what));
    if says("invalid argument") && ["owner", "chown", "chgrp"].iter().any(|word| says(word)) {
        return Some(
            "commands can give files to ids up to 65535: unpack with `tar --no-same-owner`, or put \
             the file in with `owner`, which takes any id",
        );
    }
    let denied = says("operation not permitted") || says("permission denied");
    (denied && says("mknod")).then_some("no device nodes can be made in a tree; udev makes them")
}

/// A message and the end of its line.
fn line_of(message: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message).context("writing a message")?;
    line.push(b'\n');
    Ok(line)
}

/// What to write into the id map of a namespace below, so that the first [`IDS`] ids of `here` (an id
/// map as /proc shows it: first id here, first id above, how many) are the same in it.
fn same_ids(here: &str) -> Result<String> {
    let mut map = String::new();
    for line in here.lines() {
        let numbers: Vec<u32> = line
            .split_whitespace()
            .map(str::parse)
            .collect::<std::result::Result<_, _>>()
            .with_context(|| format!("reading the id map {line:?}"))?;
        let [first, _, count] = numbers[..] else { bail!("reading the id map {line:?}") };
        if first < IDS {
            map += &format!("{first} {first} {}\n", count.min(IDS - first));
        }
    }
    ensure!(!map.is_empty(), "no ids are mapped here");
    Ok(map)
}

/// A command failed.
#[derive(Debug)]
pub struct CommandError(pub(super) FailedCommand);

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.0.command, self.0.status)
    }
}

impl std::error::Error for CommandError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_sandbox_refuses_gets_a_hint() {
        let of = |line: &str| hint(&["before".to_string(), line.to_string()]);
        let high = [
            "chown: changing ownership of 'f': Invalid argument",
            "tar: f: Cannot change ownership to uid 70000, gid 70000: Invalid argument",
            "chgrp: changing group of 'f': Invalid argument",
        ];
        assert!(high.iter().all(|line| of(line).unwrap().contains("65535")));
        let node = of("mknod: /tmp/null: Operation not permitted").unwrap();
        assert!(node.contains("device nodes"));
        assert_eq!(of("dd: invalid argument"), None);
        assert_eq!(of("rm: cannot remove 'f': Permission denied"), None);
    }

    #[test]
    fn the_first_ids_stay_what_they_are() {
        assert_eq!(same_ids("         0          0 4294967295\n").unwrap(), "0 0 65536\n");
        let ranges = "0 1000 1\n1 100000 65536\n";
        assert_eq!(same_ids(ranges).unwrap(), "0 0 1\n1 1 65535\n");
        assert_eq!(same_ids("0 1000 1\n1 5 10\n70000 9 9\n").unwrap(), "0 0 1\n1 1 10\n");
        assert!(same_ids("").is_err());
        assert!(same_ids("0 1").is_err());
        assert!(same_ids("0 0 x").is_err());
    }
}
