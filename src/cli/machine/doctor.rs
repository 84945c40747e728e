//! `kuth machine doctor`: what runs that were killed left behind, in the journal and with the
//! machines.

use std::path::PathBuf;

use crate::cache::Cache;
use crate::cli::{Exit, project, screen};
use crate::error::{Error, Misuse, Result, anyhow, with_hint};
use crate::machine::journal::{self, JournalFile};
use crate::machine::{Host, Leftover, usable};
use crate::pipeline::suggest;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Take it away, or finish it
    #[arg(long)]
    clean: bool,

    /// Drop the journal's entries of these machines (or
    /// of these files) that cannot be finished here
    #[arg(long, value_name = "NAME", num_args = 1.., conflicts_with = "clean")]
    #[arg(verbatim_doc_comment)]
    drop: Vec<String>,

    /// With --drop, also entries that can be finished
    #[arg(long, requires = "drop")]
    force: bool,

    /// Where the journal is kept [default: `cache`
    /// beside `pipelines`]
    #[arg(long, value_name = "DIR", env = "KUTH_CACHE", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    cache: Option<PathBuf>,
}

/// Lists what was left, a line each, and takes it away or drops it when asked to.
pub fn run(host: &Host, args: &Args) -> Result<Exit> {
    let directory = project::cache_directory(args.cache.as_deref())?;
    // A directory without a cache needs none to be looked at.
    let cache = directory.is_dir().then(|| Cache::open(&directory)).transpose()?;
    let host = Host { journal: cache.as_ref().map(Cache::journal), ..host.clone() };
    if !args.drop.is_empty() {
        return drop_entries(&host, &args.drop, args.force);
    }
    let found = left(&host)?;
    screen::data(&found.lines.iter().map(|line| format!("{line}\n")).collect::<String>())?;
    if found.lines.is_empty() {
        screen::talk("nothing was left behind");
        return Ok(Exit::Done);
    }
    if !args.clean {
        if found.stuck.len() < found.lines.len() {
            screen::talk("take it away with `kuth machine doctor --clean`");
        }
        tell_how_to_drop(&found.stuck);
        return Ok(Exit::Failed);
    }
    clean(&host)?;
    let still = left(&host)?;
    if still.lines.is_empty() {
        screen::talk("all of it was taken away");
        return Ok(Exit::Done);
    }
    still.lines.iter().for_each(|line| screen::talk(&format!("still there: {line}")));
    tell_how_to_drop(&still.stuck);
    Ok(Exit::Failed)
}

fn tell_how_to_drop(names: &[String]) {
    if !names.is_empty() {
        let names = names.join(" ");
        screen::talk(&format!(
            "give up what cannot be finished here with `kuth machine doctor --drop {names}`"
        ));
    }
}

/// What was left.
#[derive(Default)]
struct Left {
    /// In words.
    lines: Vec<String>,
    /// The names of entries that cannot be finished here.
    stuck: Vec<String>,
}

fn left(host: &Host) -> Result<Left> {
    let mut left = Left::default();
    // Drivers wait for whoever is at work, so what the journal has after that was left.
    for row in usable(host) {
        match row.driver.leftovers(host) {
            Ok(leftovers) => {
                let line = |it: &Leftover| format!("{}: {}", it.path.display(), it.why);
                left.lines.extend(leftovers.iter().map(line));
            }
            // The other drivers' are reported all the same.
            Err(error) => screen::talk(&format!("{} could not be asked: {error:#}", row.name)),
        }
    }
    for file in journal_of(host)? {
        let path = file.path.display();
        left.lines.push(match file.obstacle(host) {
            None => format!("{path}: {file}; `--clean` finishes it"),
            Some(why) => {
                left.stuck.push(file.name());
                format!("{path}: {file}; it cannot be finished here: {why}")
            }
        });
    }
    left.stuck.dedup();
    Ok(left)
}

fn journal_of(host: &Host) -> Result<Vec<JournalFile>> {
    Ok(host.journal.as_deref().map(journal::files).transpose()?.unwrap_or_default())
}

/// Finishes what can be finished and takes the rest away, as far as that goes.
fn clean(host: &Host) -> Result<()> {
    let fails = |error: Error| screen::talk(&format!("{error:#}"));
    for file in journal_of(host)? {
        if file.obstacle(host).is_none() {
            file.finish(host).unwrap_or_else(fails);
        }
    }
    for row in usable(host) {
        row.driver.clean(host).map(|_| ()).unwrap_or_else(fails);
    }
    Ok(())
}

/// Drops entries of the journal, once it is sure that all are meant.
fn drop_entries(host: &Host, names: &[String], force: bool) -> Result<Exit> {
    let files = journal_of(host)?;
    let mut chosen: Vec<&JournalFile> = Vec::new();
    for name in names {
        let named: Vec<&JournalFile> = files.iter().filter(|file| is_called(file, name)).collect();
        if named.is_empty() {
            let known: Vec<String> = files.iter().map(JournalFile::name).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let error = Error::new(Misuse(format!("the journal has no entry of `{name}`")));
            let hint = suggest::hint(name, &known, "there are");
            let hint = hint.unwrap_or_else(|| "see what was left: `kuth machine doctor`".into());
            return Err(with_hint(error, hint));
        }
        for file in named {
            if !force && file.obstacle(host).is_none() {
                let error = anyhow!("{}: {file}, and it can be finished here", file.path.display());
                let hint = "`kuth machine doctor --clean` finishes it; `--force` drops it all the \
                            same; of several entries of a machine, name the file";
                return Err(with_hint(error, hint));
            }
            if !chosen.contains(&file) {
                chosen.push(file);
            }
        }
    }
    for file in chosen {
        file.strike()?;
        screen::talk(&format!("{}: dropped; {}", file.path.display(), file.remains(host)));
    }
    Ok(Exit::Done)
}

/// Whether somebody who says `name` means this file: by its machine, its path or its own name.
fn is_called(file: &JournalFile, name: &str) -> bool {
    let path = file.path.as_path();
    file.name() == name || path.as_os_str() == name || path.file_name().is_some_and(|it| it == name)
}
