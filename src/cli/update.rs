//! `kuth update`.

use std::sync::Arc;

use super::options::{Archive, MessageFormat, Source};
use super::project::Project;
use super::{Exit, interrupt, progress, remote, screen};
use crate::cancel::Cancel;
use crate::engine::update::Update;
use crate::error::Result;
use crate::lock::changes::{Changed, Item, changes};

/// Update the lock file from the mirror
///
/// Resolves packages, tools and digests of downloads again: for all stages, or for
/// the named stages and those whose packages are installed on top of theirs.
/// Changes are printed to standard output. A tree that a resolution depends on is
/// built if it is not in the cache. Ctrl-C leaves the lock file unchanged.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    source: Source,

    /// Stages to resolve again [default: all]
    #[arg(value_name = "STAGE")]
    stages: Vec<String>,

    #[command(flatten)]
    archive: Archive,

    /// Print what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs `kuth update`.
pub fn run(args: &Args) -> Result<Exit> {
    let cancel = Cancel::default();
    interrupt::gracefully(&cancel)?;
    let mut project = Project::open(&args.source)?;
    args.archive.apply_to(&mut project.settings);
    let observer = progress::observer(MessageFormat::Human);
    let cache = project.cache()?;
    let root = &project.settings.root;
    let remote = remote::open(root, false, &cache, &cancel, observer.clone())?;
    let update = Update {
        pipeline: &project.pipeline,
        cache,
        settings: Arc::new(project.settings.clone()),
        lock: &project.lock,
        observer,
        cancel,
        remote,
    };
    let draft = update.draft(&args.stages)?;
    let (old, new) = (project.lock.entries(), draft.entries());
    screen::data(&summary(&changes(&old, &new)))?;
    let path = project.lock.path().display();
    match (old == new, args.dry_run) {
        (true, _) => screen::talk(&format!("{path} is up to date")),
        (false, true) => screen::talk(&format!("{path} was not changed (--dry-run)")),
        (false, false) => {
            draft.save()?;
            screen::talk(&format!("{path} was written"));
        }
    }
    Ok(Exit::Done)
}

/// A line for each resolution, with its changes below it.
fn summary(changes: &[Changed]) -> String {
    changes.iter().map(resolution).collect()
}

fn resolution(changed: &Changed) -> String {
    let count = |matches: fn(&Item) -> bool| changed.items.iter().filter(|it| matches(it)).count();
    let security = count(|item| item.is_security && item.old.is_some());
    let word = match security {
        0 => "changed".to_string(),
        security => format!("changed ({security} security)"),
    };
    let counts = [
        (count(|item| item.old.is_some() && item.new.is_some()), word.as_str()),
        (count(|item| item.old.is_none()), "added"),
        (count(|item| item.new.is_none()), "removed"),
        (changed.unchanged, "unchanged"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let rows: Vec<[String; 2]> = changed
        .items
        .iter()
        .map(|item| {
            let change = match (&item.old, &item.new) {
                (Some(old), Some(new)) if item.is_security => format!("{old} -> {new} (security)"),
                (Some(old), Some(new)) => format!("{old} -> {new}"),
                (Some(old), None) => format!("{old} removed"),
                (None, new) => format!("{} added", new.as_deref().unwrap_or_default()),
            };
            [format!("  {}", item.name), change]
        })
        .collect();
    let Changed { stage, question, .. } = changed;
    format!("{stage}: {question}: {}\n{}", counts.join(", "), screen::table(&rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_lists_each_change() {
        let item = |name: &str, old: Option<&str>, new: Option<&str>| Item {
            name: name.into(),
            old: old.map(String::from),
            new: new.map(String::from),
            is_security: false,
        };
        let changed = Changed {
            stage: "base".into(),
            question: "packages trixie amd64".into(),
            items: vec![
                item("htop", Some("3.4.1-5"), Some("3.4.2-1")),
                item("libnl-3-200", None, Some("3.7.0-2")),
                item("vim", Some("2:9.1"), None),
            ],
            unchanged: 61,
        };
        let same = Changed { items: Vec::new(), stage: "rootfs".into(), ..changed.clone() };
        let expected = "\
base: packages trixie amd64: 1 changed, 1 added, 1 removed, 61 unchanged
  htop         3.4.1-5 -> 3.4.2-1
  libnl-3-200  3.7.0-2 added
  vim          2:9.1 removed
rootfs: packages trixie amd64: 61 unchanged
";
        assert_eq!(summary(&[changed, same]), expected);
    }
}
