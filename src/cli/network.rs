//! `kuth network`: how this host reaches the machines of a pipeline. `plan` shows the commands,
//! `apply` runs them, `undo` takes back what `apply` did.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Exit, interrupt, project, screen};
use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::error::{Context, Error, Hint, Misuse, Result, anyhow, with_hint};
use crate::machine::network::adapters::{Adapter, Tools};
use crate::machine::network::applied::{Applied, look};
use crate::machine::network::steps::{Seen, Step, server_line, steps};
use crate::machine::network::{Plan, allowed};
use crate::pipeline::{Override, suggest};
use crate::stage::Table;

/// Connect this host with the machines of a pipeline
///
/// A pipeline describes the network in its stage of the kind `clone`:
///
///   [stage.nodes.network]
///   host = "192.168.56.1/24"
///   gateway = "192.168.56.254"
///   routes = ["192.168.1.0/24", "192.168.2.0/24"]
///   domain = "kube.local"
///
/// It is made of a host-only adapter of VirtualBox's, of routes through the machine
/// that is the gateway, and of a line for dnsmasq, where this host has one. The
/// embedded driver needs none of it: it reaches machines by ports of 127.0.0.1.
#[derive(clap::Args, Debug)]
#[command(arg_required_else_help = true, verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the commands that are left to run
    ///
    /// Changes nothing. Fails where something else is in the way, and where VirtualBox
    /// does not allow the address.
    #[command(verbatim_doc_comment)]
    Plan(Host),
    /// Run them
    ///
    /// Routes and dnsmasq's file need root; nothing is run by sudo unasked. What is
    /// made is noted in the cache directory first, so that `kuth network undo` takes back
    /// exactly that, also when a command fails half-way.
    #[command(verbatim_doc_comment)]
    Apply(Host),
    /// Take back what was made
    ///
    /// Without a pipeline, for every one that has something.
    #[command(verbatim_doc_comment)]
    Undo(Host),
}

#[derive(clap::Args, Debug)]
struct Host {
    /// The pipeline file [default: the one that
    /// describes a network]
    #[arg(verbatim_doc_comment)]
    pipeline: Option<PathBuf>,

    /// Set a variable of the pipeline
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<Override>,

    /// The command line of VirtualBox's VBoxManage
    /// [default: VBoxManage]
    #[arg(long, value_name = "CMD", env = "KUTH_VBOXMANAGE", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    vboxmanage: Option<String>,

    /// Which addresses VirtualBox allows
    /// [default: /etc/vbox/networks.conf]
    #[arg(long, value_name = "FILE", default_value = allowed::FILE)]
    #[arg(hide_default_value = true, verbatim_doc_comment)]
    networks_conf: PathBuf,

    /// The directory of dnsmasq's files
    /// [default: /etc/dnsmasq.d]
    #[arg(long, value_name = "DIR", default_value = "/etc/dnsmasq.d")]
    #[arg(hide_default_value = true, verbatim_doc_comment)]
    dnsmasq: PathBuf,

    /// Where is noted what was made [default: `cache`
    /// beside `pipelines`]
    #[arg(long, value_name = "DIR", env = "KUTH_CACHE", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    cache: Option<PathBuf>,
}

/// Plans, applies or takes back.
pub fn run(args: &Args) -> Result<Exit> {
    let cancel = Cancel::default();
    interrupt::gracefully(&cancel)?;
    match &args.action {
        Action::Plan(host) => plan(host, cancel)?,
        Action::Apply(host) => apply(host, cancel)?,
        Action::Undo(host) => undo(host, cancel)?,
    }
    Ok(Exit::Done)
}

fn plan(host: &Host, cancel: Cancel) -> Result<()> {
    let (name, plan) = described(host)?;
    let tools = host.tools(&cache(host)?, cancel);
    refuse_address(host, &plan, &tools)?;
    let names = host.names(&name);
    let seen = look(&plan, names.as_deref(), &tools).unwrap_or_else(|_| {
        screen::talk(
            "VBoxManage or ip does not answer, so this is for a host that has nothing yet",
        );
        let routes = vec![Vec::new(); plan.routes.len()];
        Seen { routes, ..Seen::default() }
    });
    let left = steps(&plan, &seen, names.as_deref())?;
    let lines = left.iter().flat_map(|step| step.lines(tools.shown()));
    screen::data(&lines.map(|line| line + "\n").collect::<String>())?;
    if left.is_empty() {
        screen::talk("this host has all of it");
    }
    tell_about_names(&plan, names.is_some());
    tell_about_adapters(&plan, &seen.adapters);
    Ok(())
}

fn apply(host: &Host, cancel: Cancel) -> Result<()> {
    let (name, plan) = described(host)?;
    let cache = cache(host)?;
    let tools = host.tools(&cache, cancel);
    refuse_address(host, &plan, &tools)?;
    let names = host.names(&name);
    let mut applied = Applied::open(&noted(&cache, &name))?;
    let seen = look(&plan, names.as_deref(), &tools)
        .hint("see the commands with `kuth network plan`, which needs no VirtualBox")?;
    let left = steps(&plan, &seen, names.as_deref());
    // What an earlier plan made, and may be in the way, is taken back first.
    let needs_root = match &left {
        Ok(steps) if steps.is_empty() => false,
        Ok(steps) => applied.needs_root() || steps.iter().any(Step::needs_root),
        Err(_) => applied.needs_root(),
    };
    require_root(needs_root, "apply")?;
    let tell = &mut |line: &str| screen::talk(line);
    let count = applied.apply(&plan, names.as_deref(), &tools, tell)?;
    if count == 0 {
        screen::talk("this host has all of it");
    }
    tell_about_names(&plan, names.is_some());
    tell_about_adapters(&plan, &tools.adapters()?);
    Ok(())
}

fn undo(host: &Host, cancel: Cancel) -> Result<()> {
    let cache = cache(host)?;
    let tools = host.tools(&cache, cancel);
    let files = match &host.pipeline {
        Some(path) => vec![noted(&cache, &project::load(path, &host.vars, &Table)?.name)],
        None => all_noted(&cache)?,
    };
    let mut all = Vec::new();
    for file in files {
        all.push(Applied::open(&file)?);
    }
    all.retain(|applied| !applied.is_empty());
    require_root(all.iter().any(Applied::needs_root), "undo")?;
    let mut count = 0;
    for applied in &mut all {
        count += applied.undo(&tools, &mut |line| screen::talk(line))?;
    }
    if count == 0 {
        screen::talk("there is nothing to take back");
    }
    Ok(())
}

impl Host {
    fn tools(&self, cache: &Cache, cancel: Cancel) -> Tools {
        let vboxmanage = self.vboxmanage.clone().filter(|command| !command.trim().is_empty());
        Tools { vboxmanage, log: cache.journal().join("network.log"), cancel }
    }

    /// The file for dnsmasq, where this host has one.
    fn names(&self, pipeline: &str) -> Option<PathBuf> {
        self.dnsmasq.is_dir().then(|| self.dnsmasq.join(format!("kuth-{pipeline}.conf")))
    }
}

fn cache(host: &Host) -> Result<Cache> {
    Cache::open(&project::cache_directory(host.cache.as_deref())?)
}

/// The end of the name of a file that says what was made.
const NOTED: &str = ".network";

fn noted(cache: &Cache, pipeline: &str) -> PathBuf {
    cache.journal().join(format!("{pipeline}{NOTED}"))
}

fn all_noted(cache: &Cache) -> Result<Vec<PathBuf>> {
    let journal = cache.journal();
    let entries = std::fs::read_dir(&journal)
        .with_context(|| format!("reading {}", journal.display()))?
        .flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(NOTED));
    files.sort();
    Ok(files)
}

/// The name of the pipeline, and the network it describes.
fn described(host: &Host) -> Result<(String, Plan)> {
    let Some(path) = &host.pipeline else { return the_one_here(host) };
    let (name, plan) = read(path, &host.vars)?;
    let plan = plan.ok_or_else(|| {
        let message = format!("the pipeline {} describes no network", path.display());
        let hint = "add a table `[stage.NAME.network]` to a stage of the kind `clone`";
        with_hint(Error::new(Misuse(message)), hint)
    })?;
    Ok((name, plan))
}

fn read(path: &Path, vars: &[Override]) -> Result<(String, Option<Plan>)> {
    let pipeline = project::load(path, vars, &Table)?;
    let stages = pipeline.stages.iter().flat_map(|stage| &stage.stage);
    let mut plans: Vec<&Plan> = Vec::new();
    for plan in stages.filter_map(|(_, stage)| stage.network()) {
        if !plans.contains(&plan) {
            plans.push(plan);
        }
    }
    match plans[..] {
        [] => Ok((pipeline.name, None)),
        [plan] => Ok((pipeline.name, Some(plan.clone()))),
        _ => Err(Error::new(Misuse(format!("{} describes several networks", path.display())))),
    }
}

/// The network of the only pipeline in `pipelines/` that describes one.
fn the_one_here(host: &Host) -> Result<(String, Plan)> {
    let mut found = Vec::new();
    for path in project::pipelines()? {
        // A variable is that of one pipeline; another one that lacks it is not meant.
        let Ok((name, Some(plan))) = read(&path, &host.vars) else { continue };
        found.push((path.display().to_string(), name, plan));
    }
    let paths: Vec<&str> = found.iter().map(|(path, _, _)| path.as_str()).collect();
    let problem = match &paths[..] {
        [_] => None,
        [] => Some(("no pipeline here describes a network", "name its file".to_string())),
        several => {
            let hint = format!("name one: {}", suggest::list(several));
            Some(("several pipelines here describe a network", hint))
        }
    };
    if let Some((message, hint)) = problem {
        return Err(with_hint(Error::new(Misuse(message.to_string())), hint));
    }
    found.pop().map(|(_, name, plan)| (name, plan)).ok_or_else(|| anyhow!("no pipeline"))
}

/// Refuses an address that VirtualBox would refuse, with what allows it.
fn refuse_address(host: &Host, plan: &Plan, tools: &Tools) -> Result<()> {
    match allowed::refusal(&host.networks_conf, &plan.host)? {
        Some(refusal) if tools.is_restricted() => Err(refusal),
        _ => Ok(()),
    }
}

/// Routes and files of /etc are root's; kuth uses no sudo by itself.
fn require_root(needed: bool, action: &str) -> Result<()> {
    match needed && !rustix::process::geteuid().is_root() {
        false => Ok(()),
        true => Err(anyhow!("routes and dnsmasq's files can only be changed by root"))
            .hint(format!("run it as root (`sudo kuth network {action} ...`); nothing was done")),
    }
}

/// What somebody whose names another server keeps has to do.
fn tell_about_names(plan: &Plan, written: bool) {
    if let (Some(line), false) = (server_line(plan), written) {
        let line = line.trim_end();
        screen::talk(&format!("there is no dnsmasq here; one elsewhere would need `{line}`"));
    }
}

/// `host-only` alone is the first adapter, which may be another one.
fn tell_about_adapters(plan: &Plan, adapters: &[Adapter]) {
    let at = adapters.iter().position(|adapter| adapter.address == Some(plan.host));
    if let Some(at) = at.filter(|at| *at > 0) {
        screen::talk(&format!(
            "{name} is not the first adapter; write `host-only:{name}` in `nics`",
            name = adapters[at].name
        ));
    }
}
