//! `kuth man`.

use std::path::PathBuf;

use super::{Exit, command, screen};
use crate::error::{Context, Result};

/// Write manual pages
///
/// Writes a page for kuth and one for each subcommand, such as kuth-build.1.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Directory of the pages, made if it is missing
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

/// Runs `kuth man`.
pub fn run(args: &Args) -> Result<Exit> {
    let what = || format!("writing {}", args.directory.display());
    std::fs::create_dir_all(&args.directory).with_context(what)?;
    clap_mangen::generate_to(command(), &args.directory).with_context(what)?;
    screen::data(&format!("{}\n", args.directory.display()))?;
    Ok(Exit::Done)
}
