//! `kuth cache`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Subcommand;

use super::transfer::{self, Way};
use super::{Exit, project, remote, screen};
use crate::cache::clean::{self, Limits};
use crate::cache::upkeep::Entry;
use crate::cache::{Cache, Record};
use crate::error::Result;
use crate::sandbox;
use crate::units::{Bytes, Human};

/// Look after the results that are kept
#[derive(clap::Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct Args {
    /// The cache [default: `cache` beside
    /// `pipelines`]
    #[arg(long, value_name = "DIR", env = "KUTH_CACHE", hide_env_values = true)]
    #[arg(verbatim_doc_comment, global = true)]
    cache: Option<PathBuf>,

    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what is kept, newest first
    ///
    /// A line each: the start of its key, the kind of stage, what it is, the space it
    /// takes on the disk, how long it took to make, how long ago that was, and when
    /// it was last used.
    #[command(verbatim_doc_comment)]
    List,
    /// Show the space that is used
    Size,
    /// Read everything and compare it with its digest
    ///
    /// What is wrong is removed, so that the next build makes it again; the exit
    /// status is 1 then.
    #[command(verbatim_doc_comment)]
    Verify,
    Clean(Clean),
    /// Bring results that are here to the remote cache
    ///
    /// For what was built before there was one; a build brings what it makes itself.
    /// Nothing is run, and no mirror is asked. A line for each stage; the exit status
    /// is 1 when the result of one is missing.
    #[command(verbatim_doc_comment)]
    Push(transfer::Args),
    /// Fetch results from the remote cache
    ///
    /// All that it has for these stages, also what a build would not need: for a
    /// build without a network afterwards. Nothing is run, and no mirror is asked.
    /// A line for each stage; the exit status is 1 when the result of one is missing.
    #[command(verbatim_doc_comment)]
    Pull(transfer::Args),
    /// Make a key that signs results for others
    ///
    /// The private key goes to FILE, for KUTH_CACHE_KEY; the public one is printed,
    /// for `keys` in kuth.toml.
    #[command(verbatim_doc_comment)]
    Keygen {
        /// A new file, readable by you alone
        file: PathBuf,
    },
    /// Print the public key of a key
    #[command(name = "public-key")]
    PublicKey {
        /// The file that `keygen` wrote, or a public key
        #[arg(value_name = "KEY")]
        key: String,

        /// Print it as openssl and cosign read it
        #[arg(long)]
        pem: bool,
    },
}

/// Make room
///
/// Without options, what no result refers to and what killed builds left goes.
/// Results that went are listed. Refused while a build uses the cache.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
struct Clean {
    /// Remove results and packages that were not used
    /// for longer than this: 30d, 12h, 2w
    #[arg(long, value_name = "AGE", verbatim_doc_comment)]
    older_than: Option<Age>,

    /// Remove those not used for longest, until the
    /// cache takes no more than this: "10 GiB"
    #[arg(long, value_name = "SIZE", verbatim_doc_comment)]
    max_size: Option<Bytes>,

    /// Remove everything, packages too
    #[arg(long, conflicts_with_all = ["older_than", "max_size"])]
    all: bool,
}

/// `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Age(Duration);

const UNITS: [(char, u64); 5] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];

impl std::str::FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Age, String> {
        let form = || "an age is a whole number and one of s, m, h, d, w, as `30d`".to_string();
        let unit = text.chars().last().ok_or_else(form)?;
        let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(form)?;
        let number = &text[..text.len() - unit.len_utf8()];
        let number: u64 = number.trim().parse().map_err(|_| form())?;
        Ok(Age(Duration::from_secs(number.saturating_mul(seconds))))
    }
}

/// Looks after the cache.
pub fn run(args: &Args) -> Result<Exit> {
    let given = args.cache.as_deref();
    match &args.action {
        Action::Push(which) => return transfer::run(Way::Push, which, given),
        Action::Pull(which) => return transfer::run(Way::Pull, which, given),
        Action::Keygen { file } => {
            let key = remote::keygen(file)?;
            screen::data(&format!("{}\n", key.public()))?;
            return Ok(Exit::Done);
        }
        Action::PublicKey { key, pem } => {
            let key = remote::public_key(key)?;
            screen::data(&if *pem { key.pem() } else { format!("{key}\n") })?;
            return Ok(Exit::Done);
        }
        _ => {}
    }
    let directory = project::cache_directory(args.cache.as_deref())?;
    // Looking at a cache must not make one.
    if !directory.join("version").is_file() {
        screen::talk(&format!("there is no cache in {}", directory.display()));
        return Ok(Exit::Done);
    }
    match &args.action {
        Action::List => {
            let entries = Cache::open(&directory)?.entries()?;
            let now = SystemTime::now();
            let rows: Vec<_> = entries.iter().map(|entry| row(entry, now)).collect();
            screen::data(&screen::table(&rows))?;
        }
        Action::Size => {
            let sizes = Cache::open(&directory)?.sizes()?;
            let row = |name: &str, bytes| [name.to_string(), Human(bytes).to_string()];
            screen::data(&screen::table(&[
                row("results", sizes.objects),
                row("packages", sizes.packages),
                row("rest", sizes.rest),
                row("total", sizes.total()),
            ]))?;
        }
        Action::Verify => {
            let verified = Cache::open(&directory)?.verify(|_| ())?;
            let faults: String = verified.faults.iter().map(|fault| format!("{fault}\n")).collect();
            screen::data(&faults)?;
            let (checked, faulty) = (verified.checked, verified.faults.len());
            screen::talk(&format!("{checked} checked, {faulty} faulty"));
            if faulty > 0 {
                return Ok(Exit::Failed);
            }
        }
        // Done above.
        Action::Keygen { .. } | Action::PublicKey { .. } | Action::Push(_) | Action::Pull(_) => {}
        Action::Clean(clean) => {
            let cleaned = clean::clean(&directory, clean.limits(), sandbox::remove_left)?;
            let now = SystemTime::now();
            let rows: Vec<_> = cleaned.results.iter().map(|entry| row(entry, now)).collect();
            screen::data(&screen::table(&rows))?;
            let count =
                |count, word| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
            screen::talk(&format!(
                "{} and {} removed, {} freed",
                count(cleaned.results.len(), "result"),
                count(cleaned.packages, "package"),
                Human(cleaned.freed)
            ));
        }
    }
    Ok(Exit::Done)
}

impl Clean {
    fn limits(&self) -> Limits {
        let older_than = self.older_than.map(|age| age.0);
        match (self.all, older_than, self.max_size) {
            (true, ..) => Limits::default(),
            // Nothing is as old as this, so all results stay.
            (false, None, None) => Limits { older_than: Some(Duration::MAX), max_size: None },
            (false, older_than, max_size) => Limits { older_than, max_size },
        }
    }
}

fn row(entry: &Entry, now: SystemTime) -> [String; 7] {
    let Record { output, seconds, made, .. } = &entry.record;
    let made = UNIX_EPOCH + Duration::from_secs(*made);
    let ago = |time| ago(now.duration_since(time).unwrap_or_default().as_secs());
    let kind = output.kind.to_string();
    let kind = kind.split_once(' ').map_or(kind.as_str(), |(_, word)| word);
    [
        entry.key.to_string()[..12].to_string(),
        entry.kind().to_string(),
        kind.to_string(),
        entry.allocated.map_or("missing".to_string(), |bytes| Human(bytes).to_string()),
        format!("{seconds:.1} s"),
        ago(made),
        format!("used {}", ago(entry.used)),
    ]
}

/// `3 h ago`, in the largest unit that fits.
fn ago(seconds: u64) -> String {
    let names = [("d", 86_400), ("h", 3600), ("min", 60)];
    match names.into_iter().find(|(_, unit)| seconds >= *unit) {
        Some((name, unit)) => format!("{} {name} ago", seconds / unit),
        None => "just now".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read() {
        for (text, seconds) in
            [("30d", 2_592_000), ("12h", 43_200), ("2w", 1_209_600), ("5 m", 300)]
        {
            assert_eq!(text.parse(), Ok(Age(Duration::from_secs(seconds))), "{text}");
        }
        for text in ["", "d", "30", "30y", "-1d", "1.5h", "3é"] {
            assert!(text.parse::<Age>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_all_takes_everything() {
        let clean = |all, older_than, max_size| {
            let limits = Clean { older_than, max_size, all }.limits();
            (limits.older_than, limits.max_size)
        };
        let day = Duration::from_secs(86_400);
        assert_eq!(clean(true, None, None), (None, None));
        assert_eq!(clean(false, None, None), (Some(Duration::MAX), None));
        assert_eq!(clean(false, Some(Age(day)), None), (Some(day), None));
        assert_eq!(clean(false, None, Some(Bytes(5))), (None, Some(Bytes(5))));
    }

    #[test]
    fn times_are_told_roughly() {
        for (seconds, text) in [(5, "just now"), (65, "1 min ago"), (90_000, "1 d ago")] {
            assert_eq!(ago(seconds), text);
        }
    }
}
