//! Debian's archive: which packages a request means (`solve`), as of which signed index
//! (`index`), and their files (`pool`). kuth verifies, and downloads each file, limited to its known
//! size and checked by SHA-256, into the cache; apt solves, in directories of its own. It knows no
//! stage.

use crate::artifact::Artifact;
use crate::digest::Digest;
use crate::error::Result;
use crate::host_path::HostPath;
use crate::lock::{LockEntry, LockedMedium, LockedPackages, LockedSuite, Part, suite_in_words};
use crate::recipe::Recipe;
use crate::stage_context::{Pin, PinOutcome, StageContext};

pub mod batches;
pub mod contents;
mod current;
pub mod distribution;
pub mod index;
pub mod install;
mod lists;
pub mod medium;
pub mod mirror;
mod mirror_index;
pub mod package_file;
pub mod pool;
mod refusal;
pub mod repository;
mod searched;
mod signed;
pub mod snapshot;
pub mod solve;
mod solver;

use distribution::BACKPORTS;
pub use distribution::{Archive, DEBIAN, Distribution, UBUNTU};
use package_file::{Comparison, PackageFile};
use repository::Repository;
use searched::SearchedSuite;
use signed::TrustedKeys;

/// What is installed already where the packages of a request are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing: the essential packages and apt come along.
    Empty,
    /// Nothing, and only the packages themselves are selected, without dependencies: they will only be
    /// unpacked.
    Exactly,
    /// The packages of a tree.
    Tree {
        /// Names their list; see [`TreeFacts::packages`](crate::artifact::TreeFacts). Of a tree
        /// without facts its own digest.
        installed: Digest,
        /// The tree, which has dpkg's database; `None` where it is not built yet.
        tree: Option<Artifact>,
    },
}

/// Where packages are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackageSource {
    /// On a mirror: the one the pipeline names, if it does.
    Mirror(Option<String>),
    /// On an installation medium that a stage makes, an ISO image or a directory; nothing is asked of
    /// a network. `None` where it is not built yet.
    Medium(Option<Artifact>),
}

impl PackageSource {
    /// The mirror the pipeline names.
    pub fn mirror(&self) -> Option<&str> {
        match self {
            PackageSource::Mirror(mirror) => mirror.as_deref(),
            PackageSource::Medium(_) => None,
        }
    }

    /// Whether an entry of the lock is of this medium, or of a mirror as well.
    fn is_that_of(&self, locked: &LockedPackages) -> bool {
        match (self, &locked.medium) {
            (PackageSource::Mirror(_), medium) => medium.is_none(),
            (PackageSource::Medium(_), None) => false,
            // Which medium it is, is compared once it is built.
            (PackageSource::Medium(None), Some(_)) => true,
            (PackageSource::Medium(Some(image)), Some(medium)) => medium.digest == image.digest,
        }
    }
}

/// `suite` itself, its pockets, and its backports where packages are taken from there.
pub fn suites(suite: &str, pockets: &[&str], backports: &[String]) -> Vec<String> {
    let backports = (!backports.is_empty()).then_some(BACKPORTS);
    let beside = pockets.iter().copied().chain(backports);
    let beside = beside.map(|pocket| format!("{suite}-{pocket}"));
    [suite.to_string()].into_iter().chain(beside).collect()
}

/// A question to the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Tells the requests of one stage apart in the lock.
    pub part: Part,
    /// Whose archive it is.
    pub distribution: &'static Distribution,
    /// `trixie`
    pub suite: String,
    /// `main`, ...
    pub components: Vec<String>,
    /// The pockets that are searched too, such as `security`; the newest version wins.
    pub pockets: Vec<&'static str>,
    /// Names, as `apt-get install` takes them.
    pub packages: Vec<String>,
    /// Names of packages to take from the suite's backports.
    pub backports: Vec<String>,
    /// Packages that are files; for [`Base::Tree`] alone.
    pub files: Vec<PackageFile>,
    /// Whether the packages that others recommend are taken too.
    pub recommends: bool,
    /// What they are installed on top of.
    pub base: Base,
    /// With [`Base::Exactly`]: where the suites lack one of the packages, none is taken.
    pub optional: bool,
    /// Where they are.
    pub source: PackageSource,
    /// The keyring the pipeline names, if it does.
    pub keyring: Option<HostPath>,
    /// Repositories of others that are searched too.
    pub repositories: Vec<Repository>,
}

impl Request {
    /// The trusted keys: the pipeline's, else the distribution's own.
    fn keys(&self) -> TrustedKeys {
        match &self.keyring {
            Some(keyring) => TrustedKeys::File(keyring.clone()),
            None => TrustedKeys::Distribution(self.distribution),
        }
    }

    /// The suites to search, the release itself first. A medium has the release alone.
    pub fn suites(&self) -> Vec<String> {
        match self.source {
            PackageSource::Mirror(_) => suites(&self.suite, &self.pockets, &self.backports),
            PackageSource::Medium(_) => vec![self.suite.clone()],
        }
    }

    /// The names of all suites but the release itself, as the lock's are shown.
    fn other_suites(&self) -> Vec<String> {
        let own = self.suites().into_iter().skip(1);
        let others = self.repositories.iter();
        own.chain(others.map(|it| suite_in_words(&it.suite, Some(&it.url)))).collect()
    }

    /// The release itself.
    fn release(&self) -> SearchedSuite {
        self.suite_of_distribution(self.suite.clone())
    }

    fn suite_of_distribution(&self, name: String) -> SearchedSuite {
        let (components, keys) = (self.components.clone(), self.keys());
        SearchedSuite { name, components, keys, repository: None }
    }

    /// All that is searched: the distribution's suites, the release first, and repositories. Their keys
    /// are in the cache afterwards.
    fn searched(&self, context: &StageContext) -> Result<Vec<SearchedSuite>> {
        let own = self.suites().into_iter().map(|name| Ok(self.suite_of_distribution(name)));
        own.chain(self.repositories.iter().map(|it| it.searched(context))).collect()
    }

    /// The packages as `apt-get install` takes them, each from its suite.
    fn asked(&self) -> Vec<String> {
        let in_backports = |name: &&String| self.backports.contains(name);
        let plain = self.packages.iter().filter(|name| !in_backports(name)).cloned();
        let backports = &self.backports;
        plain
            .chain(backports.iter().map(|name| format!("{name}/{}-{BACKPORTS}", self.suite)))
            .collect()
    }

    /// The request as a recipe: what the answer depends on besides the index.
    fn recipe(&self, context: &StageContext) -> Result<Recipe> {
        let mut recipe = Recipe::new("solve", 1);
        recipe.value("architecture", &context.settings.architecture);
        if *self.distribution != DEBIAN {
            recipe.value("distribution", self.distribution.name);
        }
        recipe.value("suite", &self.suite);
        recipe.set("component", &self.components);
        recipe.set("package", &self.packages);
        recipe.set("pocket", &self.pockets);
        recipe.set("backport", &self.backports);
        recipe.set("repository", self.repositories.iter().map(Repository::line));
        let files = self.files.iter().map(PackageFile::described);
        recipe.set("package file", files.collect::<Result<Vec<String>>>()?);
        if self.recommends {
            recipe.value("recommends", true);
        }
        if self.optional {
            recipe.value("optional", true);
        }
        if let PackageSource::Medium(_) = self.source {
            // Not which one: the lock has its digest, which is compared with the medium.
            recipe.value("archive", "medium");
        }
        match &self.base {
            Base::Empty => recipe.value("base", "empty"),
            Base::Exactly => recipe.value("base", "exactly"),
            Base::Tree { installed, .. } => recipe.value("base", installed),
        }
        Ok(recipe)
    }
}

/// Resolves each of `requests` to exact packages: from the lock if that answers it, else from the
/// index that the lock names, if the cache has it, else from the mirror's present index. A medium has
/// one index. The pins of `keys` come last.
pub fn pin<'a>(
    context: &StageContext,
    requests: impl IntoIterator<Item = &'a Request>,
    keys: Vec<Pin>,
) -> Result<PinOutcome> {
    let mut pins = Vec::new();
    for request in requests {
        match pin_one(context, request)? {
            Some(pin) => pins.push(pin),
            None => return Ok(PinOutcome::NeedsInputs),
        }
    }
    pins.extend(keys);
    Ok(PinOutcome::Pinned(pins))
}

/// `None` where the tree, the medium or a file of `request` is needed and not in the cache.
fn pin_one(context: &StageContext, request: &Request) -> Result<Option<Pin>> {
    let question = request.recipe(context)?.key();
    let mut locked = context.locked.iter().filter_map(LockEntry::as_packages);
    let answers =
        |locked: &&LockedPackages| locked.request == question && request.source.is_that_of(locked);
    if let Some(locked) = locked.find(answers) {
        match package_file::compare(context, request, locked)? {
            Comparison::Same => return Ok(Some(Pin::new(LockEntry::Packages(locked.clone())))),
            Comparison::NeedsInputs => return Ok(None),
            Comparison::Other(_) => {}
        }
    }
    if context.settings.locked {
        return Err(refusal::not_locked(context, request)?);
    }
    if let PackageSource::Medium(image) = &request.source
        && !image.as_ref().is_some_and(|image| context.cache.holds(image))
    {
        return Ok(None);
    }
    let mut indexes = current::current(context, request)?;
    let Some(packages) = solve::solve(context, request, &indexes)? else { return Ok(None) };
    let (asked, components) = refusal::noted(request);
    let index = indexes.remove(0);
    let suites = indexes.into_iter().map(|it| LockedSuite {
        name: it.suite.name,
        repository: it.suite.repository,
        release: it.release,
        date: it.date,
    });
    let medium = match (&request.source, index.medium) {
        (PackageSource::Medium(Some(image)), Some(label)) => {
            Some(LockedMedium { digest: image.digest, label })
        }
        _ => None,
    };
    Ok(Some(Pin::new(LockEntry::Packages(LockedPackages {
        part: request.part,
        request: question,
        suite: request.suite.clone(),
        architecture: context.settings.architecture.clone(),
        release: index.release,
        date: index.date,
        asked,
        components: Some(components),
        medium,
        suites: suites.collect(),
        packages,
    }))))
}
