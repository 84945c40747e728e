//! The lock file: `<pipeline>.lock` beside the pipeline records exactly what the stages of a pipeline
//! took from outside, so that a later build takes the same. Its goals, in order:
//!
//! - It has enough to build the same again: of a package its SHA-256, of a download its checksum.
//! - It answers requests without the network: each entry has the digest of its request.
//! - It reads well in a diff: one line for each package, sorted keys, nothing that changes by itself.
//! - Its text is a promise: the same content is always the same bytes ([`parse`] has the versions).
//!
//! It knows no stage and no archive; [`LockEntry`] has one type for each kind of thing that is
//! pinned.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Sha512};
use crate::recipe::{Key, Recipe};

pub mod changes;
mod date;
mod file;
mod parse;

pub use date::Date;
pub use file::LockFile;

/// The entries of each stage, by the stage's name.
pub type Entries = BTreeMap<String, Vec<LockEntry>>;

/// One thing that a stage is pinned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockEntry {
    /// Exact packages of an archive.
    Packages(LockedPackages),
    /// Exactly one file at an address.
    Download(LockedDownload),
}

/// The answer to a request for packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedPackages {
    /// Which of the stage's requests it answers.
    pub part: Part,
    /// The key of the request's recipe: an entry answers the request that has this key.
    pub request: Key,
    /// The suite, as in `dists/SUITE`.
    pub suite: String,
    /// Debian's word for the machine: `amd64`.
    pub architecture: String,
    /// The SHA-256 of the index (`InRelease`) that the packages were chosen from.
    pub release: Digest,
    /// When that index was made, if that is known.
    pub date: Option<Date>,
    /// The packages that were asked for by name, sorted; only for messages. Absent where
    /// nothing but these is taken, and in locks older than this key.
    pub asked: Option<Vec<String>>,
    /// The components that were searched, sorted; absent in locks older than this key.
    pub components: Option<Vec<String>>,
    /// The installation medium that the packages are on; none: they are a mirror's.
    pub medium: Option<LockedMedium>,
    /// The other suites that were searched, such as `trixie-security`; none in locks of version 1.
    pub suites: Vec<LockedSuite>,
    /// The packages, sorted by name.
    pub packages: Vec<Package>,
}

/// A suite that was searched besides the release itself: another one of the distribution, or one of a
/// repository of somebody else's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedSuite {
    /// Its name, as in `dists/NAME`: `trixie-security`.
    pub name: String,
    /// The address of the repository; none: it is the distribution's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The SHA-256 of its index (`InRelease`).
    pub release: Digest,
    /// When that index was made, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Date>,
}

/// An installation medium that packages are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedMedium {
    /// The digest of the image, or of the directory, as the cache names it.
    pub digest: Digest,
    /// What the medium calls itself; may be empty.
    pub label: String,
}

/// A file, as the first download found it or as a signed list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedDownload {
    /// The first address of the stage when it was locked.
    pub url: String,
    /// The address of the signed list that has the checksum; none: it is that of the first download.
    pub checksums: Option<String>,
    /// What the file must be.
    pub checksum: Checksum,
    /// Its length in bytes, where a download found it.
    pub size: Option<u64>,
}

/// Which request of a stage packages are the answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Those that go into the tree.
    Packages,
    /// The tools that shape a disk.
    Tools,
    /// The one that holds VirtualBox's guest additions.
    GuestAdditions,
    /// The boot loader that is signed for Secure Boot.
    BootLoader,
}

impl Part {
    const ALL: [Part; 4] = [Part::Packages, Part::Tools, Part::GuestAdditions, Part::BootLoader];

    /// The word in the lock.
    pub fn word(self) -> &'static str {
        match self {
            Part::Packages => "packages",
            Part::Tools => "tools",
            Part::GuestAdditions => "guest-additions",
            Part::BootLoader => "boot-loader",
        }
    }
}

/// What a file must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The SHA-256 of the file.
    Sha256(Digest),
    /// The SHA-512 of the file.
    Sha512(Sha512),
}

impl Checksum {
    /// The name of the algorithm and the hexadecimal digits.
    pub fn parts(&self) -> (&'static str, String) {
        match self {
            Checksum::Sha256(digest) => ("sha256", digest.to_string()),
            Checksum::Sha512(digest) => ("sha512", digest.to_string()),
        }
    }
}

/// `sha256 ba7816bf…`
impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (algorithm, digits) = self.parts();
        write!(f, "{algorithm} {digits}")
    }
}

/// One exact Debian package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, epoch and all.
    pub version: String,
    /// `amd64`, `all`, ...
    pub architecture: String,
    /// The SHA-256 of the `.deb`.
    pub sha256: Digest,
    /// The length of the `.deb` in bytes.
    pub size: u64,
    /// Below the archive's root: `pool/main/h/htop/htop_3.4.1-5_amd64.deb`. Of a file, what the
    /// pipeline calls it.
    pub path: String,
    /// Whether it is an essential package or a dependency of one: unpacked before there is a dpkg
    /// to do it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub essential: bool,
    /// The suite that it is from, where that is another than the entry's: `trixie-security`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// The address of the repository that it is from, where that is not the distribution's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Whether it is a file that the pipeline names, not one of an archive.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub file: bool,
}

/// `trixie-security`, or `stable of http://HOST/PATH`
impl fmt::Display for LockedSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&suite_in_words(&self.name, self.repository.as_deref()))
    }
}

/// A suite of the distribution by its name, and one of a repository as `stable of http://HOST/PATH`.
pub fn suite_in_words(name: &str, repository: Option<&str>) -> String {
    match repository {
        Some(url) => format!("{name} of {url}"),
        None => name.to_string(),
    }
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

/// What an entry is the answer to. A stage has one entry for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// [`Part::word`], or the address of a download.
    pub part: String,
    /// The suite and the architecture of packages.
    pub target: Option<(String, String)>,
}

/// `packages trixie amd64`, or an address.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Some((suite, architecture)) => write!(f, "{} {suite} {architecture}", self.part),
            None => f.write_str(&self.part),
        }
    }
}

impl LockedPackages {
    /// The digest and the date of the index of `suite`, of the distribution or of a repository, where
    /// that was searched.
    pub fn index_of(
        &self,
        suite: &str,
        repository: Option<&str>,
    ) -> Option<(Digest, Option<Date>)> {
        if self.suite == suite && repository.is_none() {
            return Some((self.release, self.date));
        }
        let is_it =
            |other: &&LockedSuite| other.name == suite && other.repository.as_deref() == repository;
        let other = self.suites.iter().find(is_it)?;
        Some((other.release, other.date))
    }
}

impl LockEntry {
    /// What it is the answer to.
    pub fn question(&self) -> Question {
        match self {
            LockEntry::Packages(it) => Question {
                part: it.part.word().to_string(),
                target: Some((it.suite.clone(), it.architecture.clone())),
            },
            LockEntry::Download(it) => Question { part: it.url.clone(), target: None },
        }
    }

    /// The answer to a request for packages, if it is one.
    pub fn as_packages(&self) -> Option<&LockedPackages> {
        match self {
            LockEntry::Packages(locked) => Some(locked),
            LockEntry::Download(_) => None,
        }
    }

    /// The file of a download, if it is one.
    pub fn as_download(&self) -> Option<&LockedDownload> {
        match self {
            LockEntry::Download(locked) => Some(locked),
            LockEntry::Packages(_) => None,
        }
    }

    /// The digest of what of it shapes the bytes of a result.
    pub fn digest(&self) -> Digest {
        match self {
            LockEntry::Packages(locked) => {
                let mut recipe = Recipe::new("packages", 1);
                let packages = locked.packages.iter();
                recipe.set("package", packages.map(|it| format!("{it} {}", it.sha256)));
                recipe.key().0
            }
            LockEntry::Download(locked) => Digest::of(locked.checksum.to_string()),
        }
    }
}
