//! Tests that pytest runs on the host, which reach the booted guest by SSH with testinfra. Key,
//! configuration and outcomes are in a directory of this boot, beside a copy of the tests. It does
//! not know how the guest came up.
//!
//! Source: testinfra's manual, "Connection backends"; pytest's, "Writing hook functions".

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::junit::{BY_TEST, Case, CaseOutcome, UNANSWERED};
use super::probe::{Access, Expectation, Protocol};
use crate::cancel::Cancel;
use crate::error::{Context, Hint, Result, anyhow, caused_by, with_hint};
use crate::process::{Command, CommandFailed, find_program};

/// What cases are called together, and a case that stands for all of them.
pub const NAME: &str = "pytest";

/// The guest's address in QEMU's user-mode network, to which ports are forwarded.
pub const ADDRESS: &str = "10.0.2.15";

/// What has to be so before anybody can log in.
pub const SSH: Expectation = Expectation::Port { number: 22, protocol: Protocol::Tcp };

/// The directory of the tests, in that of the boot.
pub const TESTS: &str = "tests";

/// The name of the guest in the configuration of `ssh`, and so in the names of tests.
const HOST: &str = "guest";

/// pytest's plugin, and its file.
const PLUGIN: &str = include_str!("kuth_outcomes.py");
const PLUGIN_FILE: &str = "kuth_outcomes.py";

/// How long a log-in may fail: the server may be up before the network is.
const LOG_IN: Duration = Duration::from_secs(180);
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(2);
/// How much of what pytest says is shown, in lines.
const SHOWN: usize = 15;

/// What [`Session`] runs, on Debian.
const INSTALL: &str =
    "install it: `apt-get install python3-pytest python3-testinfra openssh-client`";

/// Fails unless this host has what [`Session`] runs.
pub fn require(log: &Path, cancel: &Cancel) -> Result<()> {
    for program in ["python3", "ssh", "ssh-keygen"] {
        if find_program(program).is_none() {
            return Err(with_hint(
                anyhow!("`pytest` needs {program}, which this host does not have"),
                INSTALL,
            ));
        }
    }
    require_modules(python(), log, cancel)
}

fn require_modules(python: Command, log: &Path, cancel: &Cancel) -> Result<()> {
    match python.args(["-c", "import pytest, testinfra"]).run(log, cancel) {
        Ok(_) => Ok(()),
        Err(error) => match caused_by::<CommandFailed>(&error) {
            None => Err(error),
            Some(failed) => {
                let reason = failed.tail.last().map_or("", |line| line.trim());
                let what = anyhow!("python3 has no pytest or no testinfra on this host: {reason}");
                Err(with_hint(what, INSTALL))
            }
        },
    }
}

/// Python, which may have modules in the user's own directory.
fn python() -> Command {
    Command::new("python3").inherit(&["HOME", "VIRTUAL_ENV"]).env("PYTHONDONTWRITEBYTECODE", "1")
}

/// What one boot's tests need.
#[derive(Debug)]
pub struct Session<'a> {
    /// A directory that has [`TESTS`].
    directory: &'a Path,
    /// The port of this host that leads to the guest's SSH server.
    pub port: u16,
    log: &'a Path,
}

impl<'a> Session<'a> {
    /// Makes a key and a configuration in `directory`, which has [`TESTS`]. The card by which the guest
    /// is reached has the address `mac`; what lets the key in.
    pub fn new(
        directory: &'a Path,
        mac: String,
        log: &'a Path,
        cancel: &Cancel,
    ) -> Result<(Session<'a>, Access)> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0));
        let address = listener.and_then(|listener| listener.local_addr());
        let port = address.context("looking for a free port")?.port();
        let session = Session { directory, port, log };
        // Those of an earlier boot.
        for name in ["key", "key.pub", "outcomes"] {
            let _ = std::fs::remove_file(directory.join(name));
        }
        Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "kuth", "-f", "key"])
            .current_dir(directory)
            .run(log, cancel)
            .context("making a key for the guest")?;
        for (name, text) in [
            ("ssh-config", session.configuration()),
            (PLUGIN_FILE, PLUGIN.to_string()),
            // Without it, pytest looks for one in the directories above.
            ("pytest.ini", "[pytest]\n".to_string()),
        ] {
            std::fs::write(directory.join(name), text)
                .with_context(|| format!("writing {name}"))?;
        }
        let key = std::fs::read_to_string(directory.join("key.pub")).context("reading the key")?;
        Ok((session, Access { key: key.trim().to_string(), mac }))
    }

    /// How `ssh` reaches the guest, and nothing of the user's own.
    fn configuration(&self) -> String {
        let key = self.directory.join("key").display().to_string();
        let key = key.replace('"', "").replace('%', "%%");
        format!(
            "Host {HOST}
    HostName 127.0.0.1
    Port {}
    User root
    IdentityFile \"{key}\"
    IdentitiesOnly yes
    IdentityAgent none
    BatchMode yes
    PreferredAuthentications publickey
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
    ConnectTimeout 30
",
            self.port
        )
    }

    /// Logs in, runs the tests, and gives their cases. An error where nobody can log in.
    pub fn run(&self, cancel: &Cancel) -> Result<Vec<Case>> {
        self.log_in(cancel)?;
        let outcomes = self.directory.join("outcomes");
        let mut output = Vec::new();
        let ended = python()
            .args(["-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider"])
            .args(["-p", PLUGIN_FILE.trim_end_matches(".py")])
            .arg(format!("--hosts=ssh://{HOST}"))
            .args(["--ssh-config=ssh-config", TESTS])
            .env("KUTH_OUTCOMES", &outcomes)
            .current_dir(self.directory)
            .watch(self.log, cancel, |bytes| output.extend_from_slice(bytes));
        let said = String::from_utf8_lossy(&output).into_owned();
        self.keep(&said)?;
        let failure = match ended {
            Ok(()) => None,
            Err(error) => match caused_by::<CommandFailed>(&error) {
                None => return Err(error),
                Some(failed) => {
                    let lines = said.lines().map(str::to_string);
                    let lines: Vec<String> = failed.tail.iter().cloned().chain(lines).collect();
                    let shown = &lines[lines.len().saturating_sub(SHOWN)..];
                    Some(format!("{}\n{}", failed.status, shown.join("\n")))
                }
            },
        };
        let text = match std::fs::read_to_string(&outcomes) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).context("reading the outcomes of the tests"),
        };
        Ok(cases(&text, failure))
    }

    fn ssh(&self) -> Command {
        Command::new("ssh").args(["-F", "ssh-config", HOST]).current_dir(self.directory)
    }

    fn log_in(&self, cancel: &Cancel) -> Result<()> {
        let start = Instant::now();
        loop {
            let limit = Duration::from_secs(60);
            let Err(error) = self.ssh().arg("true").time_limit(limit).run(self.log, cancel) else {
                return Ok(());
            };
            cancel.check()?;
            if start.elapsed() > LOG_IN {
                return Err(error.context("logging in to the guest as root by SSH")).hint(
                    "its SSH server must let root in by a key (`PermitRootLogin \
                     prohibit-password`, as it is by default), and its first card must be set up \
                     by DHCP or by systemd-networkd",
                );
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Adds what pytest said to the log.
    fn keep(&self, said: &str) -> Result<()> {
        use std::io::Write;
        let mut log = crate::process::open_log(self.log)?;
        log.write_all(said.as_bytes()).with_context(|| format!("writing {}", self.log.display()))
    }
}

/// The cases that the plugin's lines tell of, by name; `failure` is what pytest said if it failed.
fn cases(lines: &str, failure: Option<String>) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in lines.lines() {
        let Ok((name, word, text)) = serde_json::from_str::<(String, String, String)>(line) else {
            continue;
        };
        let outcome = match word.as_str() {
            "passed" => CaseOutcome::Passed,
            "skipped" => CaseOutcome::Skipped(BY_TEST),
            "failed" => CaseOutcome::Failed { expected: "passed".into(), found: text },
            _ => CaseOutcome::Error(text),
        };
        let name = format!("{NAME} {name}");
        // A test that passed may fail when it cleans up.
        match cases.iter_mut().find(|case| case.name == name) {
            Some(case) if case.outcome.is_good() => case.outcome = outcome,
            Some(_) => {}
            None => cases.push(Case { name, outcome }),
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    let error = match failure {
        Some(said) if cases.iter().all(|case| case.outcome.is_good()) => said,
        None if cases.is_empty() => "there is no test".to_string(),
        _ => return cases,
    };
    cases.insert(0, Case { name: NAME.into(), outcome: CaseOutcome::Error(error) });
    cases
}

/// The case of tests that did not run.
pub fn unanswered() -> Case {
    Case { name: NAME.into(), outcome: CaseOutcome::Skipped(UNANSWERED) }
}

/// The directory of a boot's tests in its work directory.
pub fn directory(work: &Path) -> PathBuf {
    work.join("pytest")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(lines: &str, failure: Option<&str>) -> Vec<(String, CaseOutcome)> {
        let cases = cases(lines, failure.map(str::to_string)).into_iter();
        cases.map(|case| (case.name, case.outcome)).collect()
    }

    fn named(cases: &[(&str, CaseOutcome)]) -> Vec<(String, CaseOutcome)> {
        cases.iter().map(|(name, outcome)| (name.to_string(), outcome.clone())).collect()
    }

    #[test]
    fn each_test_is_a_case_and_the_worst_of_its_parts_counts() {
        let lines = "[\"t.py::c\", \"passed\", \"\"]\n[\"t.py::b\", \"failed\", \"E a\\nb\"]\n\
            [\"t.py::a\", \"skipped\", \"\"]\n[\"t.py::c\", \"error\", \"at its end\"]\nnoise\n\
            [\"t.py::b\", \"passed\", \"\"]\n";
        let failed = CaseOutcome::Failed { expected: "passed".into(), found: "E a\nb".into() };
        let expected = named(&[
            ("pytest t.py::a", CaseOutcome::Skipped(BY_TEST)),
            ("pytest t.py::b", failed),
            ("pytest t.py::c", CaseOutcome::Error("at its end".into())),
        ]);
        assert_eq!(outcomes(lines, Some("exit status 1")), expected);
    }

    #[test]
    fn what_no_test_explains_is_an_error_of_pytest_itself() {
        let error = |text: &str| CaseOutcome::Error(text.into());
        let none = "exit status 5\nno tests ran";
        assert_eq!(outcomes("", Some(none)), named(&[(NAME, error(none))]));
        assert_eq!(outcomes("", None), named(&[(NAME, error("there is no test"))]));
        let passed = "[\"t.py::a\", \"passed\", \"\"]\n";
        let cases = outcomes(passed, Some("exit status 3"));
        assert_eq!(cases[0], (NAME.to_string(), error("exit status 3")));
        assert_eq!(cases.len(), 2);
        assert_eq!(outcomes(passed, None).len(), 1);
    }

    #[test]
    fn a_python_without_the_modules_is_one_error_with_their_packages() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let python = |script: &str| Command::new("sh").args(["-c", script, "sh"]);
        let require = |script: &str| require_modules(python(script), &log, &Cancel::default());
        let missing = "echo \"ModuleNotFoundError: No module named 'testinfra'\" >&2; exit 1";
        let error = require(missing).unwrap_err();
        let expected = "python3 has no pytest or no testinfra on this host: ModuleNotFoundError: No \
                        module named 'testinfra'";
        assert_eq!(error.to_string(), expected);
        let hints = crate::error::hints(&error);
        assert!(hints[0].contains("python3-pytest python3-testinfra"), "{hints:?}");
        require("[ \"$*\" = '-c import pytest, testinfra' ]").unwrap();
    }

    #[test]
    fn each_boot_has_a_key_of_its_own_and_ssh_understands_the_configuration() {
        use kuth_test_support::judge;
        if !judge::is_there("ssh-keygen") || !judge::is_there("ssh") {
            return;
        }
        let directory = tempfile::Builder::new().prefix("5% it's").tempdir().unwrap();
        let log = directory.path().join("log");
        let make =
            || Session::new(directory.path(), "02:00:00:00:00:01".into(), &log, &Cancel::default());
        let (session, access) = make().unwrap();
        assert!(access.key.starts_with("ssh-ed25519 ") && access.key.ends_with(" kuth"));
        let config = directory.path().join("ssh-config");
        let said = judge::tool("ssh", &["-G", "-F", config.to_str().unwrap(), HOST]).unwrap();
        for line in ["hostname 127.0.0.1", "user root", "batchmode yes", "identityagent none"] {
            assert!(said.lines().any(|it| it == line), "{line} is not in\n{said}");
        }
        assert!(said.lines().any(|it| it == format!("port {}", session.port)), "{said}");
        let (_, again) = make().unwrap();
        assert_ne!(access.key, again.key);
    }

    /// With pytest itself, and without a guest.
    #[test]
    fn the_plugin_writes_what_is_read() {
        const TEST: &str = "import pytest\n\
            def test_good(): pass\n\
            def test_bad(): assert 1 == 2\n\
            def test_skipped(): pytest.skip('no')\n\
            @pytest.fixture\n\
            def broken(): raise OSError('gone')\n\
            def test_error(broken): pass\n\
            @pytest.fixture\n\
            def messy():\n    yield\n    raise OSError('left')\n\
            def test_messy(messy): pass\n";
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        let log = directory.path().join("log");
        let cancel = Cancel::default();
        let Some(path) = kuth_test_support::judge::path_with_testinfra() else { return };
        write(PLUGIN_FILE, PLUGIN);
        write("test_a.py", TEST);
        write("test_b.py", "import no_such_module_of_kuth\n");
        let outcomes_file = directory.path().join("outcomes");
        let run = python()
            .env("PATH", path)
            .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "kuth_outcomes"])
            .args(["--continue-on-collection-errors", "."])
            .env("KUTH_OUTCOMES", &outcomes_file)
            .current_dir(directory.path());
        run.run(&log, &cancel).unwrap_err();
        let found = outcomes(&std::fs::read_to_string(&outcomes_file).unwrap(), Some("failed"));
        let words: Vec<String> = found
            .iter()
            .map(|(name, outcome)| {
                let word = match outcome {
                    CaseOutcome::Passed => "passed".to_string(),
                    CaseOutcome::Skipped(_) => "skipped".to_string(),
                    CaseOutcome::Failed { found, .. } => {
                        format!("failed {}", found.contains("assert 1 == 2"))
                    }
                    CaseOutcome::Error(text) => format!(
                        "error {}",
                        ["gone", "left", "no_such_module_of_kuth"]
                            .iter()
                            .any(|it| text.contains(it))
                    ),
                };
                format!("{name} {word}")
            })
            .collect();
        let expected = [
            "pytest test_a.py::test_bad failed true",
            "pytest test_a.py::test_error error true",
            "pytest test_a.py::test_good passed",
            "pytest test_a.py::test_messy error true",
            "pytest test_a.py::test_skipped skipped",
            "pytest test_b.py error true",
        ];
        assert_eq!(words, expected);
    }
}
