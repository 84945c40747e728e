//! `kuth cache push` and `kuth cache pull`.

use std::path::Path;
use std::sync::Arc;

use super::options::{MessageFormat, Source};
use super::project::Project;
use super::{Exit, interrupt, progress, remote, screen};
use crate::cancel::Cancel;
use crate::engine::transfer::TransferOutcome;
use crate::engine::{Build, Plan};
use crate::error::{Error, Misuse, Result, with_hint};
use crate::stage::Settings;
use crate::units::Human;

/// The results to transfer.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    source: Source,

    /// Stages to transfer, with their inputs
    /// [default: set by the pipeline]
    #[arg(value_name = "STAGE", verbatim_doc_comment)]
    stages: Vec<String>,
}

/// The direction of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the remote cache.
    Push,
    /// From the remote cache.
    Pull,
}

/// Transfers results, and prints a line for each stage. `cache` is the value of `--cache` before
/// the subcommand.
pub fn run(direction: Direction, args: &Args, cache: Option<&Path>) -> Result<Exit> {
    let cancel = Cancel::default();
    interrupt::gracefully(&cancel)?;
    let mut project = Project::open(&args.source)?;
    if let Some(cache) = cache {
        project.set_cache_directory(cache);
    }
    let (cache, plan) = (project.cache()?, Plan::new(&project.pipeline, &args.stages)?);
    let observer = progress::observer(MessageFormat::Human);
    let root = &project.settings.root;
    let remote = remote::open(root, false, &cache, &cancel, observer.clone())?;
    let remote = remote.ok_or_else(remote::none)?;
    if direction == Direction::Push && !remote.is_writable() {
        return Err(with_hint(
            Error::new(Misuse(format!("the remote cache {} is read-only here", remote.address()))),
            "set KUTH_CACHE_KEY to a key file; `kuth cache keygen FILE` makes one",
        ));
    }
    let build = Build {
        plan: &plan,
        cache,
        // What is not in the lock is not resolved.
        settings: Arc::new(Settings { offline: true, ..project.settings.clone() }),
        lock: &project.lock,
        observer,
        cancel,
        remote: Some(remote),
        options: Default::default(),
    };
    let outcomes = match direction {
        Direction::Push => build.push()?,
        Direction::Pull => build.pull()?,
    };
    let row = |(name, outcome): (String, &TransferOutcome)| [name, words(direction, outcome)];
    let rows: Vec<_> = plan.names().into_iter().zip(&outcomes).map(row).collect();
    screen::data(&screen::table(&rows))?;
    let missing = outcomes.iter().any(|outcome| matches!(outcome, TransferOutcome::Missing(_)));
    Ok(if missing { Exit::Failed } else { Exit::Done })
}

fn words(direction: Direction, outcome: &TransferOutcome) -> String {
    match (outcome, direction) {
        (TransferOutcome::Present, Direction::Push) => "already there".to_string(),
        (TransferOutcome::Present, Direction::Pull) => "already here".to_string(),
        (TransferOutcome::Sent, _) => "pushed".to_string(),
        (TransferOutcome::Fetched(size), _) => format!("pulled, {}", Human(*size)),
        (TransferOutcome::Withheld, _) => "not pushed, it contains a secret".to_string(),
        (TransferOutcome::Missing(why), _) => format!("missing: {why}"),
    }
}
