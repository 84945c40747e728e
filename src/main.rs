//! Parse, run, render the error, exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::FromArgMatches;
use rustix::process::{Resource, Rlimit, setrlimit};

use kuth::cli::remote_build::serve;
use kuth::cli::{self, Cli, report, screen};
use kuth::qemu::switch;
use kuth::sandbox::{self, commands::supervisor as commands};

fn main() -> ExitCode {
    // Whatever files the caller has left open, no command that kuth starts shall see them.
    close_fds::set_fds_cloexec(3, &[]);
    // A file of a crash would hold the secrets of the environment.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = setrlimit(Resource::Core, none);
    // What kuth is when it starts itself again.
    let mut args = std::env::args_os().skip(1);
    let (first, place) = (args.next(), PathBuf::from(args.next().unwrap_or_default()));
    match first.as_ref().and_then(|first| first.to_str()) {
        Some(sandbox::SUBCOMMAND) => return sandbox::inside::main(&place),
        Some(commands::SUBCOMMAND) => return commands::main(),
        Some(switch::SUBCOMMAND) => return switch::main(&place),
        Some(serve::SUBCOMMAND) => return serve::main(),
        _ => {}
    }
    let parsed = cli::command().get_matches();
    let cli = Cli::from_arg_matches(&parsed).unwrap_or_else(|error| error.exit());
    let exit = cli.run().unwrap_or_else(|error| {
        screen::talk(&report::render(&error, screen::paint()));
        report::exit(&error)
    });
    ExitCode::from(exit.status())
}
