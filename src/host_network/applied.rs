//! Doing the steps of a network and taking them back. What is about to be made is written down
//! first, so that whatever happens (a command that fails, a kill) can be taken back later: exactly
//! that, last things first, and nothing that the host had before.

use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::steps::{HostState, Step, route_words, steps};
use super::{Adapter, Cidr, Plan, Tools, line};
use crate::error::{Context, Error, Hint, Result, anyhow};

/// One thing that was made, or was about to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "made", rename_all = "kebab-case")]
pub enum Change {
    /// An adapter; its name is not known until it is there.
    Adapter {
        /// The adapters there were before.
        before: Vec<String>,
        /// The new one.
        name: Option<String>,
    },
    /// A route.
    Route {
        /// Where to.
        network: Cidr,
        /// By which machine.
        gateway: Ipv4Addr,
    },
    /// A file.
    Names {
        /// Where.
        file: PathBuf,
        /// Its text.
        text: String,
    },
}

/// What was made for one pipeline, as its file has it.
#[derive(Debug)]
pub struct Applied {
    path: PathBuf,
    made: Vec<Change>,
}

/// Gets each command that was run, as a person would type it.
pub type Report<'a> = &'a mut dyn FnMut(&str);

impl Applied {
    /// What `path`, which may not exist, has.
    pub fn open(path: &Path) -> Result<Applied> {
        let what = || format!("reading {}", path.display());
        let made = match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).with_context(what).hint(
                "nothing was changed; if the file is broken, remove what it names by hand, and it",
            )?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(what),
        };
        Ok(Applied { path: path.to_path_buf(), made })
    }

    /// Whether there is nothing to take back.
    pub fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    /// Whether only root can take it back.
    pub fn needs_root(&self) -> bool {
        self.made.iter().any(|made| !matches!(made, Change::Adapter { .. }))
    }

    /// Whether an adapter was begun that is not there with this address.
    fn is_half_made(&self, plan: &Plan, adapters: &[Adapter]) -> bool {
        self.made.iter().any(|made| match made {
            Change::Adapter { name: Some(name), .. } => {
                let is_it = |it: &Adapter| it.name == *name && it.address == Some(plan.host);
                !adapters.iter().any(is_it)
            }
            Change::Adapter { name: None, .. } => true,
            Change::Route { network, gateway } => {
                !plan.routes.contains(network) || plan.gateway != Some(*gateway)
            }
            Change::Names { text, .. } => super::steps::server_line(plan).as_ref() != Some(text),
        })
    }

    /// Does what is left to do of `plan`; first takes back what an earlier, other or unfinished,
    /// plan made. How many steps that were.
    pub fn apply(
        &mut self,
        plan: &Plan,
        names: Option<&Path>,
        tools: &Tools<'_>,
        report: Report<'_>,
    ) -> Result<usize> {
        if self.is_half_made(plan, &tools.adapters.list()?) {
            self.undo(tools, report)?;
        }
        let found = look(plan, names, tools)?;
        let steps = steps(plan, &found, names)?;
        for step in &steps {
            tools.cancel.check()?;
            let done = self.make(step, &found.adapters, tools);
            let what = || format!("setting up {}", shown(step));
            done.with_context(what).hint("`kuth network undo` takes back what was made")?;
            step.lines(tools.adapters).iter().for_each(|line| report(line));
            if matches!(step, Step::Names { .. }) {
                restart(tools, report);
            }
        }
        Ok(steps.len())
    }

    fn make(&mut self, step: &Step, adapters: &[Adapter], tools: &Tools<'_>) -> Result<()> {
        match step {
            Step::Adapter { address, .. } => {
                let before: Vec<_> = adapters.iter().map(|it| it.name.clone()).collect();
                self.note(Change::Adapter { before: before.clone(), name: None })?;
                let new = tools.adapters.create(&before)?;
                if let Some(Change::Adapter { name, .. }) = self.made.last_mut() {
                    *name = Some(new.clone());
                }
                self.write()?;
                tools.adapters.set_address(&new, address)
            }
            Step::Route { network, gateway } => {
                self.note(Change::Route { network: *network, gateway: *gateway })?;
                let words = route_words("add", network, gateway);
                tools.ip(&words.each_ref().map(String::as_str)).map(|_| ())
            }
            Step::Names { file, text } => {
                self.note(Change::Names { file: file.clone(), text: text.clone() })?;
                write(file, text.as_bytes())
            }
        }
    }

    /// Takes back all that was made, last things first. Goes on after a failure, which stays
    /// noted.
    pub fn undo(&mut self, tools: &Tools<'_>, report: Report<'_>) -> Result<usize> {
        let mut failed: Option<Error> = None;
        let mut count = 0;
        for at in (0..self.made.len()).rev() {
            match take_back(&self.made[at], tools, report) {
                Ok(was_there) => {
                    count += usize::from(was_there);
                    self.made.remove(at);
                    self.write()?;
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            None => Ok(count),
            Some(error) => Err(error.context("taking the network back")),
        }
    }

    fn note(&mut self, made: Change) -> Result<()> {
        // One that vanished (routes do, at a restart) and is made again.
        self.made.retain(|other| *other != made);
        self.made.push(made);
        self.write()
    }

    fn write(&self) -> Result<()> {
        if self.made.is_empty() {
            return match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("removing {}", self.path.display()))
                }
                _ => Ok(()),
            };
        }
        let mut text =
            serde_json::to_vec_pretty(&self.made).context("writing down what is made")?;
        text.push(b'\n');
        let aside = self.path.with_extension("new");
        write(&aside, &text)?;
        std::fs::rename(&aside, &self.path)
            .with_context(|| format!("writing {}", self.path.display()))
    }
}

/// What the host has of a plan.
pub fn look(plan: &Plan, names: Option<&Path>, tools: &Tools<'_>) -> Result<HostState> {
    let routes = plan.routes.iter().map(|network| tools.routes(network));
    let routes = routes.collect::<Result<Vec<_>>>()?;
    Ok(HostState {
        adapters: tools.adapters.list()?,
        routes,
        names: names.map(read).transpose()?.flatten(),
    })
}

/// Takes one thing back; whether it was there.
fn take_back(made: &Change, tools: &Tools<'_>, report: Report<'_>) -> Result<bool> {
    match made {
        Change::Adapter { before, name } => {
            let now: Vec<String> = tools.adapters.list()?.into_iter().map(|it| it.name).collect();
            let Some(name) = ours(before, name.as_deref(), &now)? else { return Ok(false) };
            tools.adapters.remove(&name)?;
            report(&tools.adapters.line_to_remove(&name));
        }
        Change::Route { network, gateway } => {
            if !tools.routes(network)?.contains(&Some(*gateway)) {
                return Ok(false);
            }
            let words = route_words("del", network, gateway);
            let words = words.each_ref().map(String::as_str);
            tools.ip(&words)?;
            report(&line("ip", &words));
        }
        Change::Names { file, text } => match read(file)? {
            None => return Ok(false),
            Some(there) if there != *text => {
                report(&format!("{} was changed since, and stays", file.display()));
                return Ok(false);
            }
            Some(_) => {
                std::fs::remove_file(file)
                    .with_context(|| format!("removing {}", file.display()))?;
                report(&format!("rm {}", crate::process::quote(&file.display().to_string())));
                restart(tools, report);
            }
        },
    }
    Ok(true)
}

/// The adapter that was made: the one named, or, where a kill came before that was known, the one
/// that was not there before.
fn ours(before: &[String], name: Option<&str>, now: &[String]) -> Result<Option<String>> {
    if let Some(name) = name {
        return Ok(now.iter().find(|it| *it == name).cloned());
    }
    let mut new = now.iter().filter(|it| !before.contains(it));
    match (new.next(), new.next()) {
        (first, None) => Ok(first.cloned()),
        (_, Some(_)) => Err(anyhow!("several adapters are new, and which was made is not known"))
            .hint("remove it by hand: `VBoxManage hostonlyif remove NAME`, then again"),
    }
}

/// A host may do this another way, so it is not a failure when it does not work.
fn restart(tools: &Tools<'_>, report: Report<'_>) {
    if tools.restart_dnsmasq().is_err() {
        report("dnsmasq could not be restarted; do it yourself, so that it reads its files again");
    }
}

fn shown(step: &Step) -> String {
    match step {
        Step::Adapter { address, .. } => format!("the adapter with {address}"),
        Step::Route { network, .. } => format!("the route to {network}"),
        Step::Names { file, .. } => file.display().to_string(),
    }
}

fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let what = || format!("writing {}", path.display());
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(what)?;
    }
    let mut file = File::create(path).with_context(what)?;
    file.write_all(bytes).with_context(what)?;
    file.sync_all().with_context(what)
}
