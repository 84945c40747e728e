//! Words for results: what a stage makes, and the one digest that names it. Knows neither how it
//! was made nor where it is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::{self, Digest};
use crate::error::{Context, Result};

/// What a stage makes, so what a reference to it may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactKind {
    /// One file.
    File,
    /// A directory, kept as a canonical tar. Records of results have called it this from the first.
    #[serde(rename = "folder")]
    Directory,
    /// A root file system, kept as a canonical tar.
    Tree,
    /// A disk, kept as a sparse raw image.
    Disk,
    /// What a boot showed, kept as JSON.
    Report,
    /// An exported image file.
    Export,
    /// A machine registered with a hypervisor, kept as a record of its identity.
    Machine,
    /// A snapshot of a machine, likewise.
    Snapshot,
    /// Clones of a snapshot, one record each.
    Machines,
}

impl ArtifactKind {
    /// Whether a result has a place outside the cache (a user's file, a machine), so that its bytes
    /// are needed to say whether it is there.
    pub fn has_a_place(self) -> bool {
        match self {
            ArtifactKind::Export
            | ArtifactKind::Machine
            | ArtifactKind::Snapshot
            | ArtifactKind::Machines => true,
            ArtifactKind::File
            | ArtifactKind::Directory
            | ArtifactKind::Tree
            | ArtifactKind::Disk
            | ArtifactKind::Report => false,
        }
    }
}

/// With its article: `a tree`.
impl fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ArtifactKind::File => "a file",
            ArtifactKind::Directory => "a directory",
            ArtifactKind::Tree => "a tree",
            ArtifactKind::Disk => "a disk",
            ArtifactKind::Report => "a report",
            ArtifactKind::Export => "an export",
            ArtifactKind::Machine => "a machine",
            ArtifactKind::Snapshot => "a snapshot",
            ArtifactKind::Machines => "machines",
        })
    }
}

/// How the bytes of an object are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hashing {
    /// The SHA-256 of the file.
    Plain,
    /// The tree hash of a sparse file (`files::sparse`), in which holes cost nothing.
    Sparse,
}

/// A result: one object with one digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// What it is.
    pub product: ArtifactKind,
    /// How `digest` was taken.
    pub hashing: Hashing,
    /// Names the object in the cache.
    pub digest: Digest,
    /// The apparent length in bytes.
    pub size: u64,
    /// Small facts for stages that eat it (a file name, a UUID) that its bytes imply.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
}

/// What a run made, before the cache took it.
#[derive(Debug)]
pub struct Output {
    /// What it is, as it will be recorded.
    pub artifact: Artifact,
    /// The file that holds it, in the stage's work directory; moved into the cache by rename.
    pub file: PathBuf,
}

impl Output {
    /// A finished file, hashed here as it is.
    pub fn file(product: ArtifactKind, file: impl Into<PathBuf>) -> Result<Output> {
        let file = file.into();
        let (digest, size) = std::fs::File::open(&file)
            .and_then(digest::of_reader)
            .with_context(|| format!("hashing {}", file.display()))?;
        Ok(Output::hashed(product, file, digest, size))
    }

    /// A finished file whose SHA-256 was taken while it was written.
    pub fn hashed(
        product: ArtifactKind,
        file: impl Into<PathBuf>,
        digest: Digest,
        size: u64,
    ) -> Output {
        let hashing = Hashing::Plain;
        let facts = BTreeMap::new();
        Output { artifact: Artifact { product, hashing, digest, size, facts }, file: file.into() }
    }

    /// A finished file with holes, known by its content's tree hash, which was taken of it.
    pub fn sparse(
        product: ArtifactKind,
        file: impl Into<PathBuf>,
        digest: Digest,
        size: u64,
    ) -> Output {
        let mut made = Output::hashed(product, file, digest, size);
        made.artifact.hashing = Hashing::Sparse;
        made
    }

    /// A small text written to `work/name`.
    pub fn text(product: ArtifactKind, work: &Path, name: &str, text: &str) -> Result<Output> {
        let file = work.join(name);
        std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        Ok(Output::hashed(product, file, Digest::of(text), text.len() as u64))
    }

    /// Adds a fact.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Output {
        self.artifact.facts.insert(name.to_string(), value.into());
        self
    }
}
