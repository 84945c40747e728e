//! `kuth fmt`.

use std::path::{Path, PathBuf};

use super::{Exit, project, report, screen};
use crate::error::{Context, Error, Result};
use crate::pipeline::formatted;

/// Format pipeline files
///
/// Changes white space, blank lines and the commas after last elements. Comments,
/// the order of keys and the values stay the same. A file that is not TOML is not
/// changed, and the exit status is 2.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Pipeline files; `-` formats standard input to
    /// standard output
    #[arg(required = true, value_name = "PIPELINE", verbatim_doc_comment)]
    pipelines: Vec<PathBuf>,

    /// Change nothing; print the files that would
    /// change, and fail if there are any
    #[arg(long, verbatim_doc_comment)]
    check: bool,
}

/// Runs `kuth fmt`: formats every file, also after an invalid one.
pub fn run(args: &Args) -> Result<Exit> {
    let mut unformatted = false;
    let mut invalid = false;
    for path in &args.pipelines {
        let is_stream = path == Path::new("-");
        let source = read(path, is_stream)?;
        let text = match formatted(path, &source) {
            Ok(text) => text,
            Err(faulty) => {
                screen::talk(&report::render(&Error::new(faulty), screen::paint()));
                invalid = true;
                continue;
            }
        };
        match (args.check, is_stream) {
            (true, _) if text != source => {
                screen::data(&format!("{}\n", path.display()))?;
                unformatted = true;
            }
            (true, _) => {}
            (false, true) => screen::data(&text)?,
            (false, false) if text != source => {
                std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?
            }
            (false, false) => {}
        }
    }
    Ok(match (invalid, unformatted) {
        (true, _) => Exit::Misuse,
        (false, true) => Exit::Failed,
        (false, false) => Exit::Done,
    })
}

fn read(path: &Path, is_stream: bool) -> Result<String> {
    if is_stream {
        return std::io::read_to_string(std::io::stdin()).context("reading standard input");
    }
    project::text(path)
}
