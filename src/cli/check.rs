//! `kuth check`.

use std::path::PathBuf;

use super::{Exit, project, report, screen};
use crate::error::Result;
use crate::pipeline::Override;
use crate::stage::Table;

/// Check pipeline files
///
/// Every fault of every file is shown with its place, and nothing is built. The
/// exit status is 2 when something is wrong.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The pipeline files
    #[arg(required = true, value_name = "PIPELINE")]
    pipelines: Vec<PathBuf>,

    /// Set a variable of the pipelines
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<Override>,
}

/// Checks each file, also after a faulty one.
pub fn run(args: &Args) -> Result<Exit> {
    let mut worst = Exit::Done;
    for path in &args.pipelines {
        match project::load(path, &args.vars, &Table) {
            Ok(pipeline) => {
                let stages = match pipeline.stages.len() {
                    1 => "1 stage".to_string(),
                    count => format!("{count} stages"),
                };
                screen::data(&format!("{}: ok, {stages}\n", path.display()))?;
            }
            Err(error) => {
                let exit = report::exit(&error);
                if exit != Exit::Misuse {
                    return Err(error);
                }
                screen::talk(&report::render(&error, screen::paint()));
                worst = exit;
            }
        }
    }
    Ok(worst)
}
