//! Repositories of somebody else's beside the distribution's archive: what they are, the key that signs
//! their index, and how an installed system knows them.
//!
//! A repository only ever adds to the distribution: of a package that both have, the distribution's is
//! taken, unless the pipeline names the package or gives the repository a priority.

use std::fmt::Write as _;
use std::path::Path;

use super::searched::SearchedSuite;
use super::signed::TrustedKeys;
use crate::artifact::{ArtifactKind, Output};
use crate::digest::Digest;
use crate::error::{Context, Result, anyhow, ensure, with_hint};
use crate::format::openpgp;
use crate::host_path::HostPath;
use crate::http::Http;
use crate::lock::{Checksum, LockEntry, LockedDownload};
use crate::recipe::Recipe;
use crate::stage_context::{Pin, StageContext};

/// The most bytes of a key.
const MOST_KEY: u64 = 1 << 20;

/// The pin priority of a repository that only adds: below that of the distribution's suites, which is
/// 500 (apt_preferences(5)).
const ADDS: i64 = 100;
/// The same of packages that are to be the repository's: above them.
const REPLACES: i64 = 990;

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The address, without a slash at its end.
    pub url: String,
    /// As in `dists/SUITE`; of a flat repository the directory, which ends in `/`.
    pub suite: String,
    /// The components; none in a flat repository.
    pub components: Vec<String>,
    /// What signs its index.
    pub key: RepositoryKey,
    /// Debian's words for the architectures that an installed system asks it for; none: its own.
    pub architectures: Vec<String>,
    /// Packages, or patterns as apt_preferences(5) has them, that are to be from here whatever the
    /// distribution has.
    pub packages: Vec<String>,
    /// The priority of those packages, or without them of all.
    pub priority: Option<i64>,
    /// Whether the installed system keeps it.
    pub keep: bool,
}

/// Where the key of a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepositoryKey {
    /// A file of the host.
    File(HostPath),
    /// On the network.
    Address {
        /// Where.
        url: String,
        /// That of its primary key, in upper-case hexadecimal digits.
        fingerprint: String,
        /// The SHA-256 of the file, once it is locked.
        locked: Option<Digest>,
    },
}

/// Locks the keys that are on the network: one pin each.
pub fn pin_keys(context: &StageContext, repositories: &[Repository]) -> Result<Vec<Pin>> {
    let mut pins: Vec<Pin> = Vec::new();
    for repository in repositories {
        let RepositoryKey::Address { url, fingerprint, .. } = &repository.key else { continue };
        if pins.iter().any(|pin| locked_key(&pin.locked, url).is_some()) {
            continue;
        }
        let mut locked = context.locked.iter();
        let entry = match locked.find(|entry| locked_key(entry, url).is_some()) {
            Some(entry) => entry.clone(),
            None => first_key(context, url, fingerprint)?,
        };
        pins.push(Pin::new(entry));
    }
    Ok(pins)
}

/// The repositories, with the digests of the keys that these pins lock.
pub fn with_keys(repositories: &[Repository], pins: &[Pin]) -> Vec<Repository> {
    let mut repositories = repositories.to_vec();
    for repository in &mut repositories {
        if let RepositoryKey::Address { url, locked, .. } = &mut repository.key {
            *locked = pins.iter().find_map(|pin| locked_key(&pin.locked, url));
        }
    }
    repositories
}

/// The SHA-256 of the key at `url`, if this entry locks it.
fn locked_key(entry: &LockEntry, url: &str) -> Option<Digest> {
    match entry.as_download().filter(|locked| locked.url == url)?.checksum {
        Checksum::Sha256(digest) => Some(digest),
        Checksum::Sha512(_) => None,
    }
}

/// Downloads a key that the lock does not have, and keeps it in the cache.
fn first_key(context: &StageContext, url: &str, fingerprint: &str) -> Result<LockEntry> {
    if context.settings.locked {
        return Err(with_hint(
            anyhow!("the lock does not say which key `{}` takes from {url}", context.stage),
            "`kuth update PIPELINE` writes it, as does a build without `--locked`",
        ));
    }
    let bytes = download(context, url)?;
    check(&bytes, fingerprint).with_context(|| format!("the key {url}"))?;
    let digest = Digest::of(&bytes);
    store(context, digest, || Ok(bytes.clone()))?;
    Ok(LockEntry::Download(LockedDownload {
        url: url.to_string(),
        checksums: None,
        checksum: Checksum::Sha256(digest),
        size: Some(bytes.len() as u64),
    }))
}

fn download(context: &StageContext, url: &str) -> Result<Vec<u8>> {
    if context.settings.offline {
        return Err(with_hint(
            anyhow!("the key {url} is not in the cache, and kuth is offline"),
            "build once without `--offline`",
        ));
    }
    Http::new()?.small(url, MOST_KEY, &context.cancel)
}

/// The file with these bytes in the cache; `get` where they are not.
fn store(
    context: &StageContext,
    digest: Digest,
    get: impl FnOnce() -> Result<Vec<u8>>,
) -> Result<HostPath> {
    let mut recipe = Recipe::new("repository key", 1);
    recipe.value("sha256", digest);
    let (artifact, _) = context.cached(&recipe, |context| {
        let (bytes, file) = (get()?, context.scratch("key"));
        std::fs::write(&file, bytes).with_context(|| format!("writing {}", file.display()))?;
        Output::file(ArtifactKind::File, file)
    })?;
    Ok(HostPath::new(context.object(&artifact)))
}

/// Copies a file of keys as it was hashed to `to`; the extension by which apt knows what it is.
fn copy_keys(keys: &HostPath, to: &Path) -> Result<&'static str> {
    keys.copy(to)?;
    let bytes = std::fs::read(to).with_context(|| format!("reading {}", to.display()))?;
    Ok(if openpgp::is_armoured(&bytes) { "asc" } else { "gpg" })
}

/// Fails unless the only primary key of `bytes` has this fingerprint.
fn check(bytes: &[u8], fingerprint: &str) -> Result<()> {
    let found = openpgp::fingerprints(bytes)?;
    ensure!(
        found.iter().all(|it| it == fingerprint),
        "its fingerprint is {}, not {fingerprint}",
        found.join(" and ")
    );
    Ok(())
}

impl Repository {
    /// The suite of it that requests search. Its key is in the cache afterwards.
    pub(super) fn searched(&self, context: &StageContext) -> Result<SearchedSuite> {
        Ok(SearchedSuite {
            name: self.suite.clone(),
            components: self.components.clone(),
            keys: TrustedKeys::File(self.key_file(context)?),
            repository: Some(self.url.clone()),
        })
    }

    /// The file with the key.
    fn key_file(&self, context: &StageContext) -> Result<HostPath> {
        match &self.key {
            RepositoryKey::File(path) => Ok(path.clone()),
            RepositoryKey::Address { url, locked, .. } => {
                let locked = locked.with_context(|| format!("the key {url} is not locked"))?;
                store(context, locked, || {
                    let bytes = download(context, url)?;
                    match Digest::of(&bytes) == locked {
                        true => Ok(bytes),
                        false => Err(with_hint(
                            anyhow!("the key {url} is not the one that the lock has"),
                            "`kuth update PIPELINE` takes the one that is there now, if its \
                             fingerprint is right",
                        )),
                    }
                })
            }
        }
    }

    /// Copies the key to `to`; the extension by which apt knows what it is.
    pub fn offer_key(&self, context: &StageContext, to: &Path) -> Result<&'static str> {
        copy_keys(&self.key_file(context)?, to)
    }

    /// What of it an answer depends on, as one line.
    pub(super) fn line(&self) -> String {
        let (named, others) = self.priorities();
        let named = named.map(|priority| format!("; {priority}: {}", self.packages.join(" ")));
        let (named, components) = (named.unwrap_or_default(), self.components.join(" "));
        format!("{} {} {components}; {others}: *{named}", self.url, self.suite)
    }

    /// What of it the installed system has, as lines of a recipe.
    pub fn describe(&self, recipe: &mut Recipe) -> Result<()> {
        recipe.value(&format!("repository {}", self.line()), self.keep);
        if self.keep {
            recipe.set(&format!("repository {} architecture", self.url), &self.architectures);
            match &self.key {
                RepositoryKey::File(path) => {
                    path.describe(recipe, &format!("repository {} key", self.url))?;
                }
                // The lock has its digest.
                RepositoryKey::Address { url, fingerprint, .. } => {
                    recipe.value(
                        &format!("repository {} key", self.url),
                        format!("{fingerprint} {url}"),
                    );
                }
            }
        }
        Ok(())
    }

    /// The priority of `packages`, if there are any, and that of everything else.
    fn priorities(&self) -> (Option<i64>, i64) {
        match (self.packages.is_empty(), self.priority) {
            (true, priority) => (None, priority.unwrap_or(ADDS)),
            (false, priority) => (Some(priority.unwrap_or(REPLACES)), ADDS),
        }
    }

    /// Records of apt's preferences for it at a host of this name.
    pub fn preferences(&self, host: &str) -> String {
        let (named, others) = self.priorities();
        let mut text = String::new();
        let mut record = |packages: &str, priority: i64| {
            let _ = writeln!(
                text,
                "Package: {packages}\nPin: origin \"{host}\"\nPin-Priority: {priority}\n"
            );
        };
        if let Some(priority) = named {
            record(&self.packages.join(" "), priority);
        }
        record("*", others);
        text
    }

    /// The name of its files in an installed system.
    pub fn file_name(&self) -> String {
        let rest = self.url.split_once("://").map_or(&*self.url, |(_, rest)| rest);
        let text = format!("{rest}-{}", self.suite);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
        let words: Vec<&str> = words.filter(|word| !word.trim_matches('.').is_empty()).collect();
        words.join("-").to_ascii_lowercase()
    }

    /// The host of its address, by which an installed system's apt pins it.
    pub fn host(&self) -> &str {
        let rest = self.url.split_once("://").map_or(&*self.url, |(_, rest)| rest);
        let host = rest.split('/').next().unwrap_or_default();
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        host.rsplit_once(':').map_or(host, |(host, _)| host)
    }

    /// deb822 sources for an installed system with the key in `key`.
    pub fn sources(&self, key: &str) -> String {
        let mut text = format!("Types: deb\nURIs: {}\nSuites: {}\n", self.url, self.suite);
        for (name, words) in
            [("Components", &self.components), ("Architectures", &self.architectures)]
        {
            if !words.is_empty() {
                let _ = writeln!(text, "{name}: {}", words.join(" "));
            }
        }
        text + &format!("Signed-By: {key}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> Repository {
        Repository {
            url: "https://packages.example:8080/linux/debian".into(),
            suite: "stable".into(),
            components: vec!["main".into(), "extra".into()],
            key: RepositoryKey::File(HostPath::new("/k")),
            architectures: vec!["amd64".into()],
            packages: Vec::new(),
            priority: None,
            keep: true,
        }
    }

    #[test]
    fn a_repository_adds_and_replaces_only_what_is_named() {
        let record = |packages: &str, priority: i64| {
            format!("Package: {packages}\nPin: origin \"h\"\nPin-Priority: {priority}\n\n")
        };
        let plain = repository();
        assert_eq!(plain.preferences("h"), record("*", 100));
        let all = Repository { priority: Some(600), ..repository() };
        assert_eq!(all.preferences("h"), record("*", 600));
        let some = Repository { packages: vec!["a".into(), "b-*".into()], ..repository() };
        assert_eq!(some.preferences("h"), record("a b-*", 990) + &record("*", 100));
        let some = Repository { priority: Some(500), ..some };
        assert_eq!(some.preferences("h"), record("a b-*", 500) + &record("*", 100));
    }

    #[test]
    fn an_installed_system_has_files_named_after_it() {
        let it = repository();
        assert_eq!(it.file_name(), "packages.example-8080-linux-debian-stable");
        assert_eq!(it.host(), "packages.example");
        assert_eq!(
            it.sources("/etc/apt/keyrings/x.asc"),
            "Types: deb\nURIs: https://packages.example:8080/linux/debian\nSuites: stable\n\
             Components: main extra\nArchitectures: amd64\nSigned-By: /etc/apt/keyrings/x.asc\n"
        );
        let flat = Repository {
            url: "http://x".into(),
            suite: "./".into(),
            components: Vec::new(),
            architectures: Vec::new(),
            ..it
        };
        assert_eq!(flat.file_name(), "x");
        assert_eq!(flat.sources("/k"), "Types: deb\nURIs: http://x\nSuites: ./\nSigned-By: /k\n");
    }
}
