//! The command line: what can be asked, and how answers look. clap and indicatif live here
//! alone. A subcommand is one file, whose doc comment on its arguments is its help: the first
//! paragraph stands above the options, the others below them.

use clap::{CommandFactory, Parser, Subcommand};

use crate::error::Result;

mod build;
mod cache;
mod check;
mod ci;
mod completions;
mod create_image;
mod diff;
mod doctor;
mod explain;
mod graph;
mod init;
mod inspect;
mod interrupt;
mod machine;
mod network;
mod options;
mod path;
mod plan;
pub mod progress;
mod project;
mod remote;
pub mod remote_build;
pub mod report;
pub mod schema;
pub mod screen;
mod transfer;
mod update;
mod verify;

/// Builds virtual-machine images: reproducibly, without privileges, and never twice
///
/// Data goes to standard output, talk to standard error. The exit status is 0
/// when all went well, 1 when something failed, 2 for a misuse or a faulty
/// pipeline, 130 when interrupted. NO_COLOR switches colours off.
#[derive(Debug, Parser)]
#[command(name = "kuth", version, arg_required_else_help = true, subcommand_required = true)]
#[command(max_term_width = 80, verbatim_doc_comment)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(build::Args),
    Plan(plan::Args),
    Update(update::Args),
    Explain(explain::Args),
    Path(path::Args),
    Check(check::Args),
    Graph(graph::Args),
    Verify(verify::Args),
    Diff(diff::Args),
    Inspect(inspect::Args),
    Cache(cache::Args),
    Machine(machine::Args),
    CreateImage(create_image::Args),
    Ci(ci::Args),
    RemoteBuild(remote_build::Args),
    Network(network::Args),
    Init(init::Args),
    Doctor(doctor::Args),
    Schema(schema::Args),
    Completions(completions::Args),
}

/// How kuth ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Done,
    /// Something failed.
    Failed,
    /// The command line or the pipeline is at fault.
    Misuse,
    /// Somebody stopped it.
    Interrupted,
}

impl Exit {
    /// The exit status of the process.
    pub fn status(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Misuse => 2,
            Exit::Interrupted => 130,
        }
    }
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> Result<Exit> {
        match self.command {
            command @ (Command::Build(_)
            | Command::Update(_)
            | Command::Machine(_)
            | Command::CreateImage(_)
            | Command::Network(_)
            | Command::RemoteBuild(_)) => command.run(),
            command => {
                // Nothing here leaves anything half done.
                interrupt::at_once()?;
                command.run()
            }
        }
    }
}

impl Command {
    fn run(self) -> Result<Exit> {
        match self {
            Command::Build(args) => build::run(&args),
            Command::Plan(args) => plan::run(&args),
            Command::Update(args) => update::run(&args),
            Command::Explain(args) => explain::run(&args),
            Command::Path(args) => path::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Graph(args) => graph::run(&args),
            Command::Verify(args) => verify::run(&args),
            Command::Diff(args) => diff::run(&args),
            Command::Inspect(args) => inspect::run(&args),
            Command::Cache(args) => cache::run(&args),
            Command::Machine(args) => machine::run(&args),
            Command::CreateImage(args) => create_image::run(&args),
            Command::Ci(args) => ci::run(&args),
            Command::RemoteBuild(args) => remote_build::run(&args),
            Command::Network(args) => network::run(&args),
            Command::Init(args) => init::run(&args),
            Command::Doctor(args) => doctor::run(&args),
            Command::Schema(args) => schema::run(&args),
            Command::Completions(args) => completions::run(&args),
        }
    }
}

/// The command line as clap knows it.
pub fn command() -> clap::Command {
    short_help(Cli::command())
}

/// Moves what a doc comment says after its first paragraph below the options, so that help has
/// one form, with an option a line.
fn short_help(command: clap::Command) -> clap::Command {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let more = command.get_long_about().map(ToString::to_string);
    let more = more.as_deref().and_then(|long| long.strip_prefix(about.as_str()));
    let more = more.map(|more| more.trim().to_string());
    let command = match more {
        Some(more) => command.long_about(None::<&str>).after_help(more),
        None => command,
    };
    command.mut_subcommands(short_help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }
}
