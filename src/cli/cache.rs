//! `kuth cache`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Subcommand;

use super::transfer::{self, Direction};
use super::{Exit, project, remote, remote_upkeep, screen};
use crate::cache::clean::{self, Limits};
use crate::cache::upkeep::Entry;
use crate::cache::{Cache, Record};
use crate::error::Result;
use crate::sandbox;
use crate::units::{Bytes, Human};

/// Manage the local cache
#[derive(clap::Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct Args {
    /// Cache directory [default: `cache` beside
    /// `pipelines`]
    #[arg(long, value_name = "DIR", env = "KUTH_CACHE", hide_env_values = true)]
    #[arg(verbatim_doc_comment, global = true)]
    cache: Option<PathBuf>,

    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List cached results, newest first
    ///
    /// One line per result: a prefix of its key, the kind of stage, the kind of
    /// artifact, the disk space it uses, how long it took to build, its age, and when
    /// it was last used.
    #[command(verbatim_doc_comment)]
    List,
    /// Show disk usage
    Size,
    /// Verify the digest of everything in the cache
    ///
    /// Damaged entries are removed, so that the next build makes them again. The exit
    /// status is 1 if there were any.
    #[command(verbatim_doc_comment)]
    Verify,
    Clean(Clean),
    /// Push cached results to the remote cache
    ///
    /// For results that were built before there was a remote cache; a build pushes its
    /// own results. Runs no stage and contacts no mirror. Prints one line per stage;
    /// the exit status is 1 if a result is missing.
    #[command(verbatim_doc_comment)]
    Push(transfer::Args),
    /// Pull results from the remote cache
    ///
    /// Fetches all results of these stages, also those that a build would not need,
    /// so that a later build can run offline. Runs no stage and contacts no mirror.
    /// Prints one line per stage; the exit status is 1 if a result is missing.
    #[command(verbatim_doc_comment)]
    Pull(transfer::Args),
    Remote(remote_upkeep::Args),
    /// Generate a key that signs results
    ///
    /// Writes the private key to FILE, for KUTH_CACHE_KEY, and prints the public key,
    /// for `keys` in kuth.toml.
    #[command(verbatim_doc_comment)]
    Keygen {
        /// New file, readable by its owner only
        file: PathBuf,
    },
    /// Print the public key of a private key
    #[command(name = "public-key")]
    PublicKey {
        /// File that `keygen` wrote, or a public key
        #[arg(value_name = "KEY")]
        key: String,

        /// Print it as PEM, for openssl and cosign
        #[arg(long)]
        pem: bool,
    },
}

/// Remove unused data
///
/// Without options, removes objects that no result refers to and what interrupted
/// builds left. Lists the results that were removed. Fails while a build uses the
/// cache.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
struct Clean {
    /// Remove results, packages and layers that were not
    /// used for this long, such as 30d, 12h or 2w
    #[arg(long, value_name = "AGE", verbatim_doc_comment)]
    older_than: Option<Age>,

    /// Remove the least recently used until the cache
    /// is no larger than this, such as "10 GiB"
    #[arg(long, value_name = "SIZE", verbatim_doc_comment)]
    max_size: Option<Bytes>,

    /// Remove everything, including packages
    #[arg(long, conflicts_with_all = ["older_than", "max_size"])]
    all: bool,
}

/// `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age(pub Duration);

const UNITS: [(char, u64); 5] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];

impl std::str::FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Age, String> {
        let form = || "an age is an integer and one of s, m, h, d, w, such as `30d`".to_string();
        let unit = text.chars().last().ok_or_else(form)?;
        let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(form)?;
        let number = &text[..text.len() - unit.len_utf8()];
        let number: u64 = number.trim().parse().map_err(|_| form())?;
        Ok(Age(Duration::from_secs(number.saturating_mul(seconds))))
    }
}

/// Runs `kuth cache`.
pub fn run(args: &Args) -> Result<Exit> {
    let given = args.cache.as_deref();
    match &args.action {
        Action::Push(which) => return transfer::run(Direction::Push, which, given),
        Action::Pull(which) => return transfer::run(Direction::Pull, which, given),
        Action::Remote(which) => return remote_upkeep::run(which),
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
    // Reading must not create a cache.
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
                row("layers", sizes.layers),
                row("other", sizes.rest),
                row("total", sizes.total()),
            ]))?;
        }
        Action::Verify => {
            let verified = Cache::open(&directory)?.verify(|_| ())?;
            let faults: String = verified.faults.iter().map(|fault| format!("{fault}\n")).collect();
            screen::data(&faults)?;
            let (checked, faulty) = (verified.checked, verified.faults.len());
            screen::talk(&format!("{checked} checked, {faulty} damaged"));
            if faulty > 0 {
                return Ok(Exit::Failed);
            }
        }
        // Done above.
        Action::Keygen { .. }
        | Action::PublicKey { .. }
        | Action::Push(_)
        | Action::Pull(_)
        | Action::Remote(_) => {}
        Action::Clean(clean) => {
            let cleaned = clean::clean(&directory, clean.limits(), sandbox::remove_left)?;
            let now = SystemTime::now();
            let rows: Vec<_> = cleaned.results.iter().map(|entry| row(entry, now)).collect();
            screen::data(&screen::table(&rows))?;
            let count =
                |count, word| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
            screen::talk(&format!(
                "{}, {} and {} removed, {} freed",
                count(cleaned.results.len(), "result"),
                count(cleaned.packages, "package"),
                count(cleaned.layers, "layer"),
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
    fn ages_are_parsed() {
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
    fn only_all_removes_everything() {
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
    fn times_are_rounded_to_the_largest_unit() {
        for (seconds, text) in [(5, "just now"), (65, "1 min ago"), (90_000, "1 d ago")] {
            assert_eq!(ago(seconds), text);
        }
    }
}
