//! Sends kuth itself, once, and the project with the request to a build host.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ChildStdin;

use super::Request;
use super::address::Address;
use crate::cancel::Cancel;
use crate::digest;
use crate::error::{Context, Error, Hint, Result, anyhow};
use crate::process::Command;

/// The directory of programs on the host, as a shell expands it.
const PROGRAMS: &str = "\"$HOME\"/.cache/kuth/bin";

/// The path of this program on the host. Copies it there unless it is there.
pub fn program(ssh: &Command, host: &Address, log: &Path, cancel: &Cancel) -> Result<String> {
    let own = std::env::current_exe().context("finding kuth's own program")?;
    let what = || format!("reading {}", own.display());
    let file = File::open(&own).with_context(what)?;
    let size = file.metadata().with_context(what)?.len();
    let (digest, _) = digest::of_reader(file).with_context(what)?;
    let name = format!("{PROGRAMS}/kuth-{}", &digest.to_string()[..16]);
    let asked = ssh.clone().arg(format!("uname -m; test -x {name} && echo there; true"));
    let answer =
        asked.run(log, cancel).with_context(|| format!("connecting to {}", host.name()))?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let mut lines = answer.lines();
    let (there, here) = (lines.next().unwrap_or_default(), std::env::consts::ARCH);
    if there != here {
        let text = format!("{} has the architecture {there}, this kuth {here}", host.name());
        return Err(anyhow!(text))
            .hint("install kuth on the host and give its path: `--kuth PATH`");
    }
    if lines.next() == Some("there") {
        return Ok(name);
    }
    // Renamed when it is complete, so that no partial program is run.
    let script = format!(
        "umask 077; mkdir -p {PROGRAMS} && cat >{name}.$$ && \
         test \"$(wc -c <{name}.$$)\" -eq {size} && chmod 700 {name}.$$ && mv {name}.$$ {name}"
    );
    let feed = |mut input: ChildStdin| {
        // A failure shows in the script's exit status.
        let _ = File::open(&own).and_then(|mut file| io::copy(&mut file, &mut input));
        None
    };
    let copied = ssh.clone().arg(script).converse(log, cancel, feed, |_| ());
    copied.with_context(|| format!("copying kuth to {}", host.name()))?;
    Ok(name)
}

/// Whether writing failed only because the host closed the connection; the host reports why.
pub fn is_hung_up(error: &Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.into_iter().any(|cause| cause.kind() == ErrorKind::BrokenPipe)
}

/// Writes the request and a tar of `files` below `root`.
pub fn project(
    request: &Request,
    root: &Path,
    files: &[PathBuf],
    input: &mut impl Write,
) -> Result<()> {
    serde_json::to_writer(&mut *input, request)?;
    input.write_all(b"\n")?;
    let mut tar = ::tar::Builder::new(&mut *input);
    tar.follow_symlinks(false);
    for name in files {
        tar.append_path_with_name(root.join(name), name)
            .with_context(|| format!("sending {}", name.display()))?;
    }
    tar.into_inner().context("sending the project")?.flush().context("sending the project")
}
