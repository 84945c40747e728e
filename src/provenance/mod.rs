//! The sidecar files of an export: SBOMs, which list its packages, and the provenance, which says how
//! it was built and names the SBOMs by their digests. A [`BuildHistory`] is known here as recipes; no
//! stage, no graph and no screen is.

use std::path::PathBuf;

use crate::artifact::{Artifact, Hashing};
use crate::format::intoto::{Digests, Resource, Step};
pub use crate::format::sbom::SbomFormat;
use crate::recipe::Recipe;

pub mod inventory;
pub mod sign;
pub mod verify;
mod write;

pub use write::{documents, sha256, write_sidecars};

/// The sidecar files to write for an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecars {
    /// The directory of the export.
    pub directory: PathBuf,
    /// Its file name.
    pub name: String,
    /// The formats of its SBOMs.
    pub sboms: Vec<SbomFormat>,
    /// Whether its provenance is written.
    pub provenance: Provenance,
}

/// A document about a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its file name.
    pub name: String,
    /// Its media type.
    pub media_type: &'static str,
    /// Its text.
    pub text: String,
}

/// Whether provenance is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// It is.
    Write,
    /// It is not.
    Omit,
}

/// Whether provenance is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// It is in envelopes with signatures.
    Signed,
    /// It is the bare statement.
    Unsigned,
}

/// How a result was built.
#[derive(Clone, Debug)]
pub struct BuildHistory {
    /// The pipeline's name.
    pub pipeline: String,
    /// The stages, each after its inputs; that of the result last.
    pub steps: Vec<BuildStep>,
    /// What they took from outside: packages, downloads.
    pub materials: Vec<Material>,
    /// The version of kuth that made the result; empty where that is not known.
    pub tool: String,
    /// The time that every time in the result was clamped to.
    pub epoch: u64,
}

/// One stage of a [`BuildHistory`].
#[derive(Clone, Debug)]
pub struct BuildStep {
    /// Its name.
    pub stage: String,
    /// The recipe of its result.
    pub recipe: Recipe,
    /// The names of its input stages, by the key they are written under.
    pub inputs: Vec<(String, String)>,
    /// Its result.
    pub output: Artifact,
}

/// Something from outside, named by its digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Material {
    /// Its address; for a package its package URL (purl).
    pub uri: String,
    /// `sha256` or `sha512`.
    pub algorithm: &'static str,
    /// The digest, in hexadecimal digits.
    pub digest: String,
}

/// The name of a sparse file's tree hash among in-toto's digests.
const SPARSE: &str = "kuthSparseSha256";

/// The digest of a result as in-toto has it, by the name of its algorithm.
pub fn digests(artifact: &Artifact) -> Digests {
    let name = match artifact.hashing {
        Hashing::Plain => "sha256",
        Hashing::Sparse => SPARSE,
    };
    [(name.to_string(), artifact.digest.to_string())].into()
}

impl BuildStep {
    fn step(&self) -> Step {
        Step {
            stage: self.stage.clone(),
            key: self.recipe.key().to_string(),
            recipe: self.recipe.lines().map(str::to_string).collect(),
            inputs: self.inputs.iter().cloned().collect(),
            output: digests(&self.output),
        }
    }
}

impl Material {
    /// A Debian package, by the digest of its `.deb`.
    pub fn of_package(
        vendor: &str,
        name: &str,
        version: &str,
        architecture: &str,
        sha256: crate::digest::Digest,
    ) -> Material {
        let uri = crate::format::purl::write(vendor, name, version, architecture);
        Material { uri, algorithm: "sha256", digest: sha256.to_string() }
    }

    fn resource(&self) -> Resource {
        let digest = [(self.algorithm.to_string(), self.digest.clone())].into();
        Resource { uri: self.uri.clone(), digest, ..Resource::default() }
    }
}

/// The name of the provenance file of the export `name`.
pub fn file_name(name: &str, signing: Signing) -> String {
    match signing {
        Signing::Signed => format!("{name}.intoto.jsonl"),
        Signing::Unsigned => format!("{name}.intoto.json"),
    }
}
