//! `kuth path`.

use super::options::Source;
use super::project::Project;
use super::{Exit, screen};
use crate::engine::Plan;
use crate::engine::decision::Decision;
use crate::engine::inspect;
use crate::error::{Result, anyhow, with_hint};

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
        let decision = &found[target.0].decision;
        let (Decision::Cached(_, Some(path)) | Decision::Retained(_, path, _)) = decision else {
            let name = &plan.nodes()[target.0].name;
            let reason = decision.forecast().1.unwrap_or("its result is gone".to_string());
            let pipeline = project.pipeline.path.display();
            return Err(with_hint(
                anyhow!("{name} is not built: {reason}"),
                format!("build it with `kuth build {pipeline} {name}`"),
            ));
        };
        paths += &format!("{}\n", path.display());
    }
    screen::data(&paths)?;
    Ok(Exit::Done)
}
