//! `kuth report`, and the page that `kuth build --report` writes.

use std::path::{Path, PathBuf};

use super::{Exit, project, screen};
use crate::build_record::{Builds, file};
use crate::build_report::{contents, page};
use crate::cache::Cache;
use crate::error::{Context, Hint, Result, anyhow, with_hint};
use crate::files::write_aside;
use crate::pipeline::Override;
use crate::stage::Table;

/// Write a report of the last build
///
/// The report is one HTML page, which needs no network: a timeline with the
/// critical path, the graph of the stages and why each of them ran, maps of the
/// disks, packages by size, what changed since the build before, and boots with
/// what was expected of them. Runs no stage. What is no longer in the cache is left
/// out.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Pipeline file, such as pipelines/debian.toml
    pipeline: PathBuf,

    /// Set a pipeline variable
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<Override>,

    /// Write the page to FILE, not to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Cache directory [default: `cache` beside
    /// `pipelines`]
    #[arg(long, value_name = "DIR", env = "KUTH_CACHE", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    cache: Option<PathBuf>,
}

/// Runs `kuth report`.
pub fn run(args: &Args) -> Result<Exit> {
    let pipeline = project::load(&args.pipeline, &args.vars, &Table)?;
    let cache = project::existing_cache(args.cache.as_deref(), &pipeline.root)?;
    let builds = match &cache {
        Some(cache) => file::read(cache, &pipeline.name)?,
        None => Builds::default(),
    };
    let page = cache.and_then(|cache| page_of(&cache, &pipeline.name, &builds));
    let Some(page) = page else {
        let error = anyhow!("no build of {} is on record", args.pipeline.display());
        let hint = format!("build it with `kuth build {}`", args.pipeline.display());
        return Err(with_hint(error, hint));
    };
    match &args.output {
        Some(file) => write(file, &page)?,
        None => screen::data(&page)?,
    }
    Ok(Exit::Done)
}

/// The page of the newest of `builds`; `None` if there is none.
pub(super) fn page_of(cache: &Cache, pipeline: &str, builds: &Builds) -> Option<String> {
    contents::collect(cache, pipeline, builds).map(|contents| page::html(&contents))
}

/// Writes the page, and makes the directory that it is in.
pub(super) fn write(file: &Path, page: &str) -> Result<()> {
    let what = || format!("writing the report {}", file.display());
    let file = &std::path::absolute(file).with_context(what)?;
    let directory = file.parent().with_context(what)?;
    std::fs::create_dir_all(directory).with_context(what).hint("give another FILE")?;
    write_aside(directory, file, page.as_bytes()).with_context(what)
}
