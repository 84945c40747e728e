//! What lies beside an export and says what is in it and what it is from: bills of materials, and
//! the provenance that names them by their digests. The room knows the way a result came (a
//! [`Story`]) as recipes; it knows no stage, no graph and no screen.

use std::path::PathBuf;

use crate::artifact::{Artifact, Hashing};
use crate::format::intoto::{Digests, Resource, Step};
pub use crate::format::sbom::SbomFormat;
use crate::recipe::Recipe;

pub mod inventory;
mod place;
pub mod sign;
pub mod verify;

pub use place::place;

/// What is to lie beside a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecars {
    /// The directory of the result.
    pub directory: PathBuf,
    /// Its file name.
    pub name: String,
    /// The languages of its bills of materials.
    pub bills: Vec<SbomFormat>,
    /// Whether its provenance is told.
    pub provenance: Told,
}

/// Whether something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// How a result came about.
#[derive(Clone, Debug)]
pub struct BuildHistory {
    /// The pipeline's name.
    pub pipeline: String,
    /// The stages, each after what it eats; that of the result last.
    pub chapters: Vec<BuildStep>,
    /// What all of them took from outside.
    pub materials: Vec<Material>,
    /// The version of kuth that made the result; empty where that is not known.
    pub tool: String,
    /// The time that every time in the result was clamped to.
    pub epoch: u64,
}

/// One stage of a [`Story`].
#[derive(Clone, Debug)]
pub struct BuildStep {
    /// Its name.
    pub stage: String,
    /// What its result depends on.
    pub recipe: Recipe,
    /// The stages it eats, by the key they stand under.
    pub inputs: Vec<(String, String)>,
    /// Its result.
    pub output: Artifact,
}

/// Something from outside, exactly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Material {
    /// Its address, or for a package its URL in the world.
    pub uri: String,
    /// `sha256` or `sha512`.
    pub algorithm: &'static str,
    /// The digest, in hexadecimal digits.
    pub digest: String,
}

/// What is said of a Debian package that was installed.
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

/// The name under which the tree hash of a sparse file goes where in-toto names digests.
const SPARSE: &str = "kuthSparseSha256";

/// What in-toto knows a result by: its digest, under the name of how that was taken.
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
    fn resource(&self) -> Resource {
        let digest = [(self.algorithm.to_string(), self.digest.clone())].into();
        Resource { uri: self.uri.clone(), digest, ..Resource::default() }
    }
}

/// The name of the file beside `name` that holds its provenance, signed or not.
pub fn file_of(name: &str, signed: Told) -> String {
    match signed {
        Told::Yes => format!("{name}.intoto.jsonl"),
        Told::No => format!("{name}.intoto.json"),
    }
}
