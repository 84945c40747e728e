//! What a stage is, and the table of its kinds. A kind is one file here and one row in
//! [`KINDS`]; it knows its inputs and its output, never the graph, the cache's layout or the screen.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::artifact::{Artifact, ArtifactKind, Facts, Output};
use crate::digest::Digest;
use crate::error::{Result, anyhow};
use crate::host_network;
use crate::pipeline::{Fields, Input, Kinds};
use crate::provenance::{Document, Material, Sidecars};
use crate::recipe::Recipe;

mod actions;
pub mod boot;
pub mod bootstrap;
pub mod clone;
pub mod customise;
pub mod disk;
pub mod download;
pub mod export;
pub mod import;
pub mod install;
mod materials;
mod origin;
pub mod publish;
pub mod register;
pub mod snapshot;
pub mod unpack;

pub use crate::stage_context::{Pin, PinOutcome, Settings, StageContext};

/// One row of the table of kinds.
pub struct Kind {
    /// The word after `kind =`.
    pub name: &'static str,
    /// The kind of its result.
    pub output: ArtifactKind,
    /// Reads the stage's table. `None` when it is too faulty to stand for anything; the faults
    /// are in `fields`.
    pub read: fn(fields: &mut Fields<'_>) -> Option<Parsed>,
}

/// A stage as its table describes it.
pub struct Parsed {
    /// The stages it refers to, all shared by its instances.
    pub inputs: Vec<Input>,
    /// One stage without a name, or one for each instance (`clone`).
    pub instances: Vec<(Option<String>, Box<dyn Stage>)>,
}

impl Parsed {
    /// A stage of one instance.
    pub fn one(inputs: Vec<Input>, stage: impl Stage + 'static) -> Parsed {
        Parsed { inputs, instances: vec![(None, Box::new(stage))] }
    }
}

/// A stage, as the engine calls it.
pub trait Stage: Send + Sync {
    /// Raised whenever the code makes other bytes from the same recipe.
    fn revision(&self) -> u32;

    /// Writes every configuration value, and the digest of every local file, that the bytes of the
    /// result depend on. Never a mirror, a path of the checkout or anything about speed.
    fn describe(&self, context: &StageContext, recipe: &mut Recipe) -> Result<()>;

    /// The resource it needs most.
    fn resource(&self) -> Resource {
        Resource::Cpu
    }

    /// Resolves what lies outside (packages of a mirror), so that it can enter the key: from the
    /// lock where that still answers the question, else from the network. `run` gets the same
    /// pins in the same order.
    fn pin(&self, _context: &StageContext, _inputs: &Inputs) -> Result<PinOutcome> {
        Ok(PinOutcome::Pinned(Vec::new()))
    }

    /// The facts of the result that the pins of its dependents depend on, where they are known
    /// before a run.
    fn predict(&self, _inputs: &Inputs, _pins: &[Pin]) -> Option<Facts> {
        None
    }

    /// The disk space that a run may need, in bytes, checked before it starts.
    fn need(&self, _context: &StageContext, _inputs: &Inputs) -> u64 {
        0
    }

    /// Does the work in `context.work`.
    fn run(&self, context: &StageContext, inputs: &Inputs, pins: &[Pin]) -> Result<Output>;

    /// The network between the host and its machines, if the pipeline describes one. It is set up
    /// by `kuth network` and enters no key.
    fn network(&self) -> Option<&host_network::Plan> {
        None
    }

    /// The role of an instance; instances of one role differ only in their names and addresses.
    fn role(&self) -> Option<&str> {
        None
    }

    /// The `driver` of the machine it registers, as the pipeline has it.
    fn driver(&self) -> Option<&'static str> {
        None
    }

    /// The exact things from outside that its pins or its table name; for provenance.
    fn materials(&self, _inputs: &Inputs, _pins: &[Pin]) -> Result<Vec<Material>> {
        Ok(Vec::new())
    }

    /// The sidecar files to write beside its result.
    fn sidecars(&self, _context: &StageContext) -> Option<Sidecars> {
        None
    }

    /// The documents that go with its result where it is no file, and the SHA-256 that they name it by.
    fn attachments(
        &self,
        _context: &StageContext,
        _artifact: &Artifact,
    ) -> Result<Option<(Sidecars, Digest)>> {
        Ok(None)
    }

    /// Attaches these documents to its result, unless they are.
    fn attach(
        &self,
        _context: &StageContext,
        _artifact: &Artifact,
        _documents: &[Document],
    ) -> Result<()> {
        Ok(())
    }

    /// Called after every cache hit and every run: where the result is for the user, and whether it
    /// still is. An export writes a missing file again here; a machine asks the hypervisor.
    fn materialize(&self, context: &StageContext, artifact: &Artifact) -> Result<Placement> {
        self.locate(context, artifact)
    }

    /// Like [`Stage::materialize`], but changes nothing; for `plan` and `path`.
    fn locate(&self, context: &StageContext, artifact: &Artifact) -> Result<Placement> {
        Ok(Placement::Present(context.cache.object(artifact)))
    }
}

/// Where the result of a stage is for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// There.
    Present(PathBuf),
    /// Not where it was put, and the reason: the stage runs again.
    Missing(String),
    /// Its place was given to the result of another recipe, and the reason: the stage runs again to
    /// restore it, and the result counts as cached.
    Replaced(String),
    /// There, and the reason why it is not replaced: it holds state.
    Retained(PathBuf, String),
}

/// What a stage needs most. It limits how many run at once, see `engine::scheduler`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Bound by processors: as many at once as `--jobs` says.
    Cpu,
    /// Bound by the network.
    Network,
    /// A running virtual machine.
    Machine,
    /// Quick changes through a hypervisor, some at once; drivers lock what excludes another.
    Hypervisor,
}

/// The inputs of a stage, by the key they are written under (`from`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// Results; they may lie on a remote cache alone.
    pub artifacts: BTreeMap<&'static str, Artifact>,
    /// Inputs that are not built yet: the facts that [`Stage::predict`] gives of them. Only
    /// [`Stage::pin`] and [`Stage::predict`] see any.
    pub predicted: BTreeMap<&'static str, Facts>,
}

impl Inputs {
    /// The result under `key`. An error for one that is not built yet; that the pipeline has an
    /// input of this key was checked.
    pub fn get(&self, key: &str) -> Result<&Artifact> {
        self.artifacts.get(key).ok_or_else(|| anyhow!("no input under `{key}`"))
    }

    /// The facts of the input under `key`, built or predicted.
    pub fn facts(&self, key: &str) -> Result<&Facts> {
        match self.predicted.get(key) {
            Some(facts) => Ok(facts),
            None => self.get(key).map(|artifact| &artifact.facts),
        }
    }
}

/// Results, none of them predicted.
impl FromIterator<(&'static str, Artifact)> for Inputs {
    fn from_iter<I: IntoIterator<Item = (&'static str, Artifact)>>(artifacts: I) -> Inputs {
        Inputs { artifacts: artifacts.into_iter().collect(), ..Inputs::default() }
    }
}

/// Every kind of stage. A new kind is one row.
pub const KINDS: &[Kind] = &[
    download::KIND,
    unpack::KIND,
    import::KIND,
    bootstrap::KIND,
    customise::KIND,
    disk::KIND,
    install::KIND,
    boot::KIND,
    export::KIND,
    publish::KIND,
    register::KIND,
    snapshot::KIND,
    clone::KIND,
];

/// The table of kinds as the pipeline sees it.
pub struct Table;

impl Kinds for Table {
    type Stage = Vec<(Option<String>, Box<dyn Stage>)>;

    fn names(&self) -> Vec<&'static str> {
        KINDS.iter().map(|kind| kind.name).collect()
    }

    fn output(&self, kind: &str) -> Option<ArtifactKind> {
        KINDS.iter().find(|row| row.name == kind).map(|row| row.output)
    }

    fn read(
        &self,
        kind: &str,
        _name: &str,
        mut fields: Fields<'_>,
    ) -> Option<(Self::Stage, Vec<Input>)> {
        let row = KINDS.iter().find(|row| row.name == kind)?;
        let parsed = (row.read)(&mut fields);
        fields.finish();
        parsed.map(|parsed| (parsed.instances, parsed.inputs))
    }
}
