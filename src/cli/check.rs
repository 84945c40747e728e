//! `kuth check`.

use std::path::PathBuf;

use super::{Exit, project, report, screen};
use crate::error::Result;
use crate::pipeline::Override;
use crate::stage::Table;

/// Check pipeline files
///
/// Prints every error of every file with its line and column, and builds nothing.
/// The exit status is 2 if there are errors.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Pipeline files
    #[arg(required = true, value_name = "PIPELINE")]
    pipelines: Vec<PathBuf>,

    /// Set a pipeline variable
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<Override>,
}

/// Runs `kuth check`: checks every file, also after an invalid one.
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
