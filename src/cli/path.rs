//! `kuth path`.

use std::path::PathBuf;
use std::sync::Arc;

use super::options::Source;
use super::project::Project;
use super::{Exit, plan, screen};
use crate::cache::Cache;
use crate::engine::Plan;
use crate::engine::inspect::{self, Explanation};
use crate::engine::plan::Node;
use crate::error::{Result, anyhow, with_hint};
use crate::stage::Placement;

/// Print the path of a stage's result
///
/// The path of a file in the cache, an export, or the directory of a machine. Fails
/// if the pipeline has not been built in its current state.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    source: Source,

    /// Stage, or STAGE/INSTANCE
    stage: String,
}

/// Prints one path for each instance.
pub fn run(args: &Args) -> Result<Exit> {
    let project = Project::open(&args.source)?;
    let plan = Plan::new(&project.pipeline, std::slice::from_ref(&args.stage))?;
    let cache = project.cache()?;
    let found = inspect::explain(&plan, &cache, &project.settings, &project.lock, &[])?;
    let mut paths = String::new();
    for target in plan.targets() {
        let (node, found) = (&plan.nodes()[target.0], &found[target.0]);
        match place(&project, &cache, node, found)? {
            Some(path) => paths += &format!("{}\n", path.display()),
            None => {
                let reason = plan::state(&found.forecast).1.unwrap_or("its result is gone");
                let pipeline = project.pipeline.path.display();
                return Err(with_hint(
                    anyhow!("{} is not built: {reason}", node.name),
                    format!("build it with `kuth build {pipeline} {}`", node.name),
                ));
            }
        }
    }
    screen::data(&paths)?;
    Ok(Exit::Done)
}

/// Where the result of `node` is, if it is there.
fn place(
    project: &Project,
    cache: &Arc<Cache>,
    node: &Node<'_>,
    found: &Explanation,
) -> Result<Option<PathBuf>> {
    if !found.complete {
        return Ok(None);
    }
    let Some(record) = cache.find(&found.recipe.key())? else { return Ok(None) };
    let placed = node.stage.locate(&project.context(cache, node), &record.output)?;
    Ok(match placed {
        Placement::Present(path) | Placement::Retained(path, _) => Some(path),
        Placement::Missing(_) | Placement::Replaced(_) => None,
    })
}
