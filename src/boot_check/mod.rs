//! Boots a disk once in QEMU and looks whether it comes up as expected. The disk itself is never
//! written: the guest's writes go to an overlay that is thrown away. The console is kept.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::artifact::BootSoftware;
use crate::cancel::Cancel;
use crate::error::{Context, Error, Interrupted, Result, anyhow, caused_by, with_hint};
use crate::format::qcow2::{BackingFormat, Overlay};
use crate::hardware::{Firmware, Mac, Network, Nic};
use crate::process::Command;
use crate::qemu::argv::{Card, Drive, Durability, Launch, program};
use crate::qemu::host;
use crate::seed::{Secrets, Template};
use crate::units::Bytes;

pub mod console;
pub mod credentials;
pub mod junit;
pub mod probe;

use console::{Event, Parser};
use probe::Expectation;

/// How the questions get into the machine, which has to have what runs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A seed for cloud-init.
    CloudInit,
    /// Credentials for systemd of [`credentials::SYSTEMD`] or later.
    Credentials,
}

impl Via {
    /// The word in a pipeline.
    pub fn word(self) -> &'static str {
        match self {
            Via::CloudInit => "cloud-init",
            Via::Credentials => "credentials",
        }
    }

    /// The way into a disk with this software, where it is known: the one that is `asked` for, else
    /// cloud-init if it is there or could be. An error where nothing in it would run the questions.
    pub fn choose(asked: Option<Via>, software: Option<BootSoftware>) -> Result<Via> {
        let Some(BootSoftware { cloud_init, systemd }) = software else {
            return Ok(asked.unwrap_or(Via::CloudInit));
        };
        let takes_units = systemd.is_some_and(|version| version >= credentials::SYSTEMD);
        let has = match systemd {
            Some(version) => format!("the disk has systemd {version}"),
            None => "the disk has no systemd".to_string(),
        };
        let needed = credentials::SYSTEMD;
        let (add, leave) = ("add `cloud-init` to the packages of the tree", "leave out `via`");
        match (asked, cloud_init, takes_units) {
            (None | Some(Via::CloudInit), true, _) => Ok(Via::CloudInit),
            (None | Some(Via::Credentials), _, true) => Ok(Via::Credentials),
            (Some(Via::CloudInit), false, _) => Err(with_hint(
                anyhow!("the disk has no cloud-init to run the checks"),
                if takes_units { leave } else { add },
            )),
            (Some(Via::Credentials), _, false) => Err(with_hint(
                anyhow!("{has}; checks by credentials need {needed} or later"),
                if cloud_init { leave } else { add },
            )),
            (None, false, false) => Err(with_hint(
                anyhow!(
                    "nothing on the disk can run the checks: it has no cloud-init, and without it \
                     they need systemd {needed} or later; {has}"
                ),
                add,
            )),
        }
    }
}

/// A disk to boot.
#[derive(Clone, Debug)]
pub struct Check<'a> {
    /// A raw image.
    pub disk: &'a Path,
    /// Its length.
    pub size: Bytes,
    /// What starts it.
    pub firmware: Firmware,
    /// Whether the firmware starts nothing but what is signed.
    pub secure_boot: bool,
    /// Debian's word.
    pub architecture: &'a str,
    /// Processors.
    pub cpus: u32,
    /// MiB.
    pub memory: u64,
    /// How the questions get in.
    pub via: Via,
    /// What must hold inside.
    pub expectations: &'a [Expectation],
    /// How long it may take in all.
    pub limit: Duration,
    /// A directory for the overlay and the questions.
    pub work: &'a Path,
    /// Where QEMU's own messages go.
    pub log: &'a Path,
    /// Where the console goes.
    pub console: &'a Path,
    /// Times in the seed.
    pub epoch: u64,
}

/// A boot that did not show what it should have.
#[derive(Debug)]
pub struct BootFailed {
    /// What is wrong.
    pub what: String,
    /// What should have been, and what was found, where there is such a thing.
    pub difference: Option<(String, String)>,
    /// The last lines of the console, where that is all there is.
    pub tail: Vec<String>,
    /// All of it.
    pub console: PathBuf,
    /// The exit status and the output that answered each expectation until then, in their order.
    pub answers: Vec<Option<(i32, String)>>,
}

impl fmt::Display for BootFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        if let Some((expected, found)) = &self.difference {
            writeln!(f, "  expected: {expected}")?;
            writeln!(f, "  found: {}", found.replace('\n', "\n         "))?;
        }
        for line in &self.tail {
            writeln!(f, "  | {line}")?;
        }
        write!(f, "  console log: {}", self.console.display())
    }
}

impl std::error::Error for BootFailed {}

/// What is known of a boot so far.
#[derive(Debug, Default)]
struct Observed {
    parser: Parser,
    answers: Vec<Option<(i32, String)>>,
    fatal: Option<String>,
    login: Option<()>,
    done: Option<()>,
    writing: Option<std::io::Error>,
}

impl Check<'_> {
    /// Boots it; gives the exit status and the output that answer each expectation, in their order.
    /// Where one does not hold, that is the error; it is a [`BootFailed`] unless QEMU itself
    /// failed.
    pub fn run(&self, cancel: &Cancel) -> Result<Vec<(i32, String)>> {
        let qemu = host::require_program(self.architecture)?;
        let launch = self.launch()?;
        if let Some(directory) = self.console.parent() {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("making {}", directory.display()))?;
        }
        let console = File::create(self.console)
            .with_context(|| format!("making {}", self.console.display()))?;
        let command = Command::new(qemu)
            .args(launch.argv())
            .args(["-no-reboot", "-monitor", "none", "-serial", "stdio"])
            .current_dir(self.work)
            .time_limit(self.limit);
        let stop = cancel.child();
        let seen = Mutex::new(Observed {
            answers: vec![None; self.expectations.len()],
            ..Observed::default()
        });
        let result = command.watch(self.log, &stop, |bytes| {
            let Ok(mut seen) = seen.lock() else { return };
            if let Err(error) = (&console).write_all(bytes) {
                seen.writing = Some(error);
            }
            if seen.take(bytes) {
                stop.cancel();
            }
        });
        let seen = seen.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.verdict(result, seen, cancel)
    }

    /// Writes what the machine is made of to the work directory.
    fn launch(&self) -> Result<Launch> {
        let place = |name: &str| self.work.join(name);
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(place(name), bytes).with_context(|| format!("writing {name}"))
        };
        let disk = self.disk.display().to_string();
        let overlay =
            Overlay { size: self.size, backing: disk, backing_format: BackingFormat::Raw };
        write("boot.qcow2", &overlay.write()?)?;
        let nic = Nic { network: Network::Nat, mac: Mac::derived("kuth-probe", 0) };
        let card = Card { mac: nic.mac.to_string(), netdev: "user,restrict=on".into() };
        let script = probe::script(self.expectations, self.limit);
        let drive =
            |file: &str, format, durability| Drive { file: file.into(), format, durability };
        let mut drives = vec![drive("boot.qcow2", "qcow2", Durability::Scratch)];
        let mut oem_strings = Vec::new();
        match self.via {
            Via::CloudInit => {
                let template = Template {
                    hostname: "kuth-probe".into(),
                    nics: vec![nic],
                    user_data: Some(probe::user_data(&script)),
                    ..Template::default()
                };
                write("seed.iso", &template.render(Secrets::Withheld)?.iso(self.epoch)?)?;
                drives.push(drive("seed.iso", "raw", Durability::ReadOnly));
            }
            Via::Credentials => {
                for (index, string) in credentials::strings(&script)?.iter().enumerate() {
                    let name = format!("credential-{index}");
                    write(&name, string.as_bytes())?;
                    oem_strings.push(name);
                }
            }
        }
        let variables = place("variables.fd");
        let flash = match self.secure_boot {
            true => Some(host::secure_flash(self.architecture, &variables)?),
            false => host::own_flash(self.architecture, self.firmware, &variables)?,
        };
        Ok(Launch {
            architecture: self.architecture.to_string(),
            name: "probe".into(),
            accelerator: host::accelerator(self.architecture),
            cpus: self.cpus,
            memory: self.memory,
            flash,
            drives,
            cards: vec![card],
            oem_strings,
        })
    }

    fn verdict(
        &self,
        result: Result<()>,
        seen: Observed,
        cancel: &Cancel,
    ) -> Result<Vec<(i32, String)>> {
        cancel.check()?;
        if let Some(error) = seen.writing {
            return Err(error).with_context(|| format!("writing {}", self.console.display()));
        }
        let how = format!("booting by {}", self.firmware.word().to_uppercase());
        if let Some(line) = &seen.fatal {
            let what = format!("{how}: the machine does not come up: {line}");
            return Err(self.failed(&seen, what, None, self.tail()));
        }
        for (expectation, answer) in self.expectations.iter().zip(&seen.answers) {
            let Some((status, output)) = answer else { continue };
            if let Err(found) = expectation.judge(*status, output) {
                let what = format!("{how}: {} is not as expected", expectation.subject());
                let difference = Some((expectation.expected(), found));
                return Err(self.failed(&seen, what, difference, Vec::new()));
            }
        }
        if seen.done.is_some() {
            let unanswered = self.expectations.iter().zip(&seen.answers);
            let mut unanswered = unanswered.filter(|(_, answer)| answer.is_none());
            return match unanswered.next() {
                None => Ok(seen.answers.into_iter().flatten().collect()),
                Some((expectation, _)) => {
                    let what =
                        format!("{how}: no answer came through for {}", expectation.subject());
                    Err(self.failed(&seen, what, None, self.tail()))
                }
            };
        }
        let ended = match result {
            // QEMU ended by itself: somebody powered the machine off.
            Ok(()) => "the machine powered off before it had answered".to_string(),
            Err(error) if caused_by::<Interrupted>(&error).is_some() => return Err(error),
            Err(error) => match caused_by::<crate::process::CommandFailed>(&error) {
                Some(failed) if failed.timed_out() => {
                    format!("no end after {} s ({})", self.limit.as_secs(), seen.progress())
                }
                _ => {
                    return Err(
                        error.context(format!("{how}: running {}", program(self.architecture)))
                    );
                }
            },
        };
        let error = self.failed(&seen, format!("{how}: {ended}"), None, self.tail());
        Err(match (seen.login, seen.answers.iter().any(Option::is_some)) {
            (Some(()), false) => with_hint(
                error,
                match self.via {
                    Via::CloudInit => {
                        "the system came up, but nothing ran the seed: cloud-init with the NoCloud \
                         source must be in the image, or `via = \"credentials\"` and systemd of \
                         256 or later"
                    }
                    Via::Credentials => {
                        "the system came up, but nothing ran the checks: systemd must be of 256 or \
                         later, the kernel must have DMI_SYSFS built in, and the system must reach \
                         multi-user.target"
                    }
                },
            ),
            _ => with_hint(error, "a busy host needs longer: raise `timeout`"),
        })
    }

    fn failed(
        &self,
        seen: &Observed,
        what: String,
        difference: Option<(String, String)>,
        tail: Vec<String>,
    ) -> Error {
        let (console, answers) = (self.console.to_path_buf(), seen.answers.clone());
        Error::new(BootFailed { what, difference, tail, console, answers })
    }

    /// The last lines of the console that say something.
    fn tail(&self) -> Vec<String> {
        let bytes = std::fs::read(self.console).unwrap_or_default();
        let lines = bytes.split(|byte| *byte == b'\n').map(console::plain);
        let lines: Vec<String> = lines.filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(12)..].to_vec()
    }
}

impl Observed {
    /// Takes in what the console wrote; whether that is the end.
    fn take(&mut self, bytes: &[u8]) -> bool {
        for event in self.parser.feed(bytes) {
            match event {
                Event::Result { number, status, output } => {
                    if let Some(answer) = self.answers.get_mut(number) {
                        answer.get_or_insert((status, output));
                    }
                }
                Event::Done => self.done = Some(()),
                Event::Login => self.login = Some(()),
                Event::Fatal(line) => {
                    self.fatal.get_or_insert(line);
                }
            }
        }
        self.done.is_some() || self.fatal.is_some()
    }

    fn progress(&self) -> String {
        let answers = self.answers.iter().flatten().count();
        match (answers, self.login) {
            (0, None) => "no login prompt was seen".to_string(),
            (0, Some(())) => "a login prompt was seen, but no answer".to_string(),
            (some, _) => format!("{some} of {} answers came", self.answers.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTATIONS: [Expectation; 2] =
        [Expectation::CloudInit, Expectation::FailedUnits { most: 0 }];

    type Answers = Vec<(i32, String)>;

    fn check(path: &Path) -> Check<'_> {
        Check {
            disk: path,
            size: Bytes(0),
            firmware: Firmware::Uefi,
            secure_boot: false,
            via: Via::CloudInit,
            architecture: "amd64",
            cpus: 1,
            memory: 1,
            expectations: &EXPECTATIONS,
            limit: Duration::from_secs(9),
            work: path,
            log: path,
            console: path,
            epoch: 0,
        }
    }

    fn verdict(console: &str, result: Result<()>) -> std::result::Result<Answers, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console");
        std::fs::write(&path, console).unwrap();
        let check = check(&path);
        let mut seen = Observed { answers: vec![None; 2], ..Observed::default() };
        seen.take(console.as_bytes());
        let place = path.display().to_string();
        check
            .verdict(result, seen, &Cancel::default())
            .map_err(|error| error.to_string().replace(&place, "LOG"))
    }

    const DONE: &str = "KUTH-EXPECT 0 0 16 c3RhdHVzOiBkb25l .\n";

    #[test]
    fn all_as_expected() {
        let console = format!("{DONE}KUTH-EXPECT 1 0 0  .\nKUTH-DONE\n");
        let answers = vec![(0, "status: done".to_string()), (0, String::new())];
        assert_eq!(verdict(&console, Err(Error::new(Interrupted))), Ok(answers));
    }

    #[test]
    fn the_first_difference_is_reported() {
        let console = format!("{DONE}KUTH-EXPECT 1 0 4 YS5i .\nKUTH-DONE\n");
        let expected = "booting by UEFI: failed units is not as expected\n  expected: none\n  \
                        found: a.b\n  console log: LOG";
        assert_eq!(verdict(&console, Ok(())), Err(expected.into()));
    }

    #[test]
    fn the_way_in_follows_from_the_software_and_the_pipeline() {
        const CLOUD: Option<Via> = Some(Via::CloudInit);
        const CREDENTIALS: Option<Via> = Some(Via::Credentials);
        let none = "nothing on the disk can run the checks: it has no cloud-init, and without it \
                    they need systemd 256 or later; the disk has ";
        let none = |has: &str| Err(format!("{none}{has}"));
        let (old, new) = (Some(255), Some(256));
        let no_cloud_init = || Err("the disk has no cloud-init to run the checks".to_string());
        for (asked, cloud_init, systemd, expected) in [
            (None, true, old, Ok(Via::CloudInit)),
            (None, true, new, Ok(Via::CloudInit)),
            (None, false, new, Ok(Via::Credentials)),
            (None, false, old, none("systemd 255")),
            (None, false, None, none("no systemd")),
            (CLOUD, true, None, Ok(Via::CloudInit)),
            (CLOUD, false, new, no_cloud_init()),
            (CLOUD, false, old, no_cloud_init()),
            (CREDENTIALS, true, new, Ok(Via::Credentials)),
            (CREDENTIALS, false, new, Ok(Via::Credentials)),
            (
                CREDENTIALS,
                true,
                old,
                Err("the disk has systemd 255; checks by credentials need 256 or later".into()),
            ),
        ] {
            let chosen = Via::choose(asked, Some(BootSoftware { cloud_init, systemd }));
            if let Err(error) = &chosen {
                assert_eq!(crate::error::hints(error).len(), 1, "{error}");
            }
            let chosen = chosen.map_err(|error| error.to_string());
            assert_eq!(chosen, expected, "{asked:?} {cloud_init} {systemd:?}");
        }
        assert_eq!(Via::choose(None, None).unwrap(), Via::CloudInit);
        assert_eq!(Via::choose(CREDENTIALS, None).unwrap(), Via::Credentials);
    }

    #[test]
    fn the_questions_come_by_a_seed_or_by_credentials() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let check = Check { size: Bytes::GIB, work: directory.path(), ..check(&path) };
        let launch = check.launch().unwrap();
        let files = |launch: &Launch| -> Vec<String> {
            launch.drives.iter().map(|drive| drive.file.clone()).collect()
        };
        assert_eq!(files(&launch), ["boot.qcow2", "seed.iso"]);
        assert!(launch.oem_strings.is_empty());
        let launch = Check { via: Via::Credentials, ..check }.launch().unwrap();
        assert_eq!(files(&launch), ["boot.qcow2"]);
        assert_eq!(launch.oem_strings.len(), 3);
        for file in &launch.oem_strings {
            let text = std::fs::read_to_string(directory.path().join(file)).unwrap();
            assert!(text.starts_with("io.systemd.credential.binary:"), "{text}");
        }
    }

    #[test]
    fn silence_and_an_early_end_are_reported() {
        let error = verdict("hello\nKUTH-DONE\n", Ok(())).unwrap_err();
        assert!(error.starts_with("booting by UEFI: no answer came through for cloud-init"));
        let error = verdict("x\n\na\n", Ok(())).unwrap_err();
        let expected = "booting by UEFI: the machine powered off before it had answered\n  | x\n  \
                        | a\n  console log: LOG";
        assert_eq!(error, expected);
        let error = verdict("Kernel panic - not syncing: x\n", Ok(())).unwrap_err();
        assert!(error.contains("does not come up: Kernel panic - not syncing: x"), "{error}");
    }
}
