//! Parse, run, render the error, exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::FromArgMatches;

use kuth::cli::{self, Cli, report, screen};
use kuth::sandbox;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == sandbox::SUBCOMMAND) {
        return sandbox::inside::main(&PathBuf::from(args.next().unwrap_or_default()));
    }
    let parsed = cli::command().get_matches();
    let cli = Cli::from_arg_matches(&parsed).unwrap_or_else(|error| error.exit());
    let exit = cli.run().unwrap_or_else(|error| {
        screen::talk(&report::render(&error, screen::paint()));
        report::exit(&error)
    });
    ExitCode::from(exit.status())
}
