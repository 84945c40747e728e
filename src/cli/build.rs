//! `kuth build`.

use std::sync::Arc;

use super::options::{Building, MessageFormat, OnError};
use super::progress::{self, Places};
use super::project::Project;
use super::{Exit, interrupt, remote, screen};
use crate::artifact::ArtifactKind;
use crate::cancel::Cancel;
use crate::engine::{Build, Fetch, Options, Plan};
use crate::error::Result;

/// Build stages of a pipeline and what they need
///
/// A stage whose recipe was run before is taken from the cache. A stage that fails
/// does not stop others that do not need it. Exports and machines that were made
/// are listed on standard output, one path a line.
///
/// --on-error keep leaves the directory of a stage that failed where it is and says
/// where; shell also says how to enter it.
///
/// Ctrl-C stops within two seconds and keeps every finished stage; once more
/// ends kuth at once.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    building: Building,
}

/// Builds.
pub fn run(args: &Args) -> Result<Exit> {
    let cancel = Cancel::default();
    interrupt::gracefully(&cancel)?;
    let project = Project::open_to_build(&args.building)?;
    let format = args.building.message_format;
    let places = Arc::new(Places::new(progress::observer(format)));
    let cache = project.cache()?;
    let (root, offline) = (&project.settings.root, project.settings.offline);
    let shelf = remote::shelf(root, offline, &cache, &cancel, places.clone())?;
    let summary = {
        let plan = Plan::new(&project.pipeline, &args.building.stages)?;
        project.check_networks(&plan, &cache)?;
        project.check_lock(&plan, &cache)?;
        let build = Build {
            plan: &plan,
            cache,
            settings: Arc::new(project.settings.clone()),
            lock: &project.lock,
            observer: places.clone(),
            cancel,
            shelf,
            options: Options {
                rebuild: args.building.rebuild.clone(),
                fetch: if args.building.no_fetch { Fetch::Needed } else { Fetch::Asked },
                signer: remote::signer()?,
            },
        };
        build.run()?
    };
    if format == MessageFormat::Human {
        screen::data(&made(&project, &places))?;
    }
    match summary.failed {
        0 => Ok(Exit::Done),
        _ => {
            after_failure(args.building.on_error);
            Ok(Exit::Failed)
        }
    }
}

/// The paths of exports and machines, a line each.
pub(super) fn made(project: &Project, places: &Places) -> String {
    let is_for_people = |name: &str| {
        let stage = name.split_once('/').map_or(name, |(stage, _)| stage);
        project.pipeline.stage(stage).is_some_and(|stage| {
            matches!(
                stage.output,
                ArtifactKind::Export | ArtifactKind::Machine | ArtifactKind::Machines
            )
        })
    };
    let mut seen = places.seen();
    seen.retain(|(stage, _)| is_for_people(stage));
    seen.sort();
    seen.iter().map(|(_, path)| format!("{}\n", path.display())).collect()
}

/// What `--on-error` asks for once the build has ended. The failure itself, and the directory that
/// was kept, have been told. A shell of its own is opened here once the sandbox offers one.
fn after_failure(on_error: OnError) {
    if on_error == OnError::Shell {
        screen::talk(
            "to look around, `cd` into the directory that was kept; a tree in it is entered with\n\
             `unshare --mount --pid --fork --mount-proc chroot root /bin/sh` (an ordinary user\n\
             adds `--user --map-auto --map-root-user`)",
        );
    }
}
