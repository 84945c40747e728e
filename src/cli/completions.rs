//! `kuth completions`.

use clap_complete::{Shell, generate};

use super::{Exit, command, screen};
use crate::error::Result;

/// Print shell completions
///
/// To enable them in the current bash:  . <(kuth completions bash)
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Shell: bash, elvish, fish, powershell or zsh
    #[arg(hide_possible_values = true)]
    shell: Shell,
}

/// Runs `kuth completions`.
pub fn run(args: &Args) -> Result<Exit> {
    let mut text = Vec::new();
    generate(args.shell, &mut command(), "kuth", &mut text);
    screen::data(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Done)
}
