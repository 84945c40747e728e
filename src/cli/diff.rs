//! `kuth diff`.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::options::MessageFormat;
use super::{Exit, project, screen};
use crate::cache::Cache;
use crate::compare::{self, Change, Differences, Entry, Side, Volume};
use crate::error::Result;
use crate::units::{Bytes, Human};

/// The lines of one kind that people are shown; JSON has all of them.
const MOST: usize = 200;

/// Show the differences between two images or builds
///
/// A and B are files (an export with its sidecar files, or the tar of a tree) or
/// results in the cache, named by a prefix of the key that `kuth cache list` prints
/// or of the digest. Packages, files, volumes, recipes and sizes are compared where
/// both sides have them. The files of an export are those of its tree, if that is
/// in the cache.
///
/// The exit status is 0 if there are no differences, and 1 if there are or if
/// something could not be compared.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// First image or result
    #[arg(value_name = "A")]
    old: String,

    /// Second image or result
    #[arg(value_name = "B")]
    new: String,

    /// Output format: human or json [default: human]
    #[arg(long, value_name = "FMT", value_enum, default_value_t = MessageFormat::Human)]
    #[arg(hide_default_value = true, hide_possible_values = true, verbatim_doc_comment)]
    format: MessageFormat,

    /// Cache directory [default: `cache` beside
    /// `pipelines`]
    #[arg(long, value_name = "DIR", env = "KUTH_CACHE", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    cache: Option<PathBuf>,
}

/// Runs `kuth diff`.
pub fn run(args: &Args) -> Result<Exit> {
    let directory = project::cache_directory(args.cache.as_deref())?;
    // Reading must not create a cache.
    let cache = match directory.join("version").is_file() {
        true => Some(Cache::open(&directory)?),
        false => None,
    };
    let old = compare::find(&args.old, cache.as_ref())?;
    let new = compare::find(&args.new, cache.as_ref())?;
    let found = compare::compare(&old, &new)?;
    match args.format {
        MessageFormat::Human => screen::data(&human(&found, &old, &new))?,
        MessageFormat::Json | MessageFormat::Wire => {
            screen::data(&format!("{:#}\n", machine(&found)))?
        }
    }
    Ok(if found.is_empty() { Exit::Done } else { Exit::Failed })
}

fn human(found: &Differences, old: &Side, new: &Side) -> String {
    let mut text = String::new();
    if found.same_bytes {
        return "the same bytes\n".to_string();
    }
    section(&mut text, "packages", found.packages.as_deref(), |change| {
        let (name, architecture) = &change.what;
        match (&change.old, &change.new) {
            (Some(old), Some(new)) => format!("~ {name} {old} -> {new} {architecture}"),
            (Some(old), None) => format!("- {name} {old} {architecture}"),
            (_, new) => format!("+ {name} {} {architecture}", new.as_deref().unwrap_or_default()),
        }
    });
    section(&mut text, "files", found.files.as_deref(), |change| {
        let path = path(&change.what);
        match (&change.old, &change.new) {
            (Some(old), Some(new)) => format!("~ {path}: {}", new.changes(old).join(", ")),
            (Some(old), None) => format!("- {path}: {old}"),
            (None, Some(new)) => format!("+ {path}: {new}"),
            (None, None) => path,
        }
    });
    section(&mut text, "volumes", found.volumes.as_deref(), |change| {
        let name = &change.what;
        match (&change.old, &change.new) {
            (Some(old), Some(new)) => format!("~ {name}: {}", new.changes(old).join(", ")),
            (Some(old), None) => format!("- {name}: {}", old.text()),
            (None, Some(new)) => format!("+ {name}: {}", new.text()),
            (None, None) => name.clone(),
        }
    });
    for (stage, differences) in &found.recipes {
        // Writing into a string does not fail.
        let _ = writeln!(text, "recipe of {stage}:");
        for line in differences {
            let _ = writeln!(text, "  {line}");
        }
    }
    let _ = match found.sizes {
        Some((old, new)) => writeln!(text, "size: {} -> {}", Human(old), Human(new)),
        None => writeln!(text, "size: the same"),
    };
    if let (Some(old), Some(new)) = (old.digest, new.digest) {
        let _ = writeln!(text, "bytes: {} -> {}", old.short(), new.short());
    }
    text
}

/// A path with special characters escaped.
fn path(bytes: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(bytes).escape_debug())
}

fn section<K, V>(
    text: &mut String,
    name: &str,
    changes: Option<&[Change<K, V>]>,
    line: impl Fn(&Change<K, V>) -> String,
) {
    let Some(changes) = changes else {
        *text += &format!("{name}: not known on both sides\n");
        return;
    };
    if changes.is_empty() {
        *text += &format!("{name}: the same\n");
        return;
    }
    let count = |old: bool, new: bool| {
        changes.iter().filter(|it| (it.old.is_some(), it.new.is_some()) == (old, new)).count()
    };
    let (added, removed, changed) = (count(false, true), count(true, false), count(true, true));
    *text += &format!("{name}: {added} added, {removed} removed, {changed} changed\n");
    for change in changes.iter().take(MOST) {
        *text += &format!("  {}\n", line(change));
    }
    if changes.len() > MOST {
        *text += &format!("  … and {} more (`--format json` has all)\n", changes.len() - MOST);
    }
}

fn machine(found: &Differences) -> Value {
    let packages = found.packages.as_ref().map(|changes| {
        let one = |it: &Change<(String, String), String>| {
            json!({ "name": it.what.0, "architecture": it.what.1, "old": it.old, "new": it.new })
        };
        changes.iter().map(one).collect::<Vec<_>>()
    });
    let files = found.files.as_ref().map(|changes| {
        let one = |it: &Change<Vec<u8>, Entry>| {
            let side = |entry: &Option<Entry>| entry.as_ref().map(entry_value);
            let changes = it.new.as_ref().zip(it.old.as_ref()).map(|(new, old)| new.changes(old));
            let path = format!("/{}", String::from_utf8_lossy(&it.what));
            json!({
                "path": path, "old": side(&it.old), "new": side(&it.new), "changes": changes,
            })
        };
        changes.iter().map(one).collect::<Vec<_>>()
    });
    let volumes = found.volumes.as_ref().map(|changes| {
        let one = |it: &Change<String, Volume>| {
            let side = |volume: &Option<Volume>| volume.as_ref().map(volume_value);
            json!({ "name": it.what, "old": side(&it.old), "new": side(&it.new) })
        };
        changes.iter().map(one).collect::<Vec<_>>()
    });
    let recipes = found.recipes.iter().map(|(stage, differences)| {
        let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
        json!({ "stage": stage, "lines": lines })
    });
    let bytes = |size: Bytes| size.0;
    json!({
        "same": found.is_empty(),
        "same-bytes": found.same_bytes,
        "packages": packages,
        "files": files,
        "volumes": volumes,
        "recipes": recipes.collect::<Vec<_>>(),
        "sizes": found.sizes.map(|(old, new)| json!({ "old": bytes(old), "new": bytes(new) })),
    })
}

fn entry_value(entry: &Entry) -> Value {
    json!({
        "kind": entry.kind,
        "mode": format!("{:04o}", entry.mode),
        "owner": entry.owner.0,
        "group": entry.owner.1,
        "size": entry.size,
        "time": entry.time,
        "link": (!entry.link.is_empty()).then(|| String::from_utf8_lossy(&entry.link)),
        "sha256": entry.content,
    })
}

fn volume_value(volume: &Volume) -> Value {
    json!({ "about": volume.about, "size": volume.size, "offset": volume.offset })
}
