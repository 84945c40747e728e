//! A root file system to work in without root privileges: [`namespaces`] creates namespaces (for an ordinary
//! user, a user namespace with the id ranges of /etc/subuid), kuth starts itself again in them, pivots
//! into the tree and runs a list of steps there. This file is the outside; [`inside`] runs in the
//! namespaces. What a sandbox is made of depends on the [`place`]. Knows no stage.
//!
//! No process outlives kuth: its end is passed on to the first process of the namespace, and the kernel
//! then kills all others in it. Without namespaces, the supervisor of commands kills what they started.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Context, Result, anyhow, with_hint};

mod chroot;
pub mod commands;
mod host_files;
pub mod inside;
pub mod layers;
mod mounts;
pub mod namespaces;
pub mod owners;
pub mod pack;
pub mod place;
mod reads;
pub mod seal;
mod settle;
pub mod unpack;

use layers::{Layer, Stack, Unlayered};
use place::Place;

/// The hidden subcommand that runs [`inside::main`].
pub const SUBCOMMAND: &str = "__sandbox";

/// The directory inside the tree at which the exchange directory is mounted while steps run.
pub const EXCHANGE: &str = "/.kuth";

/// The network of commands in the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// A network namespace with only the loopback interface.
    None,
    /// The host's network.
    Host,
}

/// A step inside the tree. Paths are absolute paths in the tree; files from outside are in the exchange
/// directory and named relative to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Creates `/bin`, `/sbin`, `/lib` (and `/lib64`) as links into `/usr`, in an empty tree.
    MergeUsr {
        /// Whether the architecture has a `/lib64`.
        lib64: bool,
    },
    /// Unpacks tar files of the exchange directory over the tree.
    Unpack {
        /// The files, in order.
        files: Vec<String>,
    },
    /// Writes a file; its directory is created if missing.
    Write {
        /// The file.
        path: String,
        /// Its content.
        content: String,
        /// Permission bits.
        mode: u32,
    },
    /// Copies a file or a directory of the exchange directory into the tree.
    Copy {
        /// The source in the exchange directory.
        from: String,
        /// The destination in the tree.
        to: String,
        /// Permission bits of files; `None` keeps those of a directory's files.
        mode: Option<u32>,
        /// `user:group`, by name or number; `None` is root.
        owner: Option<String>,
    },
    /// Runs a command and fails unless its exit status is 0.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
        /// Environment variables in addition to the fixed ones.
        env: Vec<(String, String)>,
        /// Bytes for its standard input.
        input: String,
    },
    /// Removes a file or a directory, if it exists.
    Remove {
        /// The file or directory.
        path: String,
    },
    /// Removes the contents of a directory, if it exists.
    Empty {
        /// The directory.
        path: String,
    },
    /// Truncates a file to zero length, if it exists.
    Truncate {
        /// The file.
        path: String,
    },
    /// Removes what must not be the same on two machines, such as host keys; see [`seal`].
    Seal,
    /// Writes the tree as a canonical tar into the output directory.
    Pack {
        /// Its name in the output directory.
        file: String,
    },
    /// Makes what the steps before it changed independent of when they ran: no time is later than the
    /// epoch, and there are no sockets.
    Settle,
    /// Removes the whole tree, which an ordinary user cannot do from outside.
    Clear,
}

impl Step {
    /// A short description, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Step::MergeUsr { .. } => "merging /usr",
            Step::Unpack { .. } => "unpacking",
            Step::Write { .. } => "writing",
            Step::Copy { .. } => "copying",
            Step::Run { .. } => "running",
            Step::Remove { .. } => "removing",
            Step::Empty { .. } => "emptying",
            Step::Truncate { .. } => "truncating",
            Step::Seal => "sealing",
            Step::Pack { .. } => "packing",
            Step::Settle => "settling",
            Step::Clear => "clearing",
        }
    }
}

/// The input of [`inside::main`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Job {
    pub place: Place,
    pub root: PathBuf,
    pub exchange: PathBuf,
    pub output: PathBuf,
    pub epoch: u64,
    pub hostname: String,
    pub network: Network,
    pub steps: Vec<Step>,
    /// The layers that the tree consists of, if it is not a directory of its own.
    pub stack: Option<Stack>,
    /// The directory that [`Step::Settle`] takes for what was changed.
    pub changed: Option<PathBuf>,
    /// Whether the settled directory is a layer, to be hashed and checked.
    pub is_layer: bool,
    /// Files of the tree of which it is reported whether commands opened them.
    pub watch: Vec<String>,
}

/// The output of [`inside::main`], one JSON object per line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Report {
    /// Step `at` of the job begins; from 0.
    Step { at: usize },
    /// A tree was packed.
    Packed { digest: Digest, size: u64 },
    /// A layer is complete.
    Settled(Layer),
    /// The watched files that were opened, or changed.
    Read(Vec<String>),
    /// The steps cannot be done on layers, for this reason.
    Unlayered(Unlayered),
    /// A step failed; the chain of its error, and a hint.
    Failed { causes: Vec<String>, hint: Option<String>, command: Option<FailedCommand> },
}

/// A command that failed inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FailedCommand {
    pub command: String,
    pub status: String,
    pub tail: Vec<String>,
}

/// A tree under construction in the directory `root`; beside it the directories `exchange`, for input
/// files, and `output`, for packed trees.
#[derive(Clone, Debug)]
pub struct Sandbox {
    place: Place,
    directory: PathBuf,
    epoch: u64,
    hostname: String,
    /// The layers of the tree, if it has any.
    stack: Option<Stack>,
    /// How many layers were begun.
    begun: usize,
}

/// What happened in a run.
#[derive(Debug, Default)]
struct Reports {
    packed: Option<Packed>,
    settled: Option<Layer>,
    read: Vec<String>,
}

/// A packed tree in the output directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The SHA-256 of the tar.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

impl Sandbox {
    /// Creates an empty tree in `directory`, which exists. `hostname` is the host name for commands.
    /// Fails where no sandbox can be made.
    pub fn new(directory: &Path, epoch: u64, hostname: &str) -> Result<Sandbox> {
        let sandbox = Sandbox {
            place: place::choose()?.place,
            directory: directory.to_path_buf(),
            epoch,
            hostname: hostname.to_string(),
            stack: None,
            begun: 0,
        };
        for path in [sandbox.root(), sandbox.exchange(), sandbox.output()] {
            std::fs::create_dir_all(&path)
                .with_context(|| format!("creating {}", path.display()))?;
        }
        Ok(sandbox)
    }

    fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// The directory whose files the steps can name.
    pub fn exchange(&self) -> PathBuf {
        self.directory.join("exchange")
    }

    /// The directory that trees are packed into.
    pub fn output(&self) -> PathBuf {
        self.directory.join("output")
    }

    /// Puts a hard link to `file` (or a copy, on another file system) into the exchange directory.
    pub fn offer(&self, file: &Path, name: &str) -> Result<()> {
        let to = self.exchange().join(name);
        // Where nothing can be mounted read-only, commands could change the file in the cache.
        if !self.place.has_mounts() || std::fs::hard_link(file, &to).is_err() {
            crate::files::sparse::copy_file(file, &to)?;
        }
        Ok(())
    }

    /// Runs `steps`; `progress` gets the index of each step when it begins. Returns the tree that a
    /// step packed, if any.
    pub fn run(
        &self,
        steps: Vec<Step>,
        network: Network,
        log: &Path,
        cancel: &Cancel,
        progress: impl FnMut(usize) + Send,
    ) -> Result<Option<Packed>> {
        self.execute(self.job(steps, network), log, cancel, progress).map(|reports| reports.packed)
    }

    fn job(&self, steps: Vec<Step>, network: Network) -> Job {
        Job {
            place: self.place,
            root: self.root(),
            exchange: self.exchange(),
            output: self.output(),
            epoch: self.epoch,
            hostname: self.hostname.clone(),
            network,
            steps,
            stack: self.stack.clone(),
            changed: None,
            is_layer: false,
            watch: Vec::new(),
        }
    }

    fn execute(
        &self,
        job: Job,
        log: &Path,
        cancel: &Cancel,
        mut progress: impl FnMut(usize) + Send,
    ) -> Result<Reports> {
        let file = self.directory.join("job.json");
        let text = serde_json::to_vec(&job).context("writing the job")?;
        std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        let command = namespaces::enter(self.place)?.arg(SUBCOMMAND).arg(&file);
        let (mut line, mut reports, mut failed) = (Vec::new(), Reports::default(), None);
        let mut unlayered = None;
        let outcome = command.watch(log, cancel, |bytes| {
            for byte in bytes {
                if *byte != b'\n' {
                    line.push(*byte);
                    continue;
                }
                match serde_json::from_slice(&line) {
                    Ok(Report::Step { at }) => progress(at),
                    Ok(Report::Packed { digest, size }) => {
                        reports.packed = Some(Packed { digest, size });
                    }
                    Ok(Report::Settled(layer)) => reports.settled = Some(layer),
                    Ok(Report::Read(paths)) => reports.read = paths,
                    Ok(Report::Unlayered(why)) => unlayered = Some(why),
                    Ok(Report::Failed { causes, hint, command }) => {
                        if job.stack.is_some() && command.as_ref().is_some_and(crosses_layers) {
                            let why = "a command renames a directory".to_string();
                            unlayered = Some(Unlayered::Steps(why));
                        }
                        failed = Some((failure(causes, command, log), hint));
                    }
                    Err(_) => {}
                }
                line.clear();
            }
        });
        // The job may contain secrets.
        let _ = std::fs::remove_file(&file);
        if let Some(why) = unlayered {
            cancel.check()?;
            return Err(crate::error::Error::new(why));
        }
        match (outcome, failed) {
            (Ok(()), None) => Ok(reports),
            (Err(error), _)
                if crate::error::caused_by::<crate::error::Interrupted>(&error).is_some() =>
            {
                Err(error)
            }
            (_, Some((error, Some(hint)))) => Err(with_hint(error, hint)),
            (_, Some((error, None))) => Err(error),
            (Err(error), None) => Err(error),
        }
    }

    /// Removes the tree, including files of other users of the namespace.
    pub fn clear(self, log: &Path) -> Result<()> {
        // Not cancellable: a cancelled build must be cleaned up too.
        let job = Job { stack: None, ..self.job(vec![Step::Clear], Network::None) };
        self.execute(job, log, &Cancel::default(), |_| ())?;
        // What it says of owners was of this tree.
        let _ = std::fs::remove_file(self.directory.join("owners"));
        Ok(())
    }
}

/// Removes a scratch directory that a killed build left, in a namespace if needed.
pub fn remove_left(directory: &Path) -> std::io::Result<()> {
    if directory.join("root").is_dir()
        && let Ok(sandbox) = Sandbox::new(directory, 0, "localhost")
    {
        let log = directory.join("clear.log");
        sandbox.clear(&log).map_err(|error| std::io::Error::other(format!("{error:#}")))?;
    }
    crate::files::remove_tree(directory)
}

/// Whether a command failed as it may on layers: a directory of a lower layer cannot be renamed, as if its
/// new place were on another file system. `mv` copies then, others fail.
fn crosses_layers(failed: &FailedCommand) -> bool {
    failed.tail.iter().any(|line| line.contains("cross-device link"))
}

fn failure(causes: Vec<String>, command: Option<FailedCommand>, log: &Path) -> crate::error::Error {
    let mut error = match command {
        Some(FailedCommand { command, status, tail }) => {
            let log = log.to_path_buf();
            crate::error::Error::new(crate::process::CommandFailed { command, status, tail, log })
        }
        None => anyhow!("{}", causes.last().map_or("unknown", String::as_str)),
    };
    for cause in causes.iter().rev().skip(1) {
        error = error.context(cause.clone());
    }
    error
}
