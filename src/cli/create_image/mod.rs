//! `kuth create-image`: one machine from a base machine, with the options of the script that this
//! command replaces. The files are read and checked before anything is made.

use std::path::{Path, PathBuf};

use super::{Exit, interrupt, options, project, screen};
use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::error::{Context, Error, Misuse, Result, anyhow, bail, with_hint};
use crate::machine::{
    Base, CloneSpec, CopyMode, Driver, Host, Hypervisor, Identity, Listed, Location, MachineSpec,
    Nic, Owner, Replace, Row, State, choose, host_at, is_legal_name, journal, usable,
};
use crate::pipeline::{Override, suggest};
use crate::recipe::Recipe;

mod files;

use files::Files;

/// The owner of these machines, where other machines have the name of their pipeline.
const OWNER: &str = "create-image";

/// The snapshot of the base that linked clones depend on.
const SNAPSHOT: &str = "golden";

/// Part of the key of every machine; increased when the code below makes a different machine from
/// the same files.
const REVISION: u32 = 1;

/// Create a machine from a base machine and start it
///
/// The base is a machine that a pipeline registered (`kuth machine list`) or, with
/// VirtualBox, any machine. kuth takes a snapshot `golden` of it unless there is
/// one, and the new machine is a linked clone of that snapshot. A base that kuth
/// did not make is copied completely and not changed.
///
/// FILEs other than the key are names in data/DISTRIBUTION/ of the project, or
/// paths. The first three are for cloud-init; #HOSTNAME#, #UUID#, #SSH-PUB-KEY#,
/// #MAC1# and variables of pipelines/DISTRIBUTION.toml such as ${domain} are
/// replaced in them. The post-config files set network cards, additional disks,
/// processors and memory, in VirtualBox's terms:
///
///   interfaces: {nic1: {type: nat}, nic2: {type: intnet, name: dmz}}
///   storages: {storage1: {size: 512000, format: VDI, variant: Standard}}
///   resources: {processors: 1, memory: 512}
///
/// If the machine exists and was made from the same input, nothing is changed. If
/// the input differs, the machine is made again; if the machine holds state, that
/// needs --replace.
///
///   kuth create-image -k ~/.ssh/id_ed25519.pub -u gate/user-data \
///       -n gate/network-config -i gate/post-config-interfaces \
///       -r gate/post-config-resources -o gate-node01 -b debian-base-image
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(override_usage = "kuth create-image [OPTIONS] -k <FILE> -o <NAME> -b <NAME>")]
pub struct Args {
    /// File with the public keys that may log in
    #[arg(short = 'k', long, value_name = "FILE")]
    ssh_pub_keyfile: PathBuf,

    /// cloud-init user-data [default: user-data, else
    /// a user with sudo]
    #[arg(short = 'u', long, value_name = "FILE", verbatim_doc_comment)]
    user_data: Option<PathBuf>,

    /// cloud-init meta-data [default: meta-data, else
    /// the machine's name]
    #[arg(short = 'm', long, value_name = "FILE", verbatim_doc_comment)]
    meta_data: Option<PathBuf>,

    /// cloud-init network configuration
    /// [default: DHCP on each card]
    #[arg(short = 'n', long, value_name = "FILE", verbatim_doc_comment)]
    network_interfaces: Option<PathBuf>,

    /// Network cards [default: one on nat]
    #[arg(short = 'i', long, value_name = "FILE")]
    post_config_interfaces: Option<PathBuf>,

    /// Additional disks [default: none]
    #[arg(short = 's', long, value_name = "FILE")]
    post_config_storages: Option<PathBuf>,

    /// Processors and memory [default: as the base]
    #[arg(short = 'r', long, value_name = "FILE")]
    post_config_resources: Option<PathBuf>,

    /// Machine name and host name, in lower case
    #[arg(short = 'o', long, value_name = "NAME")]
    hostname: String,

    /// Base machine
    #[arg(short = 'b', long, value_name = "NAME")]
    base_image: String,

    /// Directory below data/, and name of the user
    /// [default: debian]
    #[arg(short = 'l', long, value_name = "NAME", default_value = "debian")]
    #[arg(hide_default_value = true, verbatim_doc_comment)]
    linux_distribution: String,

    /// Start the machine: true or false
    /// [default: true]
    #[arg(short = 'a', long, value_name = "BOOL", default_value_t = true)]
    #[arg(action = clap::ArgAction::Set, hide_default_value = true, hide_possible_values = true)]
    #[arg(verbatim_doc_comment)]
    auto_start: bool,

    /// Make a full clone instead of a linked one
    #[arg(long)]
    full: bool,

    /// Set a variable in the files
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<Override>,

    /// Replace a machine that holds state
    #[arg(long)]
    replace: bool,

    /// Hypervisor driver: auto, virtualbox or qemu
    /// [default: the driver of the base]
    #[arg(long, value_enum, hide_possible_values = true, verbatim_doc_comment)]
    driver: Option<options::Driver>,

    /// Command line of VirtualBox's VBoxManage
    #[arg(long, value_name = "CMD", env = "KUTH_VBOXMANAGE", hide_env_values = true)]
    vboxmanage: Option<String>,

    /// Cache directory, which has the journal
    /// [default: `cache` beside `pipelines`]
    #[arg(long, value_name = "DIR", env = "KUTH_CACHE", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    cache: Option<PathBuf>,
}

/// Runs `kuth create-image`.
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
        ..host_at(
            &project::machines(Path::new("."))?,
            project::driver_commands(args.vboxmanage.as_deref()),
            cancel,
        )
    };
    let (row, base) = find_base(args, &host)?;
    let driver = row.driver;
    journal::recover(&host, row.name, &name)?;
    refuse_machine_of_pipeline(driver, &host, &name)?;
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
    let error = Error::new(Misuse(format!("`{hostname}` is not a valid machine name")));
    let hint = match hostname.split_once('.') {
        Some((first, _)) if is_legal_name(&first.to_lowercase()) => {
            format!("give `{first}` only; set the domain in the files, or with `--var domain=...`")
        }
        _ => "a name is a host name: at most 63 letters, digits and `-`".to_string(),
    };
    Err(with_hint(error, hint))
}

/// The base, and its driver.
fn find_base(args: &Args, host: &Host) -> Result<(&'static Row, Base)> {
    let word = args.driver.map_or("auto", options::Driver::name);
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
    let error = Error::new(Misuse(format!("there is no base machine `{}`", args.base_image)));
    let hint = suggest::hint(&args.base_image, &known, "there are").unwrap_or_else(|| {
        "a `register` stage makes one: `kuth build pipelines/debian.toml machine`".to_string()
    });
    Err(with_hint(error, hint))
}

fn listed(driver: &dyn Hypervisor, host: &Host, name: &str) -> Result<Option<Listed>> {
    Ok(driver.list(host)?.into_iter().find(|listed| listed.name == name))
}

/// Fails if a pipeline has a machine of this name. Called before the base is changed.
fn refuse_machine_of_pipeline(driver: &dyn Hypervisor, host: &Host, name: &str) -> Result<()> {
    match listed(driver, host, name)? {
        Some(listed) if listed.pipeline != OWNER => {
            let error = Error::new(Misuse(format!(
                "the machine `{name}` exists; the pipeline `{}` made it",
                listed.pipeline
            )));
            let hint =
                format!("use another name, or remove that machine: `kuth machine remove {name}`");
            Err(with_hint(error, hint))
        }
        _ => Ok(()),
    }
}

/// Makes the machine unless it exists and is up to date. Returns its path.
fn make(
    args: &Args,
    host: &Host,
    driver: &dyn Hypervisor,
    base: &Base,
    name: &str,
    files: &Files,
) -> Result<PathBuf> {
    let (snapshot, copy) = match base.owner {
        Owner::Other => (base.identity.clone(), CopyMode::Full),
        Owner::Kuth => {
            let snapshot = driver.snapshot(host, &base.identity, SNAPSHOT).with_context(|| {
                format!("taking the snapshot `{SNAPSHOT}` of `{}`", args.base_image)
            })?;
            (snapshot, if args.full { CopyMode::Full } else { CopyMode::Linked })
        }
    };
    let spec = files.spec(name, base, host, &snapshot, copy)?;
    // The identity it would have; the driver finds out whether there is such a machine.
    let identity = Identity {
        machine: name.to_string(),
        origin: spec.origin,
        snapshot: None,
        ..snapshot.clone()
    };
    let found = driver.find(host, &identity)?;
    match &found {
        Location::Present(path) => {
            screen::talk(&format!("{name}: up to date"));
            return Ok(path.clone());
        }
        Location::Retained(path, why) => {
            bail!("the machine `{name}` in {} was not changed: {why}", path.display());
        }
        Location::Missing(_) | Location::Replaced(_) => {}
    }
    let was_there = listed(driver, host, name)?.is_some();
    let seed = files.seed(host)?.iso(host.epoch)?;
    let clone_spec = CloneSpec { snapshot: &snapshot, copy, size: None, seed: &seed };
    let identity = driver
        .clone_snapshot(host, &spec, &clone_spec)
        .with_context(|| format!("creating the machine `{name}`"))?;
    screen::talk(&match was_there {
        true => format!("{name}: created again from `{}`", args.base_image),
        false => format!("{name}: created from `{}`", args.base_image),
    });
    match driver.find(host, &identity)? {
        Location::Present(path) | Location::Retained(path, _) => Ok(path),
        Location::Missing(why) | Location::Replaced(why) => {
            Err(anyhow!("the machine `{name}` was created but is missing: {why}"))
        }
    }
}

/// Starts a machine that was never started. One that was in use is left powered off.
fn start(driver: &dyn Hypervisor, host: &Host, name: &str) -> Result<()> {
    let state = listed(driver, host, name)?.map(|listed| listed.state);
    match state {
        Some(State::Running) => screen::talk(&format!("{name}: running")),
        Some(State::Used) => {
            screen::talk(&format!("{name}: powered off; start it with `kuth machine start {name}`"))
        }
        _ => {
            let started = driver
                .start(host, name)
                .with_context(|| format!("starting the machine `{name}`, which was created"))?;
            let reach = match started.ssh_port {
                Some(_) => format!(", log in with `kuth machine ssh {name}`"),
                None => String::new(),
            };
            screen::talk(&format!("{name}: running{reach}"));
        }
    }
    Ok(())
}
