//! `kuth machine`: the machines that builds made, whichever hypervisor keeps them.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use clap::Subcommand;

mod doctor;
mod hosts;

use super::{Exit, interrupt, project, screen};
use crate::cancel::Cancel;
use crate::error::{Context, Error, Misuse, Result, with_hint};
use crate::machine::{Driver, Host, Hypervisor, Listed, State, Stopped, host_at, usable};
use crate::pipeline::suggest;
use crate::process::Command;
use crate::units::Human;

/// Manage the machines that builds made
///
/// The embedded driver keeps them in KUTH_MACHINES, by default kuth/machines in
/// the user's data directory. Nothing that kuth did not make is ever touched.
#[derive(clap::Args, Debug)]
#[command(arg_required_else_help = true, verbatim_doc_comment)]
pub struct Args {
    /// VBoxManage's command line
    #[arg(
        long,
        value_name = "CMD",
        env = "KUTH_VBOXMANAGE",
        hide_env_values = true,
        global = true
    )]
    vboxmanage: Option<String>,

    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the machines
    ///
    /// A line each: its name, whether it is `ready` (as kuth made it), `used` (powered
    /// off, with state of its own) or `running`, its pipeline, the machine it is a
    /// clone of, and its snapshots.
    #[command(verbatim_doc_comment)]
    List,
    /// Start machines in the background
    Start(Names),
    /// Power machines off
    Stop(Names),
    /// Remove machines and all they hold
    ///
    /// Refuses while a machine runs or others are clones of it.
    #[command(verbatim_doc_comment)]
    Remove(Names),
    /// Remove disks that no machine uses any more
    Clean,
    /// List what killed runs left behind
    ///
    /// Machines that were never finished, entries of the journal, files of a QEMU that
    /// was killed, disks that no machine uses. The exit status is 1 while there is
    /// something.
    ///
    /// An entry whose driver is gone from this host, or that a later kuth wrote, cannot
    /// be finished here. It holds up builds of its own machine alone; --drop gives it
    /// up and says what may be left over.
    #[command(verbatim_doc_comment)]
    Doctor(doctor::Args),
    /// Print what the serial console of a machine showed
    Console(Console),
    /// Log in to a running machine, or run a command in it
    Ssh(Ssh),
    /// Print lines for /etc/hosts
    ///
    /// A line for each running machine: its address, which the hypervisor knows or a
    /// machine that serves DHCP to the others, and its name. One without an address has
    /// 127.0.0.1 and the port that leads to it. Machines on several networks that ssh
    /// reaches are asked for their dnsmasq's leases.
    #[command(verbatim_doc_comment)]
    Hosts(hosts::Args),
}

#[derive(clap::Args, Debug)]
struct Names {
    /// The machines
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(clap::Args, Debug)]
struct Console {
    /// The machine
    name: String,

    /// Go on while the machine runs
    #[arg(long)]
    follow: bool,
}

#[derive(clap::Args, Debug)]
struct Ssh {
    /// The machine
    name: String,

    /// The command to run in it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Looks after the machines.
pub fn run(args: &Args) -> Result<Exit> {
    let cancel = Cancel::default();
    interrupt::gracefully(&cancel)?;
    let host = host_at(
        &project::machines(Path::new("."))?,
        project::driver_commands(args.vboxmanage.as_deref()),
        cancel,
    );
    match &args.action {
        Action::List => {
            let rows: Vec<_> = everywhere(&host)?.iter().map(|(_, listed)| row(listed)).collect();
            screen::data(&screen::table(&rows))?;
        }
        Action::Start(Names { names }) => each(&host, names, |driver, name| {
            let started = driver.start(&host, name)?;
            let reach = match started.ssh_port {
                Some(_) => format!(", reach it with `kuth machine ssh {name}`"),
                None => String::new(),
            };
            Ok(format!("{name}: running{reach}"))
        })?,
        Action::Stop(Names { names }) => each(&host, names, |driver, name| {
            // A guest may take minutes.
            screen::talk(&format!("{name}: stopping"));
            Ok(match driver.stop(&host, name)? {
                Stopped::Already => format!("{name}: did not run"),
                Stopped::PoweredOff => format!("{name}: powered off"),
                Stopped::Forced => format!("{name}: did not power off and was ended"),
            })
        })?,
        Action::Remove(Names { names }) => each(&host, names, |driver, name| {
            driver.remove(&host, name)?;
            Ok(format!("{name}: removed"))
        })?,
        Action::Clean => clean(&host)?,
        Action::Console(console) => show(&host, console)?,
        Action::Ssh(ssh) => reach(&host, ssh)?,
        Action::Doctor(args) => return doctor::run(&host, args),
        Action::Hosts(args) => hosts::run(&host, args)?,
    }
    Ok(Exit::Done)
}

type Located = (&'static dyn Hypervisor, Listed);

/// The machines of every driver that can be used here.
fn everywhere(host: &Host) -> Result<Vec<Located>> {
    let mut all: Vec<Located> = Vec::new();
    for row in usable(host) {
        all.extend(row.driver.list(host)?.into_iter().map(|listed| (row.driver, listed)));
    }
    Ok(all)
}

/// The machine of this name.
fn find(host: &Host, name: &str) -> Result<Located> {
    let mut all = everywhere(host)?;
    match all.iter().position(|(_, listed)| listed.name == name) {
        Some(at) => Ok(all.swap_remove(at)),
        None => {
            let known: Vec<&str> = all.iter().map(|(_, listed)| listed.name.as_str()).collect();
            Err(no_such_machine(name, &known))
        }
    }
}

fn no_such_machine(name: &str, known: &[&str]) -> Error {
    let error = Error::new(Misuse(format!("there is no machine `{name}`")));
    let hint = suggest::hint(name, known, "there are");
    with_hint(error, hint.unwrap_or_else(|| "list them with `kuth machine list`".to_string()))
}

/// Does `act` to each machine, once it is sure that all exist, and reports what came of it.
fn each(
    host: &Host,
    names: &[String],
    act: impl Fn(&dyn Hypervisor, &str) -> Result<String>,
) -> Result<()> {
    let found: Vec<Located> =
        names.iter().map(|name| find(host, name)).collect::<Result<Vec<_>>>()?;
    for (driver, listed) in found {
        screen::talk(&act(driver, &listed.name)?);
    }
    Ok(())
}

fn clean(host: &Host) -> Result<()> {
    let mut count = 0;
    for row in usable(host) {
        for (disk, size) in row.driver.clean(host)? {
            screen::talk(&format!("{}: removed, {} freed", disk.display(), Human(size)));
            count += 1;
        }
    }
    if count == 0 {
        screen::talk("every disk is in use");
    }
    Ok(())
}

/// Copies the console to standard output.
fn show(host: &Host, console: &Console) -> Result<()> {
    let (driver, _) = find(host, &console.name)?;
    let path = driver.console(host, &console.name)?;
    let what = || format!("reading {}", path.display());
    let mut file = std::fs::File::open(&path).with_context(what)?;
    loop {
        // Asked first, so that the last words of a machine are not missed.
        let running = matches!(find(host, &console.name)?.1.state, State::Running);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(what)?;
        screen::bytes(&bytes)?;
        if !console.follow || !running {
            return Ok(());
        }
        host.cancel.check()?;
        std::thread::sleep(Duration::from_millis(300));
        let end = file.metadata().with_context(what)?.len();
        if file.stream_position().with_context(what)? > end {
            // A new start began a new file of the same name.
            file.seek(SeekFrom::Start(0)).with_context(what)?;
        }
    }
}

/// Logs in to a machine, or runs a command in it.
fn reach(host: &Host, ssh: &Ssh) -> Result<()> {
    let (driver, _) = find(host, &ssh.name)?;
    let arguments = driver.ssh(host, &ssh.name)?;
    // ssh takes kuth's place: the terminal, its signals and the exit status are its own.
    Err(Command::new("ssh").args(arguments).args(&ssh.command).replace())
}

fn row(listed: &Listed) -> [String; 5] {
    let state = match listed.state {
        State::Ready => "ready",
        State::Used => "used",
        State::Running => "running",
    };
    [
        listed.name.clone(),
        state.to_string(),
        listed.pipeline.clone(),
        listed.cloned_from.clone().unwrap_or_else(|| "-".to_string()),
        listed.snapshots.join(","),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::hints;
    use crate::machine::{Firmware, Hardware};

    pub fn listed(state: State, ssh_port: Option<u16>) -> Listed {
        Listed {
            name: "gate-node01".into(),
            directory: "/m/gate-node01".into(),
            pipeline: "debian".into(),
            snapshots: vec!["a".into(), "b".into()],
            cloned_from: None,
            state,
            holds: None,
            active: None,
            hardware: Hardware {
                architecture: "amd64".into(),
                cpus: 1,
                memory: 512,
                firmware: Firmware::Bios,
                vram: 33,
                disks: vec![],
                nics: vec![],
                forwards: vec![],
            },
            user: None,
            ssh_port,
        }
    }

    #[test]
    fn a_machine_is_one_row() {
        let machine = listed(State::Used, None);
        assert_eq!(row(&machine), ["gate-node01", "used", "debian", "-", "a,b"]);
    }

    #[test]
    fn an_unknown_machine_is_misuse_with_a_hint() {
        let error = no_such_machine("gate-node1", &["gate-node01"]);
        assert_eq!(hints(&error), ["did you mean `gate-node01`?"]);
        assert_eq!(hints(&no_such_machine("x", &[])), ["list them with `kuth machine list`"]);
    }
}
