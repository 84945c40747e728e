//! `kuth completions`.

use clap_complete::{Shell, generate};

use super::{Exit, command, screen};
use crate::error::Result;

/// Print completions for a shell
///
/// For bash, here and now:  . <(kuth completions bash)
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// bash, elvish, fish, powershell or zsh
    #[arg(hide_possible_values = true)]
    shell: Shell,
}

/// Prints them.
pub fn run(args: &Args) -> Result<Exit> {
    let mut text = Vec::new();
    generate(args.shell, &mut command(), "kuth", &mut text);
    screen::data(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Done)
}
