//! `kuth create-image`: one machine from a base, with the words of the script that this command
//! follows. The files are read and checked before anything is made.

use std::path::{Path, PathBuf};

use super::{Exit, interrupt, options, project, screen};
use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::error::{Context, Error, Misuse, Result, anyhow, bail, with_hint};
use crate::machine::{
    Base, Cloning, Copying, Driver, Found, Host, Identity, Listed, Nic, Owner, Replace, Row, State,
    Wanted, choose, is_legal_name, journal, usable,
};
use crate::pipeline::{Override, suggest};
use crate::recipe::Recipe;

mod files;

use files::Files;

/// The owner of the machines that are made here, where others have their pipeline's name.
const OWNER: &str = "create-image";

/// The snapshot of the base that clones rest on.
const SNAPSHOT: &str = "golden";

/// Moves every machine: raised when the code below makes another one of the same files.
const REVISION: u32 = 1;

/// Make one machine from a base machine, and start it
///
/// The base is a machine that a pipeline registered (`kuth machine list`), or, with
/// VirtualBox, any machine. It gets a snapshot `golden` unless it has one, and the
/// new machine is a linked clone of that: what it has written is its own, the rest
/// it shares. A machine that kuth did not make is copied whole and stays as it is.
///
/// Files other than the key lie in data/DISTRIBUTION/ of the project, or are paths.
/// The first three are for cloud-init; #HOSTNAME#, #UUID#, #SSH-PUB-KEY#, #MAC1#
/// and the variables of pipelines/DISTRIBUTION.toml, as ${domain}, are filled in.
/// The post-config files say, in VirtualBox's words, which cards, further disks,
/// processors and memory the machine has:
///
///   interfaces: {nic1: {type: nat}, nic2: {type: intnet, name: dmz}}
///   storages: {storage1: {size: 512000, format: VDI, variant: Standard}}
///   resources: {processors: 1, memory: 512}
///
/// Done twice, the second time changes nothing. Asked for otherwise, the machine is
/// made anew, unless it holds state of its own, which only --replace gives up.
///
///   kuth create-image -k ~/.ssh/id_ed25519.pub -u gate/user-data \
///       -n gate/network-config -i gate/post-config-interfaces \
///       -r gate/post-config-resources -o gate-node01 -b debian-base-image
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(override_usage = "kuth create-image [OPTIONS] -k <FILE> -o <NAME> -b <NAME>")]
pub struct Args {
    /// The public key, or keys, that may log in
    #[arg(short = 'k', long, value_name = "FILE")]
    ssh_pub_keyfile: PathBuf,

    /// What cloud-init does [default: user-data, else
    /// a user who has sudo]
    #[arg(short = 'u', long, value_name = "FILE", verbatim_doc_comment)]
    user_data: Option<PathBuf>,

    /// Who the machine is [default: meta-data, else
    /// its name]
    #[arg(short = 'm', long, value_name = "FILE", verbatim_doc_comment)]
    meta_data: Option<PathBuf>,

    /// How its network cards are set up
    /// [default: DHCP on each]
    #[arg(short = 'n', long, value_name = "FILE", verbatim_doc_comment)]
    network_interfaces: Option<PathBuf>,

    /// Its network cards [default: one on nat]
    #[arg(short = 'i', long, value_name = "FILE")]
    post_config_interfaces: Option<PathBuf>,

    /// Its further disks [default: none]
    #[arg(short = 's', long, value_name = "FILE")]
    post_config_storages: Option<PathBuf>,

    /// Processors and memory [default: the base's]
    #[arg(short = 'r', long, value_name = "FILE")]
    post_config_resources: Option<PathBuf>,

    /// Its name and host name, put in lower case
    #[arg(short = 'o', long, value_name = "NAME")]
    hostname: String,

    /// The machine it is made from
    #[arg(short = 'b', long, value_name = "NAME")]
    base_image: String,

    /// The directory of data/, and who logs in
    /// [default: debian]
    #[arg(short = 'l', long, value_name = "NAME", default_value = "debian")]
    #[arg(hide_default_value = true, verbatim_doc_comment)]
    linux_distribution: String,

    /// Start it: true or false [default: true]
    #[arg(short = 'a', long, value_name = "BOOL", default_value_t = true)]
    #[arg(action = clap::ArgAction::Set, hide_default_value = true, hide_possible_values = true)]
    auto_start: bool,

    /// Copy the base's disk instead of sharing it
    #[arg(long)]
    full: bool,

    /// Set a variable for the files
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<Override>,

    /// Replace a machine that holds state
    #[arg(long)]
    replace: bool,

    /// Who keeps it: auto, virtualbox or qemu
    /// [default: whoever has the base]
    #[arg(long, value_enum, hide_possible_values = true, verbatim_doc_comment)]
    driver: Option<options::Driver>,

    /// The command line of VirtualBox's VBoxManage
    #[arg(long, value_name = "CMD", env = "KUTH_VBOXMANAGE", hide_env_values = true)]
    vboxmanage: Option<String>,

    /// Where the journal is kept [default: `cache`
    /// beside `pipelines`]
    #[arg(long, value_name = "DIR", env = "KUTH_CACHE", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    cache: Option<PathBuf>,
}

/// Makes the machine.
pub fn run(args: &Args) -> Result<Exit> {
    let cancel = Cancel::default();
    interrupt::gracefully(&cancel)?;
    let name = machine_name(&args.hostname)?;
    let files = Files::read(args, &name)?;
    let cache = Cache::open(&project::cache_directory(args.cache.as_deref())?)?;
    let host = Host {
        journal: Some(cache.journal()),
        pipeline: OWNER.to_string(),
        epoch: project::epoch()?,
        replace: if args.replace { Replace::Always } else { Replace::Never },
        ..Host::at(&project::machines(Path::new("."))?, args.vboxmanage.clone(), cancel)
    };
    let (row, base) = find_base(args, &host)?;
    let driver = row.driver;
    journal::recover(&host, row.name, &name)?;
    refuse_strangers(driver, &host, &name)?;
    let made = make(args, &host, driver, &base, &name, &files)?;
    screen::data(&format!("{}\n", made.display()))?;
    if args.auto_start {
        start(driver, &host, &name)?;
    }
    Ok(Exit::Done)
}

/// The machine's name, in lower case.
fn machine_name(hostname: &str) -> Result<String> {
    let name = hostname.to_lowercase();
    if is_legal_name(&name) {
        return Ok(name);
    }
    let error = Error::new(Misuse(format!("`{hostname}` cannot be a machine's name")));
    let hint = match hostname.split_once('.') {
        Some((first, _)) if is_legal_name(&first.to_lowercase()) => format!(
            "give `{first}` alone; its domain is the files' matter, as `--var domain=...` is"
        ),
        _ => "a name is a host name: letters, digits and `-`, at most 63".to_string(),
    };
    Err(with_hint(error, hint))
}

/// The base, and the driver that has it.
fn find_base(args: &Args, host: &Host) -> Result<(&'static Row, Base)> {
    let word = args.driver.map_or("auto", options::Driver::word);
    let rows: Vec<&'static Row> = match word {
        "auto" => usable(host).collect(),
        word => vec![choose(word, host)?],
    };
    for row in &rows {
        journal::recover(host, row.name, &args.base_image)?;
        if let Some(base) = row.driver.base(host, &args.base_image)? {
            return Ok((row, base));
        }
    }
    let mut known = Vec::new();
    for row in &rows {
        known.extend(row.driver.list(host)?.into_iter().map(|listed| listed.name));
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let error =
        Error::new(Misuse(format!("there is no machine `{}` to make one from", args.base_image)));
    let hint = suggest::hint(&args.base_image, &known, "there are").unwrap_or_else(|| {
        "a stage `register` makes one: `kuth build pipelines/debian.toml machine`".to_string()
    });
    Err(with_hint(error, hint))
}

fn listed(driver: &dyn Driver, host: &Host, name: &str) -> Result<Option<Listed>> {
    Ok(driver.list(host)?.into_iter().find(|listed| listed.name == name))
}

/// Refuses the name of a machine of a pipeline, before the base is touched.
fn refuse_strangers(driver: &dyn Driver, host: &Host, name: &str) -> Result<()> {
    match listed(driver, host, name)? {
        Some(listed) if listed.pipeline != OWNER => {
            let error = Error::new(Misuse(format!(
                "the machine `{name}` is there already, made by the pipeline `{}`",
                listed.pipeline
            )));
            let hint =
                format!("give it another name, or remove that one: `kuth machine remove {name}`");
            Err(with_hint(error, hint))
        }
        _ => Ok(()),
    }
}

/// Makes the machine, or finds it as it was asked for; where it lies.
fn make(
    args: &Args,
    host: &Host,
    driver: &dyn Driver,
    base: &Base,
    name: &str,
    files: &Files,
) -> Result<PathBuf> {
    let (snapshot, copy) = match base.owner {
        Owner::Other => (base.identity.clone(), Copying::Full),
        Owner::Kuth => {
            let snapshot = driver.snapshot(host, &base.identity, SNAPSHOT).with_context(|| {
                format!("taking the snapshot `{SNAPSHOT}` of `{}`", args.base_image)
            })?;
            (snapshot, if args.full { Copying::Full } else { Copying::Linked })
        }
    };
    let wanted = files.wanted(name, base, host, &snapshot, copy)?;
    // As the machine would be: the driver says whether it is.
    let identity = Identity {
        machine: name.to_string(),
        origin: wanted.origin,
        snapshot: None,
        ..snapshot.clone()
    };
    let found = driver.find(host, &identity)?;
    match &found {
        Found::Here(path) => {
            screen::talk(&format!("{name}: already as asked"));
            return Ok(path.clone());
        }
        Found::Kept(path, why) => {
            bail!("the machine `{name}` in {} was left as it is: {why}", path.display());
        }
        Found::Gone(_) | Found::Replaced(_) => {}
    }
    let was_there = listed(driver, host, name)?.is_some();
    let seed = files.seed(host)?.iso(host.epoch)?;
    let cloning = Cloning { snapshot: &snapshot, copy, seed: &seed };
    let identity = driver
        .clone_snapshot(host, &wanted, &cloning)
        .with_context(|| format!("making the machine `{name}`"))?;
    screen::talk(&match was_there {
        true => format!("{name}: made anew, from `{}`", args.base_image),
        false => format!("{name}: made from `{}`", args.base_image),
    });
    match driver.find(host, &identity)? {
        Found::Here(path) | Found::Kept(path, _) => Ok(path),
        Found::Gone(why) | Found::Replaced(why) => {
            Err(anyhow!("the machine `{name}` was made and is gone: {why}"))
        }
    }
}

/// Starts a machine that is as kuth made it; one that was in use is its user's to start.
fn start(driver: &dyn Driver, host: &Host, name: &str) -> Result<()> {
    let state = listed(driver, host, name)?.map(|listed| listed.state);
    match state {
        Some(State::Running) => screen::talk(&format!("{name}: running")),
        Some(State::Used) => {
            screen::talk(&format!("{name}: powered off; start it with `kuth machine start {name}`"))
        }
        _ => {
            let started = driver.start(host, name).with_context(|| {
                format!("starting the machine `{name}`, which is made and stays")
            })?;
            let reach = match started.ssh_port {
                Some(_) => format!(", reach it with `kuth machine ssh {name}`"),
                None => String::new(),
            };
            screen::talk(&format!("{name}: running{reach}"));
        }
    }
    Ok(())
}
