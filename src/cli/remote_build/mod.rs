//! `kuth remote-build`: a build on another host over ssh. One connection carries the project to the
//! host, and events and exports back; the build runs as long as the connection is open. The other
//! end is [`serve`], in the same program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::build::output_paths;
use super::options::{Building, MessageFormat};
use super::progress::{self, ResultPaths};
use super::project::{self, Project};
use super::{Exit, interrupt, screen};
use crate::artifact::ArtifactKind;
use crate::cancel::Cancel;
use crate::engine::Plan;
use crate::error::{Result, anyhow};
use crate::lock::LockFile;
use crate::stage::Table;

mod address;
mod files;
mod receive;
mod send;
pub mod serve;

use address::Address;

/// Build on another host over ssh
///
/// Sends the project's files to the host (those that git tracks or would add;
/// without git, all except cache and out), builds there, and copies exports to
/// `out/` and the lock file to its place beside the pipeline. Other results stay in
/// the host's cache, in ~/.cache/kuth. Ctrl-C or a lost connection also ends the
/// build on the host.
///
/// Without --kuth, this program is copied to the host once, which must have the
/// same architecture. ssh cannot ask for a password: use a key.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Build host: ssh://[user@]host[:port]
    host: Address,

    #[command(flatten)]
    building: Building,

    /// Path of kuth on the host
    #[arg(long, value_name = "PATH")]
    kuth: Option<String>,

    /// Command of ssh [default: ssh]
    #[arg(long, value_name = "CMD", env = "KUTH_SSH", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    ssh: Option<String>,
}

/// The request to the build host, a line of JSON.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Request {
    /// The arguments of `kuth`.
    arguments: Vec<String>,
    /// Environment variables that the pipeline or the build reads.
    environment: BTreeMap<String, String>,
    /// The lock file, relative to the root of the project.
    lock: PathBuf,
}

/// Runs `kuth remote-build`.
pub fn run(args: &Args) -> Result<Exit> {
    let cancel = Cancel::default();
    interrupt::gracefully(&cancel)?;
    let building = &args.building;
    // Errors in the pipeline are reported before anything is sent.
    let project = Project::open_to_build(building)?;
    Plan::new(&project.pipeline, &building.stages)?;
    let cache = project.cache()?;
    let log = cache.log(&project.pipeline.name, "remote-build");
    let ssh = args.host.ssh(args.ssh.as_deref())?;
    let kuth = match &args.kuth {
        Some(kuth) => crate::process::quote(kuth),
        None => send::program(&ssh, &args.host, &log, &cancel)?,
    };
    let paths = Arc::new(ResultPaths::new(progress::observer(building.message_format)));
    let request = request(args, &project)?;
    let files = files::list(&project, &log, &cancel)?;
    let root = project.settings.root.clone();
    let fault = Mutex::new(None);
    let feed = |mut input| match send::project(&request, &root, &files, &mut input) {
        // Kept open for as long as the build may run.
        Ok(()) => Some(input),
        Err(error) => {
            let error = Some(error).filter(|error| !send::is_hung_up(error));
            fault.lock().map(|mut fault| *fault = error).ok()?;
            None
        }
    };
    let place = |stage: &str, path: &str| {
        let stage = stage.split('/').next().unwrap_or_default();
        let output = project.pipeline.stage(stage).map(|stage| stage.output);
        let name = Path::new(path).file_name().unwrap_or_default();
        match output {
            Some(ArtifactKind::Export) => project.settings.output.join(name).display().to_string(),
            _ => format!("{}:{path}", args.host.name()),
        }
    };
    let lock = LockFile::beside(&project.pipeline.path);
    let receiver = receive::Receiver::new(paths.clone(), &place, &project.settings.output, lock);
    let receiver = Mutex::new(receiver);
    let command = ssh.arg(format!("exec {kuth} {}", serve::SUBCOMMAND));
    let outcome = command.converse(&log, &cancel, feed, |bytes| {
        if let Ok(mut receiver) = receiver.lock() {
            receiver.receive(bytes);
        }
    });
    cancel.check()?;
    if let Some(fault) = fault.into_inner().unwrap_or_default() {
        return Err(fault);
    }
    let receiver = receiver.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let status = receiver.status();
    // The reason for a lost connection is in the output of ssh.
    if status.is_none() {
        outcome?;
    }
    let status = status
        .unwrap_or_else(|| Err(anyhow!("the build host closed the connection without a result")))?;
    if building.message_format == MessageFormat::Human {
        screen::data(&output_paths(&project, &paths))?;
    }
    Ok(match status {
        0 => Exit::Done,
        2 => Exit::Misuse,
        130 => Exit::Interrupted,
        _ => Exit::Failed,
    })
}

fn request(args: &Args, project: &Project) -> Result<Request> {
    let building = &args.building;
    let root = &project.settings.root;
    let within = |path: &Path| -> Result<PathBuf> {
        let path = std::path::absolute(path)?;
        let below = path.strip_prefix(root).ok().map(Path::to_path_buf);
        below.ok_or_else(|| anyhow!("{} is not in {}", path.display(), root.display()))
    };
    let pipeline = within(&building.source.pipeline)?;
    let mut arguments: Vec<String> = vec!["build".into(), pipeline.display().to_string()];
    arguments.extend(building.stages.iter().cloned());
    let mut option = |name: &str, value: Option<String>| {
        arguments.push(name.to_string());
        arguments.extend(value);
    };
    for var in &building.source.vars {
        option("--var", Some(format!("{}={}", var.name, var.value)));
    }
    for stage in &building.rebuild {
        option("--rebuild", Some(stage.clone()));
    }
    let valued = [
        ("--jobs", building.jobs.map(|jobs| jobs.to_string())),
        ("--mirror", building.archive.mirror.clone().filter(|url| !url.is_empty())),
        ("--snapshot", building.archive.snapshot.clone().filter(|url| !url.is_empty())),
        ("--driver", building.source.driver.map(|driver| driver.name().to_string())),
    ];
    for (name, value) in valued {
        if value.is_some() {
            option(name, value);
        }
    }
    let flags = [
        ("--locked", building.locked),
        ("--offline", building.offline),
        ("--no-fetch", building.no_fetch),
        ("--allow-expired", building.archive.allow_expired),
        ("--replace", building.replace),
        ("--allow-host-tests", building.allow_host_tests),
    ];
    for (name, given) in flags {
        if given {
            option(name, None);
        }
    }
    let environment = environment(building)?;
    let lock = within(&LockFile::beside(&project.pipeline.path))?;
    Ok(Request { arguments, environment, lock })
}

/// The environment variables that the pipeline reads, which the host does not have. The address of
/// the remote cache and the signing key are the host's own.
fn environment(building: &Building) -> Result<BTreeMap<String, String>> {
    let asked = Mutex::new(BTreeMap::new());
    let note = |name: &str| {
        let value = std::env::var(name).ok()?;
        asked.lock().ok()?.insert(name.to_string(), value.clone());
        Some(value)
    };
    project::load_with(&building.source.pipeline, &building.source.vars, &Table, &note)?;
    note("SOURCE_DATE_EPOCH");
    Ok(asked.into_inner().unwrap_or_default())
}
