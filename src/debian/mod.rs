//! Debian's archive: which packages a request means (`solve`), as of which signed index
//! (`index`), and their files (`pool`). apt does the verifying and the solving, in directories of
//! its own; kuth downloads, each file to its known size, by SHA-256, into the cache. It knows no
//! stage.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::artifact::Artifact;
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::host_path::HostPath;
use crate::recipe::Recipe;
use crate::stage_context::{Pin, PinOutcome, StageContext};

pub mod contents;
pub mod date;
pub mod distribution;
pub mod index;
pub mod install;
pub mod medium;
pub mod mirror;
mod mirrored;
pub mod pool;
mod refusal;
pub mod snapshot;
pub mod solve;

pub use distribution::{DEBIAN, Distribution, UBUNTU};

/// One exact package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, epoch and all.
    pub version: String,
    /// `amd64`, `all`, ...
    pub architecture: String,
    /// Of the `.deb`.
    pub sha256: Digest,
    /// Of the `.deb`, in bytes.
    pub size: u64,
    /// Below the mirror's root: `pool/main/h/htop/htop_3.4.1-5_amd64.deb`.
    pub path: String,
    /// Of the essential packages and what they need: unpacked before there is a dpkg to do it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub essential: bool,
}

impl Package {
    /// `htop_3.4.1-5_amd64.deb`: unique within a request, and what apt expects of a file name.
    pub fn file_name(&self) -> String {
        let version = self.version.replace(':', "%3a");
        format!("{}_{version}_{}.deb", self.name, self.architecture)
    }
}

/// `htop 3.4.1-5 amd64`
impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.version, self.architecture)
    }
}

/// What is installed already where the packages of a request are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing: the essential packages and apt come along.
    Empty,
    /// Nothing, and nothing but the packages themselves is wanted: they will only be unpacked.
    Exactly,
    /// The packages of a tree.
    Tree {
        /// Names the set of them: the digest of their list, or of the tree where nobody noted that.
        installed: String,
        /// The tree; `None` where it is not built yet.
        tree: Option<Artifact>,
    },
}

/// Where packages are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Archive {
    /// On a mirror: the one the pipeline names, if it does.
    Mirror(Option<String>),
    /// On a medium that a stage makes, an ISO image or a directory; nothing is asked of a network.
    /// `None` where it is not built yet.
    Medium(Option<Artifact>),
}

impl Archive {
    /// The mirror the pipeline names.
    pub fn mirror(&self) -> Option<&str> {
        match self {
            Archive::Mirror(mirror) => mirror.as_deref(),
            Archive::Medium(_) => None,
        }
    }

    /// Whether an entry of the lock is of this medium, or of a mirror as well.
    fn is_that_of(&self, entry: &toml::Table) -> bool {
        let medium = entry.get(MEDIUM).and_then(toml::Value::as_str);
        match self {
            Archive::Mirror(_) => medium.is_none(),
            // Which one it will be shows when it is there.
            Archive::Medium(None) => medium.is_some(),
            Archive::Medium(Some(image)) => medium == Some(image.digest.to_string().as_str()),
        }
    }
}

/// The key of a lock's entry that has the digest of the medium, where the packages are of one.
const MEDIUM: &str = "medium";

/// A question to the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Tells the questions of one stage apart in the lock: `packages`, `tools`.
    pub part: &'static str,
    /// Whose archive it is.
    pub distribution: &'static Distribution,
    /// `trixie`
    pub suite: String,
    /// `main`, ...
    pub components: Vec<String>,
    /// Names, as `apt-get install` takes them.
    pub packages: Vec<String>,
    /// What they go on top of.
    pub base: Base,
    /// Where they are.
    pub archive: Archive,
    /// The keyring the pipeline names, if it does.
    pub keyring: Option<HostPath>,
}

impl Request {
    /// The keys that count: the pipeline's, else the distribution's own.
    fn keys(&self) -> HostPath {
        self.keyring.clone().unwrap_or_else(|| HostPath::new(self.distribution.keyring))
    }

    /// The request as a recipe: what the answer depends on besides the index.
    fn recipe(&self, context: &StageContext) -> Recipe {
        let mut recipe = Recipe::new("solve", 1);
        recipe.value("architecture", &context.settings.architecture);
        if *self.distribution != DEBIAN {
            recipe.value("distribution", self.distribution.name);
        }
        recipe.value("suite", &self.suite);
        recipe.set("component", &self.components);
        recipe.set("package", &self.packages);
        if let Archive::Medium(_) = self.archive {
            // Not which one: what the lock has of it is compared with what is there.
            recipe.value("archive", MEDIUM);
        }
        match &self.base {
            Base::Empty => recipe.value("base", "empty"),
            Base::Exactly => recipe.value("base", "exactly"),
            Base::Tree { installed, .. } => recipe.value("base", installed),
        }
        recipe
    }
}

/// Finds out what each of `requests` means exactly: from the lock if that answers it, else from the
/// index that the lock names, if the cache has it, else from the mirror of today. A medium is its
/// own day.
pub fn pin<'a>(
    context: &StageContext,
    requests: impl IntoIterator<Item = &'a Request>,
) -> Result<PinOutcome> {
    let mut pins = Vec::new();
    for request in requests {
        match pin_one(context, request)? {
            Some(pin) => pins.push(pin),
            None => return Ok(PinOutcome::NeedsInputs),
        }
    }
    Ok(PinOutcome::Pinned(pins))
}

/// `None` where the tree or the medium of `request` is needed and not in the cache.
fn pin_one(context: &StageContext, request: &Request) -> Result<Option<Pin>> {
    let question = request.recipe(context).key().to_string();
    let answers = |table: &&toml::Table| {
        table.get("request").and_then(toml::Value::as_str) == Some(question.as_str())
            && request.archive.is_that_of(table)
    };
    if let Some(table) = context.locked.iter().find(answers) {
        return of_table(table.clone()).map(Some);
    }
    if context.settings.locked {
        return Err(refusal::not_locked(context, request));
    }
    if let Archive::Medium(image) = &request.archive
        && !image.as_ref().is_some_and(|image| context.cache.holds(image))
    {
        return Ok(None);
    }
    let index = index::current(context, request)?;
    let Some(packages) = solve::solve(context, request, &index)? else { return Ok(None) };
    let mut table = toml::Table::new();
    table.insert("part".into(), request.part.into());
    table.insert("request".into(), question.into());
    table.insert("suite".into(), request.suite.clone().into());
    table.insert("architecture".into(), context.settings.architecture.clone().into());
    table.insert("release".into(), index.release.to_string().into());
    if let Some(date) = index.date {
        table.insert("date".into(), date.to_string().into());
    }
    if let (Archive::Medium(Some(image)), Some(label)) = (&request.archive, &index.medium) {
        table.insert(MEDIUM.into(), image.digest.to_string().into());
        table.insert("label".into(), label.clone().into());
    }
    refusal::note(request, &mut table);
    let packages = toml::Value::try_from(&packages).context("writing the lock")?;
    table.insert("package".into(), packages);
    of_table(table).map(Some)
}

fn of_table(table: toml::Table) -> Result<Pin> {
    let mut recipe = Recipe::new("packages", 1);
    let locked = Pin { locked: table, digest: Digest([0; 32]) };
    recipe.set("package", packages(&locked)?.iter().map(|p| format!("{p} {}", p.sha256)));
    Ok(Pin { digest: recipe.key().0, ..locked })
}

/// The packages of a pin made by [`pin`].
pub fn packages(pin: &Pin) -> Result<Vec<Package>> {
    let list = pin.locked.get("package").cloned().unwrap_or(toml::Value::Array(Vec::new()));
    list.try_into().context("reading the packages of the lock")
}

/// When the index was made that a pin was resolved from, if it says so.
pub fn date_of(pin: &Pin) -> Option<date::Date> {
    pin.locked.get("date")?.as_str()?.parse().ok()
}
