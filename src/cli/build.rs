//! `kuth build`.

use std::sync::Arc;

use super::options::{Building, MessageFormat, OnError};
use super::progress::{self, ResultPaths};
use super::project::Project;
use super::{Exit, interrupt, remote, screen};
use crate::artifact::ArtifactKind;
use crate::cancel::Cancel;
use crate::engine::{Build, Fetch, Options, Plan};
use crate::error::Result;

/// Build stages of a pipeline and their inputs
///
/// A stage whose recipe was run before is restored from the cache. A failed stage
/// does not stop stages that do not depend on it. The paths of exports and machines
/// are printed to standard output, one per line.
///
/// `--on-error keep` keeps the work directory of a failed stage and prints its
/// path; `shell` also prints how to enter it.
///
/// Ctrl-C stops the build within two seconds and keeps every finished stage. A
/// second Ctrl-C ends kuth at once.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    building: Building,
}

/// Runs `kuth build`.
pub fn run(args: &Args) -> Result<Exit> {
    let cancel = Cancel::default();
    interrupt::gracefully(&cancel)?;
    let project = Project::open_to_build(&args.building)?;
    let format = args.building.message_format;
    let paths = Arc::new(ResultPaths::new(progress::observer(format)));
    let cache = project.cache()?;
    let (root, offline) = (&project.settings.root, project.settings.offline);
    let remote = remote::open(root, offline, &cache, &cancel, paths.clone())?;
    let summary = {
        let plan = Plan::new(&project.pipeline, &args.building.stages)?;
        project.check_lock(&plan, &cache)?;
        let build = Build {
            plan: &plan,
            cache,
            settings: Arc::new(project.settings.clone()),
            lock: &project.lock,
            observer: paths.clone(),
            cancel,
            remote,
            options: Options {
                rebuild: args.building.rebuild.clone(),
                fetch: if args.building.no_fetch { Fetch::Needed } else { Fetch::Targets },
                signer: remote::signer()?,
            },
        };
        build.run()?
    };
    if format == MessageFormat::Human {
        screen::data(&output_paths(&project, &paths))?;
    }
    match summary.failed {
        0 => Ok(Exit::Done),
        _ => {
            print_how_to_enter(args.building.on_error);
            Ok(Exit::Failed)
        }
    }
}

/// The paths of exports and machines, one per line.
pub(super) fn output_paths(project: &Project, paths: &ResultPaths) -> String {
    let is_output = |name: &str| {
        let stage = name.split_once('/').map_or(name, |(stage, _)| stage);
        project.pipeline.stage(stage).is_some_and(|stage| {
            matches!(
                stage.output,
                ArtifactKind::Export | ArtifactKind::Machine | ArtifactKind::Machines
            )
        })
    };
    let mut outputs = paths.recorded();
    outputs.retain(|(stage, _)| is_output(stage));
    outputs.sort();
    outputs.iter().map(|(_, path)| format!("{}\n", path.display())).collect()
}

/// Prints what `--on-error shell` promises. The failure and the directory that was kept have been
/// reported already.
fn print_how_to_enter(on_error: OnError) {
    if on_error == OnError::Shell {
        screen::talk(
            "to inspect the failure, `cd` into the directory that was kept; enter a tree in it with\n\
             `unshare --mount --pid --fork --mount-proc chroot root /bin/sh` (an ordinary user\n\
             adds `--user --map-auto --map-root-user`)",
        );
    }
}
