//! Boots a disk once in QEMU and looks whether it comes up as expected. The disk itself is never
//! written: the guest's writes go to an overlay that is thrown away. The console is kept.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use crate::artifact::BootSoftware;
use crate::cancel::Cancel;
use crate::error::{Context, Error, Interrupted, Result, anyhow, caused_by, hints, with_hint};
use crate::format::qcow2::{BackingFormat, Overlay};
use crate::hardware::{Firmware, Mac, Network, Nic};
use crate::process::Command;
use crate::qemu::argv::{Card, Drive, Durability, Launch, program};
use crate::qemu::host;
use crate::seed::{Secrets, Template};
use crate::threads;
use crate::units::Bytes;

pub mod console;
pub mod credentials;
pub mod goss;
pub mod junit;
pub mod probe;
pub mod pytest;

use console::{Event, Parser};
use goss::Goss;
use junit::{Case, CaseOutcome};
use probe::{Access, Expectation, Tests};
use pytest::Session;

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
    /// Tests that run inside.
    pub goss: Option<&'a Goss>,
    /// A directory with [`pytest::TESTS`], which run on the host.
    pub pytest: Option<&'a Path>,
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
    /// What became of other tools' tests.
    pub tests: Vec<Case>,
}

/// A boot in which all was as expected.
#[derive(Debug, PartialEq, Eq)]
pub struct Booted {
    /// The exit status and the output that answer each expectation, in their order.
    pub answers: Vec<(i32, String)>,
    /// Other tools' tests, none of which failed.
    pub tests: Vec<Case>,
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
    /// Those of the expectations, then goss's, then that of [`pytest::SSH`].
    answers: Vec<Option<(i32, String)>>,
    fatal: Option<String>,
    login: Option<()>,
    done: Option<()>,
    writing: Option<std::io::Error>,
    /// What came of the tests on the host, if they ran to their end.
    outside: Option<Result<Vec<Case>>>,
}

impl Check<'_> {
    /// Boots it; gives what was found. Where something is not as expected, that is the error; it is a
    /// [`BootFailed`] unless QEMU itself failed, or the host lacks something.
    pub fn run(&self, cancel: &Cancel) -> Result<Booted> {
        let qemu = host::require_program(self.architecture)?;
        let nic = Nic { network: Network::Nat, mac: Mac::derived("kuth-probe", 0) };
        let outside = self
            .pytest
            .map(|directory| Session::new(directory, nic.mac.to_string(), self.log, cancel))
            .transpose()?;
        let (session, access) = outside.unzip();
        let launch = self.launch(nic, session.as_ref().zip(access.as_ref()))?;
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
        let seen =
            Mutex::new(Observed { answers: vec![None; self.questions()], ..Observed::default() });
        let (ready, is_ready) = mpsc::channel();
        let (result, outside) = std::thread::scope(|scope| {
            // The machine runs until the tests on the host are through; where it ends earlier, so do they.
            let tests = session.as_ref().map(|session| {
                let stop = stop.clone();
                threads::start(scope, move || {
                    let outcome = is_ready.recv().ok().map(|()| session.run(&stop));
                    stop.cancel();
                    outcome
                })
            });
            let tests = match tests.transpose() {
                Ok(tests) => tests,
                Err(error) => return (Err(error.into()), None),
            };
            let result = command.watch(self.log, &stop, |bytes| {
                let Ok(mut seen) = seen.lock() else { return };
                if let Err(error) = (&console).write_all(bytes) {
                    seen.writing = Some(error);
                }
                match seen.take(bytes) {
                    Some(Step::Ready) if self.lets_tests_in(&seen) => _ = ready.send(()),
                    Some(_) => stop.cancel(),
                    None => {}
                }
            });
            stop.cancel();
            drop(ready);
            (result, tests.and_then(|tests| tests.join().ok().flatten()))
        });
        let mut seen = seen.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        seen.outside = outside;
        self.verdict(result, seen, cancel)
    }

    /// How many answers there are to be.
    fn questions(&self) -> usize {
        self.expectations.len()
            + usize::from(self.goss.is_some())
            + usize::from(self.pytest.is_some())
    }

    /// Whether there are tests on the host, and something that lets them in.
    fn lets_tests_in(&self, seen: &Observed) -> bool {
        let answer = seen.answers.last().and_then(Option::as_ref);
        let listens = |(status, output): &(i32, String)| pytest::SSH.judge(*status, output).is_ok();
        self.pytest.is_some() && answer.is_some_and(listens)
    }

    /// Writes what the machine is made of to the work directory.
    fn launch(&self, nic: Nic, outside: Option<(&Session<'_>, &Access)>) -> Result<Launch> {
        let place = |name: &str| self.work.join(name);
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(place(name), bytes).with_context(|| format!("writing {name}"))
        };
        let disk = self.disk.display().to_string();
        let overlay =
            Overlay { size: self.size, backing: disk, backing_format: BackingFormat::Raw };
        write("boot.qcow2", &overlay.write()?)?;
        let mut netdev = "user,restrict=on".to_string();
        if let Some((session, _)) = outside {
            let guest = pytest::ADDRESS;
            netdev += &format!(",hostfwd=tcp:127.0.0.1:{}-{guest}:22", session.port);
        }
        let card = Card { mac: nic.mac.to_string(), netdev };
        let tests = Tests { goss: self.goss, outside: outside.map(|(_, access)| access) };
        let script = probe::script(self.expectations, tests, self.limit);
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
        if let Some(goss) = self.goss {
            write("tests.iso", &goss.medium(self.epoch)?)?;
            drives.push(drive("tests.iso", "raw", Durability::ReadOnly));
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

    fn verdict(&self, result: Result<()>, mut seen: Observed, cancel: &Cancel) -> Result<Booted> {
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
            if let Some(at) = seen.answers.iter().position(Option::is_none) {
                let what = format!("{how}: no answer came through for {}", self.subject(at));
                return Err(self.failed(&seen, what, None, self.tail()));
            }
            if self.pytest.is_some() && !self.lets_tests_in(&seen) {
                let what = format!("{how}: nothing listens at port 22 of the guest");
                let error = self.failed(&seen, what, None, Vec::new());
                let hint =
                    "`pytest` logs in by SSH: add `openssh-server` to the packages of the tree";
                return Err(with_hint(error, hint));
            }
            // Where they were interrupted, the machine had ended.
            if let Some(Err(error)) = seen.outside.take_if(|outcome| outcome.is_err())
                && caused_by::<Interrupted>(&error).is_none()
            {
                let failed = self.failed(&seen, format!("{how}: {error:#}"), None, Vec::new());
                return Err(hints(&error).into_iter().fold(failed, with_hint));
            }
            let tests = self.tests(&seen);
            let failed = tests.iter().filter_map(failure).collect::<Vec<_>>();
            if !failed.is_empty() {
                let what = format!("{how}: {} of {} tests failed", failed.len(), tests.len());
                let difference = Some(("every test passes".to_string(), failed.join("\n")));
                return Err(self.failed(&seen, what, difference, Vec::new()));
            }
            if self.pytest.is_none() || seen.outside.is_some() {
                seen.answers.truncate(self.expectations.len());
                return Ok(Booted { answers: seen.answers.into_iter().flatten().collect(), tests });
            }
        }
        let ended = match result {
            // QEMU ended by itself: somebody powered the machine off.
            Ok(()) if seen.done.is_some() => {
                "the machine powered off before the tests of `pytest` had ended".to_string()
            }
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
        let tests = self.tests(seen);
        Error::new(BootFailed { what, difference, tail, console, answers, tests })
    }

    /// What the question of this number is about.
    fn subject(&self, number: usize) -> String {
        match self.expectations.get(number) {
            Some(expectation) => expectation.subject(),
            None if number == self.expectations.len() && self.goss.is_some() => {
                goss::NAME.to_string()
            }
            None => pytest::SSH.subject(),
        }
    }

    /// What is known of other tools' tests: goss's, then pytest's.
    fn tests(&self, seen: &Observed) -> Vec<Case> {
        let mut tests = Vec::new();
        if self.goss.is_some() {
            let answer = seen.answers.get(self.expectations.len()).and_then(Option::as_ref);
            tests.extend(goss::cases(answer));
        }
        match &seen.outside {
            Some(Ok(cases)) => tests.extend(cases.iter().cloned()),
            _ if self.pytest.is_some() => tests.push(pytest::unanswered()),
            _ => {}
        }
        tests
    }

    /// The last lines of the console that say something.
    fn tail(&self) -> Vec<String> {
        let bytes = std::fs::read(self.console).unwrap_or_default();
        let lines = bytes.split(|byte| *byte == b'\n').map(console::plain);
        let lines: Vec<String> = lines.filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(12)..].to_vec()
    }
}

/// What the console has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// All is asked, and the machine runs on for a while.
    Ready,
    /// It will not come up.
    Lost,
}

/// The lines that name a test that failed, with the last of what it said.
fn failure(case: &Case) -> Option<String> {
    /// Lines: a trace has its reason at the end.
    const SHOWN: usize = 8;
    let said = match &case.outcome {
        CaseOutcome::Passed | CaseOutcome::Skipped(_) => return None,
        CaseOutcome::Failed { found, .. } => found,
        CaseOutcome::Error(text) => text,
    };
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    Some(format!("{}: {}", case.name, lines[lines.len().saturating_sub(SHOWN)..].join("\n  ")))
}

impl Observed {
    /// Takes in what the console wrote; what it has come to, if anything.
    fn take(&mut self, bytes: &[u8]) -> Option<Step> {
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
        match (&self.fatal, self.done) {
            (Some(_), _) => Some(Step::Lost),
            (None, Some(())) => Some(Step::Ready),
            (None, None) => None,
        }
    }

    fn progress(&self) -> String {
        let answers = self.answers.iter().flatten().count();
        match (answers, self.login) {
            (0, None) => "no login prompt was seen".to_string(),
            (0, Some(())) => "a login prompt was seen, but no answer".to_string(),
            _ if self.done.is_some() => "the tests of `pytest` had not ended".to_string(),
            (some, _) => format!("{some} of {} answers came", self.answers.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTATIONS: [Expectation; 2] =
        [Expectation::CloudInit, Expectation::FailedUnits { most: 0 }];

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
            goss: None,
            pytest: None,
            limit: Duration::from_secs(9),
            work: path,
            log: path,
            console: path,
            epoch: 0,
        }
    }

    fn verdict(console: &str, result: Result<()>) -> std::result::Result<Booted, String> {
        verdict_with(None, None, None, console, result)
    }

    /// The same of a check with other tests, and of what became of those on the host.
    fn verdict_with(
        goss: Option<&Goss>,
        pytest: Option<&Path>,
        outside: Option<Result<Vec<Case>>>,
        console: &str,
        result: Result<()>,
    ) -> std::result::Result<Booted, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console");
        std::fs::write(&path, console).unwrap();
        let check = Check { goss, pytest, ..check(&path) };
        let answers = vec![None; check.questions()];
        let mut seen = Observed { answers, outside, ..Observed::default() };
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
        let booted = Booted { answers, tests: Vec::new() };
        assert_eq!(verdict(&console, Err(Error::new(Interrupted))), Ok(booted));
    }

    fn line(number: usize, text: &str) -> String {
        use base64::prelude::{BASE64_STANDARD, Engine};
        let text = BASE64_STANDARD.encode(text);
        format!("KUTH-EXPECT {number} 0 {} {text} .\n", text.len())
    }

    /// goss's answer, as the probe packs it.
    fn goss_line(number: usize, report: &str) -> String {
        use base64::prelude::{BASE64_STANDARD, Engine};
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(report.as_bytes()).unwrap();
        line(number, &BASE64_STANDARD.encode(encoder.finish().unwrap()))
    }

    fn goss_report(tests: &[(&str, bool)]) -> String {
        let results = tests.iter().map(|(path, successful)| {
            serde_json::json!({
                "resource-type": "File", "resource-id": path, "property": "exists",
                "successful": successful,
                "summary-line": format!("File: {path}: exists: found: {successful}"),
            })
        });
        serde_json::json!({ "results": results.collect::<Vec<_>>() }).to_string()
    }

    fn goss() -> Goss {
        Goss { program: b"p".into(), tests: b"t".into(), format: goss::Format::Yaml }
    }

    #[test]
    fn each_test_of_goss_that_failed_is_named() {
        let goss = goss();
        let with = |console: &str| verdict_with(Some(&goss), None, None, console, Ok(()));
        let both = format!("{DONE}KUTH-EXPECT 1 0 0  .\n");
        let report = goss_report(&[("/c", false), ("/a", false), ("/b", true)]);
        let error = with(&format!("{both}{}KUTH-DONE\n", goss_line(2, &report))).unwrap_err();
        let expected = "booting by UEFI: 2 of 3 tests failed\n  expected: every test passes\n  found: \
                        goss File /a exists: found: false\n         goss File /c exists: found: \
                        false\n  console log: LOG";
        assert_eq!(error, expected);
        let report = goss_report(&[("/b", true)]);
        let booted = with(&format!("{both}{}KUTH-DONE\n", goss_line(2, &report))).unwrap();
        let names: Vec<&str> = booted.tests.iter().map(|case| case.name.as_str()).collect();
        assert_eq!((booted.answers.len(), &names[..]), (2, &["goss File /b exists"][..]));
        let error = with(&format!("{both}KUTH-DONE\n")).unwrap_err();
        assert!(error.starts_with("booting by UEFI: no answer came through for goss\n"), "{error}");
    }

    #[test]
    fn tests_on_the_host_decide_once_the_guest_has_answered() {
        let case = |outcome| Case { name: "pytest t.py::a".into(), outcome };
        let with = |outside, ssh: &str, result| {
            let console =
                format!("{DONE}KUTH-EXPECT 1 0 0  .\n{}KUTH-DONE\n", line(2, &format!("{ssh}\n")));
            verdict_with(None, Some(Path::new("/t")), outside, &console, result)
        };
        let passed = vec![case(CaseOutcome::Passed)];
        let booted = with(Some(Ok(passed.clone())), "listens", Err(Error::new(Interrupted)));
        assert_eq!(booted.unwrap().tests, passed);
        let failed = case(CaseOutcome::Failed { expected: "x".into(), found: "E 1\n\nE 2".into() });
        let error = with(Some(Ok(vec![failed])), "listens", Ok(())).unwrap_err();
        assert!(error.starts_with("booting by UEFI: 1 of 1 tests failed\n"), "{error}");
        assert!(error.contains("found: pytest t.py::a: E 1\n           E 2\n"), "{error}");
        let error = with(None, "nothing listens", Err(Error::new(Interrupted))).unwrap_err();
        assert!(error.starts_with("booting by UEFI: nothing listens at port 22"), "{error}");
        let error = with(Some(Err(anyhow!("no log-in"))), "listens", Ok(())).unwrap_err();
        assert!(error.starts_with("booting by UEFI: no log-in\n"), "{error}");
        let interrupted = Some(Err(Error::new(Interrupted)));
        let error = with(interrupted, "listens", Ok(())).unwrap_err();
        let ended =
            "booting by UEFI: the machine powered off before the tests of `pytest` had ended";
        assert!(error.starts_with(ended), "{error}");
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
        let nic = || Nic { network: Network::Nat, mac: Mac::derived("a", 0) };
        let launch = check.launch(nic(), None).unwrap();
        let files = |launch: &Launch| -> Vec<String> {
            launch.drives.iter().map(|drive| drive.file.clone()).collect()
        };
        assert_eq!(files(&launch), ["boot.qcow2", "seed.iso"]);
        assert!(launch.oem_strings.is_empty());
        let goss = goss();
        let with_goss = Check { goss: Some(&goss), ..check.clone() };
        let launch = with_goss.launch(nic(), None).unwrap();
        assert_eq!(files(&launch), ["boot.qcow2", "seed.iso", "tests.iso"]);
        assert_eq!(launch.cards[0].netdev, "user,restrict=on");
        let launch = Check { via: Via::Credentials, ..check }.launch(nic(), None).unwrap();
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
