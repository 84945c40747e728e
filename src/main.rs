//! Parse, run, render the error, exit code.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::FromArgMatches;
use rustix::process::{Resource, Rlimit, setrlimit};

use kuth::cli::remote_build::serve;
use kuth::cli::{self, Cli, report, screen};
use kuth::process::start;
use kuth::qemu::switch;
use kuth::sandbox::{self, commands::supervisor as commands, namespaces};

fn main() -> ExitCode {
    // Whatever files the caller has left open, no command that kuth starts shall see them.
    close_fds::set_fds_cloexec(3, &[]);
    // A file of a crash would hold the secrets of the environment.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = setrlimit(Resource::Core, none);
    // What kuth is when it starts itself again.
    let first = std::env::args_os().nth(1);
    let place = PathBuf::from(arguments().next().unwrap_or_default());
    match first.as_ref().and_then(|first| first.to_str()) {
        Some(start::SUBCOMMAND) => return start::main(arguments()),
        Some(namespaces::SUBCOMMAND) => return namespaces::main(arguments()),
        Some(namespaces::MAP) => return namespaces::map_ids(arguments()),
        Some(namespaces::TRIAL) => return namespaces::trial(arguments()),
        Some(sandbox::SUBCOMMAND) => return sandbox::inside::main(&place),
        Some(commands::SUBCOMMAND) => return commands::main(),
        Some(switch::SUBCOMMAND) => return switch::main(&place),
        Some(serve::SUBCOMMAND) => return serve::main(),
        _ => {}
    }
    start::this_is_kuth();
    let parsed = cli::command().get_matches();
    let cli = Cli::from_arg_matches(&parsed).unwrap_or_else(|error| error.exit());
    let exit = cli.run().unwrap_or_else(|error| {
        screen::talk(&report::render(&error, screen::paint()));
        report::exit(&error)
    });
    ExitCode::from(exit.status())
}

/// What follows the subcommand.
fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip(2)
}
