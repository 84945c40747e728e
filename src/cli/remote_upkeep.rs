//! `kuth cache remote`.

use clap::Subcommand;

use super::cache::Age;
use super::{Exit, interrupt, project, remote, screen};
use crate::cancel::Cancel;
use crate::error::Result;
use crate::remote::{Count, Listed, prune, stats};
use crate::units::Human;

/// Maintain the remote cache
#[derive(clap::Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what is stored, and how much no result needs
    ///
    /// Reads every record and every manifest.
    #[command(verbatim_doc_comment)]
    Stats,
    /// Remove old results, and what no result needs
    ///
    /// Files that were uploaded within a day stay: an upload may need them. Lists what
    /// was removed. A build that uploads meanwhile may have to make a result again.
    #[command(verbatim_doc_comment)]
    Prune {
        /// Remove results that were uploaded longer ago
        /// than this, such as 30d, 12h or 2w
        #[arg(long, value_name = "AGE", verbatim_doc_comment)]
        older_than: Option<Age>,

        /// Remove nothing, list what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs `kuth cache remote`.
pub fn run(args: &Args) -> Result<Exit> {
    let settings = remote::configured(&project::root_here()?)?.ok_or_else(remote::none)?;
    let cancel = Cancel::default();
    let _handlers = interrupt::gracefully(&cancel)?;
    let row = |name: &str, count: Count| {
        [name.to_string(), count.files.to_string(), Human(count.size).to_string()]
    };
    match &args.action {
        Action::Stats => {
            let stats = stats(&settings, &cancel)?;
            screen::data(&screen::table(&[
                row("records", stats.records),
                row("objects", stats.objects),
                row("packs", stats.packs),
                row("unused", stats.unused),
            ]))?;
        }
        Action::Prune { older_than, dry_run } => {
            let mut listed = String::new();
            let mut list = |file: &Listed| listed += &format!("{}\n", file.name);
            let older_than = older_than.map(|age| age.0);
            let outcome = prune(&settings, older_than, *dry_run, &cancel, &mut list);
            screen::data(&listed)?;
            let Count { files, size } = outcome?;
            let removed = if *dry_run { "would be removed" } else { "removed" };
            screen::talk(&format!("{files} files {removed}, {} freed", Human(size)));
        }
    }
    Ok(Exit::Done)
}
