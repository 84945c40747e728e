//! Running VBoxManage: how it is found, what it gets of the environment, which failures are
//! tried again. Return codes of 0 prove little here; who changes something reads it back.

use std::path::Path;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::error::{Context, Error, Hint, Result, anyhow, caused_by};
use crate::hypervisor::Host;
use crate::process::{Command, CommandFailed, find_program};

use super::NAME;
use super::options::Version;
use super::remembered::Remembered;
use super::retry::RetryPolicy;

/// What VirtualBox reads of the environment: whose machines, and which server keeps them.
const ENVIRONMENT: &[&str] = &["HOME", "USER", "LOGNAME", "TMPDIR", "XDG_*", "VBOX_*"];

/// Debian's `VBoxManage` is a script that prints warnings before every answer; this is behind it.
const BEHIND_THE_WRAPPER: &str = "/usr/lib/virtualbox/VBoxManage";

/// How long one command may take; copying a large disk takes longest.
const LIMIT: Duration = Duration::from_secs(3600);

/// How often a command is repeated: for 20 s in all. A VBoxManage that a killed run left may hold its
/// machine for the 10 s that it lingers (see [`super::retry`]), and longer on a busy host.
const RETRIES: RetryPolicy = RetryPolicy {
    pauses: if cfg!(test) {
        &[1; 9]
    } else {
        &[50, 100, 200, 400, 800, 1200, 1600, 1800, 1850, 3000, 4000, 5000]
    },
    observe_after: Duration::from_secs(1),
};

/// VBoxManage by its command line.
pub struct Caller<'a> {
    words: Vec<String>,
    log: &'a Path,
    cancel: &'a Cancel,
}

/// VBoxManage on this host, of a version that kuth works with.
pub struct Vbox<'a> {
    caller: Caller<'a>,
    /// What it calls itself.
    pub version: Version,
}

impl<'a> Vbox<'a> {
    /// Finds it and asks for its version.
    pub fn open(host: &'a Host) -> Result<Vbox<'a>, String> {
        let given = host.commands.get(NAME).map(String::as_str);
        let caller = Caller::find(given, &host.log, &host.cancel)?;
        let remembered = host.run_state.get::<Remembered>();
        let version = remembered.version(|| ask_version(&caller))?;
        Ok(Vbox { caller, version })
    }
}

impl<'a> std::ops::Deref for Vbox<'a> {
    type Target = Caller<'a>;

    fn deref(&self) -> &Caller<'a> {
        &self.caller
    }
}

impl<'a> Caller<'a> {
    /// By the command line `given`, else as it is found on this host.
    pub fn find(
        given: Option<&str>,
        log: &'a Path,
        cancel: &'a Cancel,
    ) -> Result<Caller<'a>, String> {
        Ok(Caller { words: words(given)?, log, cancel })
    }

    /// Runs a command that changes something, unless `is_done` finds that what it should do is
    /// done already when it failed or takes long; gives what it printed, if it ended by itself.
    pub fn run_or_observe<W: AsRef<str>>(
        &self,
        words: impl IntoIterator<Item = W>,
        is_done: impl Fn() -> Result<bool>,
    ) -> Result<Option<String>> {
        let words = owned(words);
        let work = |cancel: &Cancel| self.attempt(&words, cancel).map(Some);
        self.retry(work, || is_done().ok()?.then_some(None))
    }

    /// Runs a command that changes nothing.
    pub fn query<W: AsRef<str>>(&self, words: impl IntoIterator<Item = W>) -> Result<String> {
        let words = owned(words);
        let work = |cancel: &Cancel| self.attempt(&words, cancel);
        self.retry(work, || self.attempt(&words, self.cancel).ok())
    }

    /// Like [`Caller::query`]; `None` where what it asks for does not exist.
    pub fn ask<W: AsRef<str>>(&self, words: impl IntoIterator<Item = W>) -> Result<Option<String>> {
        match self.query(words) {
            Ok(text) => Ok(Some(text)),
            Err(error) if has_code(&error, "VBOX_E_OBJECT_NOT_FOUND") => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn retry<T: Send>(
        &self,
        work: impl Fn(&Cancel) -> Result<T> + Sync,
        observe: impl Fn() -> Option<T>,
    ) -> Result<T> {
        RETRIES.run_or_observe(self.cancel, work, is_transient, observe).map_err(explain)
    }

    fn attempt(&self, words: &[String], cancel: &Cancel) -> Result<String> {
        let command = command(&self.words).args(words).time_limit(LIMIT);
        let (output, tail) = command.run_with_tail(self.log, cancel)?;
        // Where the server ends in the midst of an answer, VBoxManage prints what it has and exits
        // with 0.
        if is_server_lost(&tail) {
            let (command, status) = (command.to_string(), "exit status 0".to_string());
            let log = self.log.to_path_buf();
            return Err(Error::new(CommandFailed { command, status, tail, log }));
        }
        text(&output)
    }
}

fn owned<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Vec<String> {
    words.into_iter().map(|word| word.as_ref().to_string()).collect()
}

/// The words that VBoxManage's command line begins with: as given, else as found on this host.
fn words(given: Option<&str>) -> Result<Vec<String>, String> {
    if let Some(given) = given.filter(|given| !given.trim().is_empty()) {
        let words = shlex::split(given).filter(|words| !words.is_empty());
        return words
            .ok_or_else(|| format!("`{given}` is not a command line: a quote is not closed"));
    }
    let found = find_program("VBoxManage").ok_or("there is no VBoxManage on this host")?;
    let direct = Path::new(BEHIND_THE_WRAPPER);
    let program = if direct.is_file() { direct } else { &found };
    Ok(vec![program.to_string_lossy().into_owned()])
}

fn command(words: &[String]) -> Command {
    Command::new(&words[0]).args(&words[1..]).inherit(ENVIRONMENT)
}

fn ask_version(caller: &Caller<'_>) -> Result<Version, String> {
    let command = command(&caller.words).arg("--version").time_limit(Duration::from_secs(60));
    let output =
        command.run(caller.log, caller.cancel).map_err(|error| match error.downcast() {
            Ok(CommandFailed { command, status, .. }) => format!("`{command}` failed: {status}"),
            Err(error) => format!("{error:#}"),
        })?;
    let text = String::from_utf8_lossy(&output).into_owned();
    let answered = || format!("its VBoxManage answered `{}`", text.trim());
    let version = Version::of_answer(&text).ok_or_else(answered)?;
    match version >= Version::OLDEST {
        true => Ok(version),
        false => Err(format!("VirtualBox {version} is too old; {} is needed", Version::OLDEST)),
    }
}

/// What was printed, without the warnings of a wrapper.
fn text(output: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(output).context("VBoxManage's answer is not UTF-8")?;
    let Some(rest) = text.strip_prefix("WARNING:") else { return Ok(text.to_string()) };
    let end = rest.find("\n\n").map_or(rest.len(), |at| at + 2);
    Ok(rest[end..].to_string())
}

/// The lines that VBoxManage explains a failure with.
fn lines(error: &Error) -> &[String] {
    caused_by::<CommandFailed>(error).map_or(&[], |failed| &failed.tail)
}

/// Whether a command failed with this code of VirtualBox's.
pub fn has_code(error: &Error, code: &str) -> bool {
    lines(error).iter().any(|line| line.contains("Details: code ") && line.contains(code))
}

/// What VirtualBox says, with its code, of a machine that somebody holds; the last three while it
/// notices that the holder was killed.
const HELD: [(&str, &str); 6] = [
    ("VBOX_E_INVALID_OBJECT_STATE", "is already locked"),
    ("VBOX_E_INVALID_OBJECT_STATE", "lock request pending"),
    ("VBOX_E_INVALID_OBJECT_STATE", "while it is locked"),
    ("E_ACCESSDENIED", "The object is not ready"),
    ("VBOX_E_VM_ERROR", "Failed to assign the machine to the session"),
    ("VBOX_E_", "was unlocked unexpectedly while attempting to"),
];

/// Whether another process, or one that is just ending, holds the machine.
fn is_locked(error: &Error) -> bool {
    let says = |text: &str| lines(error).iter().any(|line| line.contains(text));
    HELD.iter().any(|(code, text)| has_code(error, code) && says(text))
}

/// What VBoxManage says when it found no server and the one that it started was not there in time,
/// one was just ending as nobody had asked it for 5 s, or one ended in the midst of the command.
const SERVER_LOST: [&str; 8] = [
    "the VirtualBox COM server is not running or failed to start",
    "Failed to create the VirtualBox object!",
    "Peer process crashed",
    "Code NS_ERROR_ABORT ",
    "Code NS_ERROR_CALL_FAILED ",
    "Code NS_ERROR_UNEXPECTED ",
    "Details: code NS_ERROR_ABORT ",
    "Details: code NS_ERROR_CALL_FAILED ",
];

/// Whether VBoxManage lost the server; what it was to do may be done or not.
fn is_server_lost(lines: &[String]) -> bool {
    let is_error = |line: &&String| line.starts_with("VBoxManage: error: ");
    lines.iter().filter(is_error).any(|line| SERVER_LOST.iter().any(|text| line.contains(text)))
}

/// How a VBoxManage ends that crashes when it loses the server: SIGTRAP and SIGSEGV, or what a
/// shell around it makes of those.
const CRASHES: [&str; 4] =
    ["killed by signal 5", "killed by signal 11", "exit status 133", "exit status 139"];

fn has_crashed(error: &Error) -> bool {
    let failed = caused_by::<CommandFailed>(error);
    failed.is_some_and(|failed| CRASHES.contains(&failed.status.as_str()))
}

/// Whether the same command may succeed in a moment.
fn is_transient(error: &Error) -> bool {
    is_locked(error) || is_server_lost(lines(error)) || has_crashed(error)
}

/// Puts VirtualBox's own words first: what its command line was is in the log.
fn explain(error: Error) -> Error {
    let said: Option<String> = lines(&error)
        .iter()
        .find_map(|line| line.strip_prefix("VBoxManage: error: "))
        .map(str::to_string);
    match said {
        Some(said) if is_locked(&error) => {
            let error = error.context(format!("VirtualBox: {said}"));
            let hint = "close the machine's window or settings, or stop what works with it";
            crate::error::with_hint(error, hint)
        }
        Some(said) => error.context(format!("VirtualBox: {said}")),
        None => error,
    }
}

/// VBoxManage, or an error that says why it cannot be used.
pub fn open(host: &Host) -> Result<Vbox<'_>> {
    Vbox::open(host)
        .map_err(|why| anyhow!("VirtualBox cannot be used here: {why}"))
        .hint("name its command with `--vboxmanage`, or use another driver with `--driver`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_split_as_a_shell_would() {
        let split = |given| words(Some(given)).unwrap();
        assert_eq!(split("VBoxManage"), ["VBoxManage"]);
        assert_eq!(split("chroot '/a b' VBoxManage -q"), ["chroot", "/a b", "VBoxManage", "-q"]);
        assert!(words(Some("a 'b")).unwrap_err().contains("quote"));
    }

    #[test]
    fn a_wrappers_warnings_are_left_out() {
        let warned =
            "WARNING: The character device /dev/vboxdrv does not exist.\n\t Please\n\n\"a\" {1}\n";
        assert_eq!(text(warned.as_bytes()).unwrap(), "\"a\" {1}\n");
        assert_eq!(text(b"\"a\" {1}\n").unwrap(), "\"a\" {1}\n");
    }

    #[test]
    fn only_the_lock_and_a_lost_server_are_tried_again() {
        let ended = |status: &str, tail: &[&str]| {
            Error::new(CommandFailed {
                command: "VBoxManage".into(),
                status: status.into(),
                tail: tail.iter().map(|line| line.to_string()).collect(),
                log: "/log".into(),
            })
        };
        let failed = |tail: &[&str]| ended("exit status 1", tail);
        let locked = failed(&[
            "VBoxManage: error: The machine 'k0' is already locked for a session (or being unlocked)",
            "VBoxManage: error: Details: code VBOX_E_INVALID_OBJECT_STATE (0x80bb0007), component",
        ]);
        assert!(is_locked(&locked));
        let dying = failed(&[
            "VBoxManage: error: The object is not ready",
            "VBoxManage: error: Details: code E_ACCESSDENIED (0x80070005), component SessionMachine",
        ]);
        assert!(is_locked(&dying));
        let alone = failed(&[
            "VBoxManage: error: Failed to create the VirtualBox object!",
            "VBoxManage: error: Code NS_ERROR_FAILURE (0x80004005) - Operation failed",
            "VBoxManage: error: Most likely, the VirtualBox COM server is not running or failed to start.",
        ]);
        assert!(is_transient(&alone) && !is_locked(&alone));
        // As 7.2.22 does when its server is ended in the midst of a command.
        for (status, line) in [
            (
                "exit status 0",
                "Code NS_ERROR_ABORT (0x80004004) - Operation aborted (extended info not available)",
            ),
            (
                "exit status 1",
                "Code NS_ERROR_UNEXPECTED (0x8000FFFF) - Unexpected error (extended info not available)",
            ),
            (
                "exit status 1",
                "Code NS_ERROR_CALL_FAILED (0x800706BE) - Call to remote object failed (extended info not available)",
            ),
            (
                "exit status 133",
                "Details: code NS_ERROR_ABORT (0x80004004), component SessionWrap, interface ISession, callee nsISupports",
            ),
        ] {
            let lost = ended(status, &[&format!("VBoxManage: error: {line}")]);
            assert!(is_transient(&lost), "{line}");
        }
        let crashed = &["VBoxManage: warning: Failed to load API language: NS_ERROR_INVALID_ARG"];
        assert!(is_transient(&ended("exit status 139", crashed)));
        assert!(!is_transient(&failed(crashed)));
        let denied = failed(&[
            "VBoxManage: error: Code E_ACCESSDENIED (0x80070005) - Access denied",
            "VBoxManage: error: Details: code E_ACCESSDENIED (0x80070005)",
        ]);
        assert!(!is_transient(&denied));
        let saved = failed(&[
            "VBoxManage: error: The machine is not mutable (state is Saved)",
            "VBoxManage: error: Details: code VBOX_E_INVALID_VM_STATE (0x80bb0002)",
        ]);
        assert!(!is_transient(&saved));
        assert!(has_code(&saved, "VBOX_E_INVALID_VM_STATE"));
        let said = explain(saved).to_string();
        assert_eq!(said, "VirtualBox: The machine is not mutable (state is Saved)");
    }
}
