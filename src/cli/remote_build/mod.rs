//! `kuth remote-build`: a build on another machine, reached by ssh. The project goes there, what
//! is told and what was exported comes back, over one connection: as long as it stands, the build
//! runs. The other end is [`there`], in the same kuth.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::build::made;
use super::options::{Building, MessageFormat};
use super::progress::{self, Places};
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
mod ship;
pub mod there;

use address::Address;

/// Build on another machine
///
/// The project's files (those that git knows or would add; without git, all but
/// cache and out) go to the host by ssh, kuth is run there, and what it exports
/// comes back to `out/`, the lock beside the pipeline. Results stay in the host's
/// own cache, in ~/.cache/kuth. Ctrl-C, or a connection that breaks, ends the build
/// there as well.
///
/// Without --kuth, this program goes there once; the host must be of the same
/// architecture. ssh asks for no password: use a key.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The host, as ssh://[user@]host[:port]
    host: Address,

    #[command(flatten)]
    building: Building,

    /// The kuth of the host
    #[arg(long, value_name = "PATH")]
    kuth: Option<String>,

    /// The command line of ssh
    /// [default: ssh]
    #[arg(long, value_name = "CMD", env = "KUTH_SSH", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    ssh: Option<String>,
}

/// What the other end is asked for; a line of JSON.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Request {
    /// The words after `kuth`.
    words: Vec<String>,
    /// Variables that the pipeline or the build asks for.
    environment: BTreeMap<String, String>,
    /// The lock, seen from the root of the project.
    lock: PathBuf,
}

/// Builds.
pub fn run(args: &Args) -> Result<Exit> {
    let cancel = Cancel::default();
    interrupt::gracefully(&cancel)?;
    let building = &args.building;
    // What is wrong with the pipeline is told before anything goes anywhere.
    let project = Project::open_to_build(building)?;
    Plan::new(&project.pipeline, &building.stages)?;
    let cache = project.cache()?;
    let log = cache.log(&project.pipeline.name, "remote-build");
    let ssh = args.host.ssh(args.ssh.as_deref())?;
    let kuth = match &args.kuth {
        Some(kuth) => crate::process::quote(kuth),
        None => ship::program(&ssh, &args.host, &log, &cancel)?,
    };
    let places = Arc::new(Places::new(progress::observer(building.message_format)));
    let request = request(args, &project)?;
    let files = files::of(&project, &log, &cancel)?;
    let root = project.settings.root.clone();
    let fault = Mutex::new(None);
    let feed = |mut input| match ship::project(&request, &root, &files, &mut input) {
        // Held open for as long as the build may go on.
        Ok(()) => Some(input),
        Err(error) => {
            let error = Some(error).filter(|error| !ship::is_hung_up(error));
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
    let receiver = receive::Receiver::new(places.clone(), &place, &project.settings.output, lock);
    let receiver = Mutex::new(receiver);
    let command = ssh.arg(format!("exec {kuth} {}", there::SUBCOMMAND));
    let ended = command.converse(&log, &cancel, feed, |bytes| {
        if let Ok(mut receiver) = receiver.lock() {
            receiver.take(bytes);
        }
    });
    cancel.check()?;
    if let Some(fault) = fault.into_inner().unwrap_or_default() {
        return Err(fault);
    }
    let receiver = receiver.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let status = receiver.status();
    // A connection that broke says why in what ssh said.
    if status.is_none() {
        ended?;
    }
    let status = status.unwrap_or_else(|| Err(anyhow!("the other kuth ended without a word")))?;
    if building.message_format == MessageFormat::Human {
        screen::data(&made(&project, &places))?;
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
    let mut words: Vec<String> = vec!["build".into(), pipeline.display().to_string()];
    words.extend(building.stages.iter().cloned());
    let mut option = |name: &str, value: Option<String>| {
        words.push(name.to_string());
        words.extend(value);
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
        ("--driver", building.source.driver.map(|driver| driver.word().to_string())),
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
    ];
    for (name, given) in flags {
        if given {
            option(name, None);
        }
    }
    let environment = environment(building)?;
    let lock = within(&LockFile::beside(&project.pipeline.path))?;
    Ok(Request { words, environment, lock })
}

/// What the build reads of the environment here and would miss there. Where the remote cache lies,
/// and with which key results are signed, is the host's own matter.
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
