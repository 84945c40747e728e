//! `kuth remote-build` on the build host, where ssh starts it. Unpacks the project into a scratch
//! directory of the user's cache, runs `kuth build` there, and sends its events and output files to
//! standard output. The end of standard input ends the build.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::Request;
use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::cli::progress::wire;
use crate::error::{Context, Error, Result, anyhow, caused_by, ensure};
use crate::files::sparse;
use crate::process::{Command, CommandFailed};
use crate::threads;

/// The hidden subcommand that runs [`main`].
pub const SUBCOMMAND: &str = "remote-build-there";

/// The size of a piece of file data.
const PIECE: usize = 1 << 20;

/// Serves the one request on standard input.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            send_line(&json!({"event": "error", "error": wire::write_error(&error)}));
            ExitCode::FAILURE
        }
    }
}

fn send_line(line: &serde_json::Value) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
}

fn serve() -> Result<()> {
    let mut input = BufReader::new(io::stdin());
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line).context("reading the request")?;
    let request: Request = serde_json::from_slice(&line).context("reading the request")?;
    let home = std::env::var_os("HOME").context("finding the home of the user")?;
    let directory = std::env::var_os("KUTH_CACHE").map(PathBuf::from);
    let directory = directory.unwrap_or_else(|| Path::new(&home).join(".cache/kuth/cache"));
    let cache = Cache::open(&directory)?;
    // Removed at the end, or by the next build after a kill.
    let scratch = cache.scratch()?;
    let project = scratch.path().join("project");
    unpack(&mut input, &project).context("unpacking the project")?;
    let cancel = Cancel::default();
    let gone = cancel.clone();
    threads::detach(move || {
        // No more input is expected; its end means that the connection was closed.
        let _ = io::copy(&mut input, &mut io::sink());
        gone.cancel();
    })?;
    let status = build(&request, &project, &directory, &scratch.path().join("out"), &cancel)?;
    cancel.check()?;
    send(&request, &project, &scratch.path().join("out"))?;
    send_line(&json!({"event": "exit", "status": status}));
    Ok(())
}

fn unpack(input: &mut impl Read, to: &Path) -> Result<()> {
    std::fs::create_dir(to)?;
    let mut archive = ::tar::Archive::new(input);
    // Modes of files are part of recipes. A truncated archive may look complete, but then the input
    // has ended, and the build ends too.
    archive.set_preserve_permissions(true);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        let done = entry.unpack_in(to).with_context(|| format!("writing {}", name.display()))?;
        ensure!(done, "{} is outside the project", name.display());
    }
    Ok(())
}

/// The exit status of the build.
fn build(
    request: &Request,
    project: &Path,
    cache: &Path,
    output: &Path,
    cancel: &Cancel,
) -> Result<i32> {
    let own = std::env::current_exe().context("finding kuth's own program")?;
    let mut command = Command::new(own).args(&request.arguments).current_dir(project);
    command = command.args(["--message-format", "wire", "--cache"]).arg(cache);
    command = command.arg("--output").arg(output);
    // The host's variables, then those of the request.
    command = command.inherit(&["HOME", "USER", "XDG_*", "KUTH_*", "AWS_*", "AZURE_*", "GOOGLE_*"]);
    for (name, value) in &request.environment {
        command = command.env(name, value);
    }
    let log = project.with_file_name("build.log");
    let outcome = command.watch(&log, cancel, |bytes| {
        let mut out = io::stdout().lock();
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    });
    match outcome {
        Ok(()) => Ok(0),
        Err(error) => failed(error, &log),
    }
}

/// The exit status of a failed build. Events of stages were sent; other messages are in its log.
fn failed(error: Error, log: &Path) -> Result<i32> {
    let Some(failed) = caused_by::<CommandFailed>(&error) else { return Err(error) };
    let number = failed.status.strip_prefix("exit status ").and_then(|it| it.parse().ok());
    let Some(status) = number else { return Err(error) };
    let messages = std::fs::read_to_string(log).unwrap_or_default();
    let messages: Vec<&str> = messages.lines().filter(|line| !line.starts_with("$ ")).collect();
    let messages = messages.join("\n");
    match messages.strip_prefix("error: ").unwrap_or(&messages).trim() {
        "" => Ok(status),
        text => Err(anyhow!("{text}")),
    }
}

fn send(request: &Request, project: &Path, output: &Path) -> Result<()> {
    let lock = project.join(&request.lock);
    if lock.is_file() {
        send_file(&lock, "lock")?;
    }
    let Ok(pipelines) = std::fs::read_dir(output) else { return Ok(()) };
    for pipeline in pipelines {
        let directory = pipeline.context("reading the exports")?.path();
        for file in std::fs::read_dir(&directory).context("reading the exports")? {
            let file = file.context("reading the exports")?;
            let name = file.file_name().to_string_lossy().into_owned();
            if file.path().is_file() && !name.starts_with('.') {
                send_file(&file.path(), &format!("out/{name}"))?;
            }
        }
    }
    Ok(())
}

/// Sends the data of a file, not its holes.
fn send_file(path: &Path, name: &str) -> Result<()> {
    let what = || format!("sending {}", path.display());
    let file = std::fs::File::open(path).with_context(what)?;
    let size = file.metadata().with_context(what)?.len();
    send_line(&json!({"event": "file", "name": name, "size": size}));
    let mut buffer = vec![0; PIECE];
    for (at, length) in sparse::data_extents(&file).with_context(what)? {
        let (mut at, end) = (at, at + length);
        while at < end {
            let count = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            file.read_exact_at(&mut buffer[..count], at).with_context(what)?;
            send_line(&json!({"event": "data", "at": at, "bytes": count}));
            io::stdout().lock().write_all(&buffer[..count]).with_context(what)?;
            at += count as u64;
        }
    }
    send_line(&json!({"event": "whole"}));
    Ok(())
}
