//! `kuth machine doctor`: what runs that were killed left behind, in the journal and with the
//! machines.

use std::path::PathBuf;

use crate::cache::Cache;
use crate::cli::{Exit, project, screen};
use crate::error::Result;
use crate::machine::{Host, journal, usable};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Take it away, or finish it
    #[arg(long)]
    clean: bool,

    /// Where the journal is kept [default: `cache`
    /// beside `pipelines`]
    #[arg(long, value_name = "DIR", env = "KUTH_CACHE", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    cache: Option<PathBuf>,
}

/// Lists what was left, a line each, and takes it away when asked to.
pub fn run(host: &Host, args: &Args) -> Result<Exit> {
    let folder = project::cache_folder(args.cache.as_deref())?;
    // A folder without a cache needs none to be looked at.
    let cache = folder.is_dir().then(|| Cache::open(&folder)).transpose()?;
    let journal = cache.as_ref().map(Cache::journal);
    let host = Host { journal: journal.clone(), ..host.clone() };
    let found = left(&host)?;
    screen::data(&found.iter().map(|line| format!("{line}\n")).collect::<String>())?;
    if found.is_empty() {
        screen::talk("nothing was left behind");
        return Ok(Exit::Done);
    }
    if !args.clean {
        screen::talk("take it away with `kuth machine doctor --clean`");
        return Ok(Exit::Failed);
    }
    journal::recover(&host)?;
    for row in usable(&host) {
        row.driver.clean(&host)?;
    }
    let still = left(&host)?;
    if still.is_empty() {
        screen::talk("all of it was taken away");
        return Ok(Exit::Done);
    }
    still.iter().for_each(|line| screen::talk(&format!("still there: {line}")));
    Ok(Exit::Failed)
}

/// What was left, in words.
fn left(host: &Host) -> Result<Vec<String>> {
    let mut found = Vec::new();
    // Drivers wait for whoever is at work, so what the journal has after that was left.
    for row in usable(host) {
        let leftovers = row.driver.leftovers(host)?;
        found.extend(leftovers.iter().map(|it| format!("{}: {}", it.path.display(), it.why)));
    }
    let entries = host.journal.as_deref().map(journal::entries).transpose()?;
    for (path, entry) in entries.unwrap_or_default() {
        let what = match entry {
            Some(entry) => format!(
                "`{}` of the machine `{}` ({}) did not end",
                entry.action, entry.machine, entry.driver
            ),
            None => "an entry that was cut short".to_string(),
        };
        found.push(format!("{}: {what}", path.display()));
    }
    Ok(found)
}
