//! kuth once more, between kuth and a command that it starts: it asks the kernel to end the command with
//! kuth, which only the process itself can ask for, and becomes the command.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::sync::OnceLock;

use rustix::process::{Pid, Signal};

use crate::error::{Context, Result, ensure};

/// The hidden subcommand that runs [`main`]: `PARENT PROGRAM ARGUMENT...`.
pub const SUBCOMMAND: &str = "__start";

/// kuth's own program as the kernel names it, also when its file was replaced meanwhile.
const OWN: &str = "/proc/self/exe";

static IS_KUTH: OnceLock<()> = OnceLock::new();

/// Says that this program is kuth and has the subcommand. Another program that uses this library
/// starts commands itself, and they may outlive it.
pub fn this_is_kuth() {
    let _ = IS_KUTH.set(());
}

/// What starts `program`; its arguments are to be added.
pub(super) fn command(program: &OsString) -> std::process::Command {
    if IS_KUTH.get().is_none() {
        return std::process::Command::new(program);
    }
    let mut command = std::process::Command::new(OWN);
    command.arg(SUBCOMMAND).arg(std::process::id().to_string()).arg(program);
    command
}

/// Has the kernel end this process with the one that started it. A change of this process's user takes
/// that back.
pub fn end_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .context("binding this process to the one that started it")
}

/// Becomes the program of the arguments.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut start = || -> Result<(OsString, std::io::Error)> {
        let parent = arguments.next().context("no parent")?;
        let program = arguments.next().context("no program")?;
        end_with_parent()?;
        // It may have ended before that.
        let now = rustix::process::getppid().map_or(0, Pid::as_raw_pid);
        ensure!(parent == now.to_string().as_str(), "kuth has ended");
        let error = std::process::Command::new(&program).args(arguments.by_ref()).exec();
        Ok((program, error))
    };
    match start() {
        Ok((program, error)) => {
            eprintln!("starting {}: {error}", program.display());
            // As shells have it.
            ExitCode::from(if error.kind() == ErrorKind::NotFound { 127 } else { 126 })
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
