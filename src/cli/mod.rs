//! The command line: subcommands, options and output. No other module uses clap or indicatif. A
//! subcommand is one file; the doc comment on its `Args` is its help. The first paragraph is shown
//! above the options, the others below them.

use clap::{CommandFactory, Parser, Subcommand};

use crate::error::Result;

mod build;
mod build_report;
mod cache;
mod check;
mod ci;
mod completions;
mod create_image;
mod diff;
mod doctor;
mod explain;
mod failed_shell;
mod fmt;
mod graph;
mod init;
mod inspect;
mod interrupt;
mod machine;
mod man;
mod network;
mod options;
mod path;
mod plan;
pub mod progress;
mod project;
mod remote;
pub mod remote_build;
mod remote_upkeep;
pub mod report;
pub mod schema;
pub mod screen;
mod transfer;
mod update;
mod verify;

/// Builds virtual-machine images: reproducibly, without privileges, and never twice
///
/// Data is written to standard output, messages to standard error. The exit status
/// is 0 on success, 1 on failure, 2 for a usage error or an invalid pipeline, and
/// 130 when interrupted. Set NO_COLOR to disable colours.
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
    Fmt(fmt::Args),
    Graph(graph::Args),
    Report(build_report::Args),
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
    Man(man::Args),
}

/// The outcome of a command, as an exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Success.
    Done,
    /// A stage, a check or a command failed.
    Failed,
    /// The command line or the pipeline is invalid.
    Misuse,
    /// SIGINT or SIGTERM stopped it.
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
    /// Runs the subcommand.
    pub fn run(self) -> Result<Exit> {
        match self.command {
            command @ (Command::Build(_)
            | Command::Update(_)
            | Command::Machine(_)
            | Command::CreateImage(_)
            | Command::Network(_)
            | Command::RemoteBuild(_)) => command.run(),
            command => {
                // These leave no unfinished work behind.
                interrupt::exit_at_once()?;
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
            Command::Fmt(args) => fmt::run(&args),
            Command::Graph(args) => graph::run(&args),
            Command::Report(args) => build_report::run(&args),
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
            Command::Man(args) => man::run(&args),
        }
    }
}

/// The whole command line, for clap.
pub fn command() -> clap::Command {
    help_below_options(Cli::command())
}

/// Moves the paragraphs of a doc comment after the first below the options, so that `-h` and
/// `--help` print the same.
fn help_below_options(command: clap::Command) -> clap::Command {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let more = command.get_long_about().map(ToString::to_string);
    let more = more.as_deref().and_then(|long| long.strip_prefix(about.as_str()));
    let more = more.map(|more| more.trim().to_string());
    let command = match more {
        Some(more) => command.long_about(None::<&str>).after_help(more),
        None => command,
    };
    command.mut_subcommands(help_below_options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_accepts_the_command_line() {
        command().debug_assert();
    }
}
