//! Runs an installer in QEMU and watches it: the medium is attached as it is, kernel and initrd are
//! handed over beside it. One that asks, or says nothing and writes nothing for too long, is ended,
//! and what stood on its screen is the error.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use crate::boot_check::BootFailed;
use crate::cancel::Cancel;
use crate::error::{Context, Error, Interrupted, Result, caused_by, with_hint};
use crate::hardware::{Firmware, Mac};
use crate::process::{Command, CommandFailed};
use crate::qemu::argv::{Card, Drive, Durability, Launch, program};
use crate::qemu::host;
use crate::threads;

use super::watch::{End, Step, Watch};

/// How long to wait for what may never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimits {
    /// With a line that could be a question.
    pub question: Duration,
    /// With one that neither says nor writes anything. The longest that was seen, of an initial RAM
    /// disk being packed on a busy host without KVM, is a third of the default.
    pub standstill: Duration,
    /// With a machine that says nothing more and does not power off, once all is done.
    pub farewell: Duration,
}

impl Default for TimeLimits {
    fn default() -> TimeLimits {
        TimeLimits {
            question: Duration::from_secs(60),
            standstill: Duration::from_secs(900),
            farewell: Duration::from_secs(600),
        }
    }
}

/// An installer to run.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// The medium.
    pub iso: &'a Path,
    /// Its kernel.
    pub kernel: &'a Path,
    /// Its initial RAM disk.
    pub initrd: &'a Path,
    /// The kernel's arguments.
    pub arguments: String,
    /// A disk with answers, besides.
    pub seed: Option<&'a Path>,
    /// The raw image to install on.
    pub disk: &'a Path,
    /// What starts the machine, so what the installer sets up.
    pub firmware: Firmware,
    /// Debian's word.
    pub architecture: &'a str,
    /// Processors.
    pub cpus: u32,
    /// MiB.
    pub memory: u64,
    /// Whether it may reach the network.
    pub network: Network,
    /// How long it may take in all.
    pub limit: Duration,
    /// How long it may do nothing.
    pub limits: TimeLimits,
    /// A directory of its own.
    pub work: &'a Path,
    /// Where QEMU's own messages go.
    pub log: &'a Path,
    /// Where the serial line goes; the installer's log goes beside it.
    pub console: PathBuf,
    /// Another program in QEMU's place, for tests.
    pub program: Option<PathBuf>,
}

/// Whether an installer may reach the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// It sees a card with nothing behind it.
    None,
    /// Through the host.
    Host,
}

/// What is known so far.
struct Observed {
    watch: Watch,
    heard: Instant,
    writing: Option<std::io::Error>,
}

/// Why a run was ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    Question,
    Standstill,
    Lingers,
    Reported,
}

impl Run<'_> {
    /// Where the installer's own log goes.
    pub fn syslog(&self) -> PathBuf {
        self.console.with_extension("syslog")
    }

    /// Runs it to its end; gives the steps that were seen. `report` gets each as it goes on.
    pub fn run(&self, cancel: &Cancel, report: &(dyn Fn(&Step) + Sync)) -> Result<Vec<String>> {
        let qemu = match &self.program {
            Some(program) => program.clone(),
            None => host::require_program(self.architecture)?,
        };
        if let Some(directory) = self.console.parent() {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("making {}", directory.display()))?;
        }
        let console = File::create(&self.console)
            .with_context(|| format!("making {}", self.console.display()))?;
        let command =
            Command::new(qemu).args(self.argv()?).current_dir(self.work).time_limit(self.limit);
        let stop = cancel.child();
        let seen =
            Mutex::new(Observed { watch: Watch::default(), heard: Instant::now(), writing: None });
        let stopped = Mutex::new(None);
        let over = Cancel::default();
        let result = std::thread::scope(|scope| {
            threads::start(scope, || self.look(&seen, &stopped, &over, &stop))?;
            let result = command.watch(self.log, &stop, |bytes| {
                let mut seen = lock(&seen);
                if let Err(error) = (&console).write_all(bytes) {
                    seen.writing = Some(error);
                }
                let before = seen.watch.step.clone();
                seen.watch.feed(bytes);
                seen.heard = Instant::now();
                if let Some(step) =
                    seen.watch.step.clone().filter(|step| Some(step) != before.as_ref())
                {
                    report(&step);
                }
            });
            over.cancel();
            result
        });
        let seen = seen.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        let stopped = stopped.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        cancel.check()?;
        self.verdict(result, seen, stopped)
    }

    /// Ends the run when there is nothing to wait for any more.
    fn look(
        &self,
        seen: &Mutex<Observed>,
        stopped: &Mutex<Option<Stopped>>,
        over: &Cancel,
        stop: &Cancel,
    ) {
        let mut written = None;
        let mut moved = Instant::now();
        while !over.is_set() && !stop.is_set() {
            std::thread::sleep(Duration::from_millis(200));
            let now = self.written();
            if now != written {
                (written, moved) = (now, Instant::now());
            }
            let seen = lock(seen);
            let quiet = seen.heard.elapsed().min(moved.elapsed());
            let why = match &seen.watch.end {
                Some(End::Question) => Some(Stopped::Question),
                Some(End::Fatal(_)) => Some(Stopped::Reported),
                // It says so before it ends its work and powers off.
                Some(End::Installed | End::Failed) => {
                    (quiet > self.limits.farewell).then_some(Stopped::Lingers)
                }
                None if seen.watch.waits() && quiet > self.limits.question => {
                    Some(Stopped::Question)
                }
                None if quiet > self.limits.standstill => Some(Stopped::Standstill),
                None => None,
            };
            if let Some(why) = why {
                *lock(stopped) = Some(why);
                stop.cancel();
            }
        }
    }

    /// Changes whenever the installer writes to its disk or its log.
    fn written(&self) -> Option<(SystemTime, u64)> {
        let disk = std::fs::metadata(self.disk).ok()?.modified().ok()?;
        let log = std::fs::metadata(self.syslog()).map_or(0, |metadata| metadata.len());
        Some((disk, log))
    }

    fn verdict(
        &self,
        result: Result<()>,
        seen: Observed,
        stopped: Option<Stopped>,
    ) -> Result<Vec<String>> {
        if let Some(error) = seen.writing {
            return Err(error).with_context(|| format!("writing {}", self.console.display()));
        }
        let watch = &seen.watch;
        let during = match &watch.step {
            Some(step) => format!(" (at \"{}\")", step.title),
            None => String::new(),
        };
        let failed = |what: String| self.failed(what, watch);
        match (&watch.end, stopped) {
            (_, Some(Stopped::Question)) => {
                let error = failed(format!("the installer asks something{during}"));
                return Err(with_hint(
                    error,
                    "answer it in `answers`: `d-i QUESTION TYPE VALUE`; the installer's log names \
                     the question, or what went wrong",
                ));
            }
            (Some(End::Fatal(line)), _) => {
                return Err(failed(format!("the installer does not come up: {line}")));
            }
            (Some(End::Failed), _) => {
                let error = failed("what was to be done in the installed system failed".into());
                return Err(with_hint(error, "the installer's log has the command and its words"));
            }
            (_, Some(Stopped::Standstill)) => {
                let seconds = self.limits.standstill.as_secs();
                return Err(failed(format!(
                    "the installer has said and written nothing for {seconds} s{during}"
                )));
            }
            (_, Some(Stopped::Lingers)) => {
                return Err(failed("the installer is done, and does not power off".into()));
            }
            _ => {}
        }
        match result {
            Ok(()) if watch.end == Some(End::Installed) => Ok(seen.watch.steps),
            Ok(()) => {
                let what = format!("the machine powered off before the installer was done{during}");
                Err(failed(what))
            }
            Err(error) if caused_by::<Interrupted>(&error).is_some() => Err(error),
            Err(error) => match caused_by::<CommandFailed>(&error) {
                Some(command) if command.timed_out() => {
                    let seconds = self.limit.as_secs();
                    let error = failed(format!("no end after {seconds} s{during}"));
                    Err(with_hint(error, "a busy host needs longer: raise `timeout`"))
                }
                _ => Err(error.context(format!("running {}", program(self.architecture)))),
            },
        }
    }

    fn failed(&self, what: String, watch: &Watch) -> Error {
        let mut tail = watch.screen();
        // Under a prompt there is all that was asked; elsewhere less tells as much.
        let shown = if watch.end == Some(End::Question) || watch.waits() { 16 } else { 8 };
        tail.drain(..tail.len().saturating_sub(shown));
        let syslog = std::fs::read(self.syslog()).unwrap_or_default();
        let syslog = String::from_utf8_lossy(&syslog[syslog.len().saturating_sub(1 << 14)..])
            .lines()
            .map(|line| line.trim_end().to_string())
            .collect::<Vec<_>>();
        tail.extend(syslog[syslog.len().saturating_sub(6)..].iter().cloned());
        let (console, answers, tests) = (self.console.clone(), Vec::new(), Vec::new());
        Error::new(BootFailed { what, difference: None, tail, console, answers, tests })
    }

    /// The arguments of QEMU.
    pub fn argv(&self) -> Result<Vec<String>> {
        let flash =
            host::own_flash(self.architecture, self.firmware, &self.work.join("variables.fd"))?;
        let text = |path: &Path| path.display().to_string();
        let disk = Drive { file: text(self.disk), format: "raw", durability: Durability::New };
        let seed = self.seed.map(|seed| Drive {
            file: text(seed),
            format: "raw",
            durability: Durability::ReadOnly,
        });
        let netdev = match self.network {
            Network::None => "user,restrict=on",
            Network::Host => "user",
        };
        let launch = Launch {
            architecture: self.architecture.to_string(),
            name: "installer".into(),
            accelerator: host::accelerator(self.architecture),
            cpus: self.cpus,
            memory: self.memory,
            flash,
            drives: [disk].into_iter().chain(seed).collect(),
            cards: vec![Card {
                mac: Mac::derived("kuth-installer", 0).to_string(),
                netdev: netdev.into(),
            }],
            oem_strings: Vec::new(),
        };
        let mut argv = launch.argv();
        let mut put = |words: &[&str]| argv.extend(words.iter().map(|word| word.to_string()));
        let escaped = text(self.iso).replace(',', ",,");
        put(&[
            "-drive",
            &format!("if=none,id=medium,media=cdrom,format=raw,readonly=on,file={escaped}"),
        ]);
        match self.architecture {
            "arm64" => put(&["-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=medium"]),
            _ => put(&["-device", "ide-cd,drive=medium"]),
        }
        put(&["-kernel", &text(self.kernel), "-initrd", &text(self.initrd)]);
        put(&["-append", &self.arguments, "-no-reboot", "-monitor", "none"]);
        put(&["-serial", "stdio", "-serial", &format!("file:{}", text(&self.syslog()))]);
        Ok(argv)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
