//! `kuth cache push` and `kuth cache pull`.

use std::path::Path;
use std::sync::Arc;

use super::options::{MessageFormat, Source};
use super::project::Project;
use super::{Exit, interrupt, progress, remote, screen};
use crate::cancel::Cancel;
use crate::engine::transfer::Moved;
use crate::engine::{Build, Plan};
use crate::error::{Error, Misuse, Result, with_hint};
use crate::stage::Settings;
use crate::units::Human;

/// Which results.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    source: Source,

    /// Which stages, with what they need
    /// [default: what the pipeline says]
    #[arg(value_name = "STAGE", verbatim_doc_comment)]
    stages: Vec<String>,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the remote cache.
    Push,
    /// From there.
    Pull,
}

/// Moves results, and prints a line for each stage; `cache` is the directory that was named before
/// the pipeline.
pub fn run(way: Way, args: &Args, cache: Option<&Path>) -> Result<Exit> {
    let cancel = Cancel::default();
    interrupt::gracefully(&cancel)?;
    let mut project = Project::open(&args.source)?;
    if let Some(cache) = cache {
        project.keep_results_in(cache);
    }
    let (cache, plan) = (project.cache()?, Plan::new(&project.pipeline, &args.stages)?);
    let observer = progress::observer(MessageFormat::Human);
    let root = &project.settings.root;
    let shelf = remote::shelf(root, false, &cache, &cancel, observer.clone())?;
    let Some(shelf) = shelf else {
        return Err(with_hint(
            Error::new(Misuse("there is no remote cache".to_string())),
            "name one: `remote` in `[cache]` of kuth.toml, or KUTH_CACHE_REMOTE",
        ));
    };
    if way == Way::Push && !shelf.takes() {
        return Err(with_hint(
            Error::new(Misuse(format!("nothing may be brought to {}", shelf.address()))),
            "set KUTH_CACHE_KEY to the file that `kuth cache keygen FILE` wrote",
        ));
    }
    let build = Build {
        plan: &plan,
        cache,
        // What the lock does not say is not asked of a mirror.
        settings: Arc::new(Settings { offline: true, ..project.settings.clone() }),
        lock: &project.lock,
        observer,
        cancel,
        shelf: Some(shelf),
        options: Default::default(),
    };
    let moved = match way {
        Way::Push => build.push()?,
        Way::Pull => build.pull()?,
    };
    let row = |(name, moved): (String, &Moved)| [name, words(way, moved)];
    let rows: Vec<_> = plan.names().into_iter().zip(&moved).map(row).collect();
    screen::data(&screen::table(&rows))?;
    let missing = moved.iter().any(|moved| matches!(moved, Moved::Missing(_)));
    Ok(if missing { Exit::Failed } else { Exit::Done })
}

fn words(way: Way, moved: &Moved) -> String {
    match (moved, way) {
        (Moved::There, Way::Push) => "there".to_string(),
        (Moved::There, Way::Pull) => "here".to_string(),
        (Moved::Sent, _) => "brought there".to_string(),
        (Moved::Fetched(size), _) => format!("fetched, {}", Human(*size)),
        (Moved::Withheld, _) => "stays here, a secret went into it".to_string(),
        (Moved::Missing(why), _) => format!("missing: {why}"),
    }
}
