//! The error of a failed command, with the end of its log.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// A command failed. Has what is needed to repeat it.
#[derive(Debug)]
pub struct CommandFailed {
    /// The command, quoted for a shell.
    pub command: String,
    /// `exit status 2`, `killed by signal 9`, or why kuth killed it.
    pub status: String,
    /// The last lines of its standard error.
    pub tail: Vec<String>,
    /// The log with all of it.
    pub log: PathBuf,
}

/// How the status of a command ends that kuth killed at its time limit.
pub(super) const AT_LIMIT: &str = "(time limit)";

impl CommandFailed {
    /// Whether kuth killed the command at its time limit.
    pub fn timed_out(&self) -> bool {
        self.status.ends_with(AT_LIMIT)
    }
}

impl fmt::Display for CommandFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "a command failed: {}", self.status)?;
        writeln!(f, "  command: {}", self.command)?;
        for line in &self.tail {
            writeln!(f, "  | {line}")?;
        }
        write!(f, "  full log: {}", self.log.display())
    }
}

impl std::error::Error for CommandFailed {}

/// The exit status or signal of a command, as text.
pub fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_string(),
    }
}

/// The last `count` lines of `log` after byte `start`; empty when it cannot be read.
pub(super) fn read_tail(log: &Path, start: u64, count: usize) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(end.saturating_sub(1 << 16))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| line.to_string()).collect()
}
