//! `kuth build`.

use std::path::PathBuf;
use std::sync::Arc;

use super::options::{Building, MessageFormat, OnError};
use super::progress::recorder::Recorder;
use super::progress::{self, ResultPaths, Verbosity};
use super::project::Project;
use super::{Exit, build_report, failed_shell, interrupt, remote, screen};
use crate::artifact::ArtifactKind;
use crate::build_record::{BuildRecord, Builds, file};
use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::engine::{Build, Event, Fetch, Observer, Options, Plan};
use crate::error::{Result, hints};

/// Build stages of a pipeline and their inputs
///
/// A stage whose recipe was run before is restored from the cache. A failed stage
/// does not stop stages that do not depend on it. The paths of exports and machines
/// are printed to standard output, one per line.
///
/// `--on-error keep` keeps the work directory of a failed stage and prints its
/// path. `shell` also opens a shell there, in the stage's tree if it has one, once
/// the build has ended; if there is no terminal, it prints how to enter it.
///
/// `--verbose` prints the logs of stages as they are written. On GitHub and GitLab
/// each is printed when its stage ends, and can be folded.
///
/// Ctrl-C stops the build within two seconds and keeps every finished stage. A
/// second Ctrl-C ends kuth at once.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    building: Building,

    /// Write a report of the build to FILE, an HTML
    /// page; see `kuth report`
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    report: Option<PathBuf>,

    /// Print only failures, warnings and results
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,

    /// Print the logs of stages
    #[arg(short, long)]
    verbose: bool,
}

/// Runs `kuth build`.
pub fn run(args: &Args) -> Result<Exit> {
    let cancel = Cancel::default();
    let handlers = interrupt::gracefully(&cancel)?;
    let project = Project::open_to_build(&args.building)?;
    let format = args.building.message_format;
    let cache = project.cache()?;
    let observer = observer(args, &project, cache.clone());
    let paths = Arc::new(ResultPaths::new(observer));
    let (root, offline) = (&project.settings.root, project.settings.offline);
    let remote = remote::open(root, offline, &cache, &cancel, paths.clone())?;
    let (summary, builds) = {
        let plan = Plan::new(&project.pipeline, &args.building.stages)?;
        project.check_lock(&plan, &cache)?;
        let recorder = Arc::new(Recorder::new(paths.clone()));
        let build = Build {
            plan: &plan,
            cache: cache.clone(),
            settings: Arc::new(project.settings.clone()),
            lock: &project.lock,
            observer: recorder.clone(),
            cancel,
            remote,
            options: Options {
                rebuild: args.building.rebuild.clone(),
                fetch: if args.building.no_fetch { Fetch::Needed } else { Fetch::Targets },
                signer: remote::signer()?,
            },
        };
        let built = build.run();
        let record = recorder.record(&plan);
        let builds = record.map(|record| keep(record, &cache, &project, &*paths));
        (built?, builds)
    };
    if format == MessageFormat::Human {
        screen::data(&output_paths(&project, &paths))?;
    }
    if let (Some(file), Some(builds)) = (&args.report, builds)
        && let Some(page) = build_report::page_of(&cache, &project.pipeline.name, &builds)
    {
        build_report::write(file, &page)?;
    }
    match summary.failed {
        0 => Ok(Exit::Done),
        _ => {
            if args.building.on_error == OnError::Shell {
                failed_shell::open(&paths.kept(), handlers)?;
            }
            Ok(Exit::Failed)
        }
    }
}

/// The observer that the options ask for.
fn observer(args: &Args, project: &Project, cache: Arc<Cache>) -> Arc<dyn Observer> {
    let verbosity = match (args.quiet, args.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    let pipeline = project.pipeline.name.clone();
    let logs = move |stage: &str| cache.log(&pipeline, stage);
    progress::observer_of(args.building.message_format, verbosity, logs)
}

/// Adds a build to those on record, and returns them. Where that fails there is a warning: the
/// results are as good without.
fn keep(record: BuildRecord, cache: &Cache, project: &Project, observer: &dyn Observer) -> Builds {
    file::add(cache, &project.pipeline.name, record.clone()).unwrap_or_else(|error| {
        let hints: String = hints(&error).iter().map(|hint| format!("; {hint}")).collect();
        let text = format!("no report will have this build: {error:#}{hints}");
        observer.notify(&Event::Warning { text: &text });
        Builds(vec![record])
    })
}

/// The paths of exports and machines, one per line.
pub(super) fn output_paths(project: &Project, paths: &ResultPaths) -> String {
    let is_output = |name: &str| {
        let stage = name.split_once('/').map_or(name, |(stage, _)| stage);
        project.pipeline.stage(stage).is_some_and(|stage| {
            matches!(
                stage.output,
                ArtifactKind::Export
                    | ArtifactKind::Machine
                    | ArtifactKind::Machines
                    | ArtifactKind::Publication
            )
        })
    };
    let mut outputs = paths.recorded();
    outputs.retain(|(stage, _)| is_output(stage));
    outputs.sort();
    outputs.iter().map(|(_, path)| format!("{}\n", path.display())).collect()
}
