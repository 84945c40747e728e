//! From the text of a pipeline file to checked values, with every fault of the file at once.
//! It knows no kind of stage: the room that has the kinds implements [`Kinds`] and reads each
//! stage's keys through [`Fields`].

mod check;
mod document;
mod duplicates;
mod fault;
mod fields;
mod formatted;
pub mod project_file;
mod recovery;
mod references;
mod root;
mod substitute;
pub mod suggest;
mod syntax;
mod template;
mod tree;
mod value;

use std::path::{Path, PathBuf};

pub use check::Input;
pub use document::{Document, is_legal_name};
pub use fault::{Color, Fault, Faults, FaultyPipeline, OtherFile};
pub use fields::{Ancestor, Element, Fields, Scope, Size};
pub use formatted::formatted;
pub use references::LocalPath;
pub use root::{project_root, resolved};
pub use substitute::{Environment, Override};
pub use value::{Data, Entry, Span, Spanned, Table, Text, Value};

use crate::artifact::ArtifactKind;
use check::{StageNode, check};

/// The table of stage kinds, as the pipeline sees it.
pub trait Kinds {
    /// What a stage's table becomes.
    type Stage;

    /// The names of all kinds, in the order a message lists them.
    fn names(&self) -> Vec<&'static str>;

    /// What stages of `kind` make; `None` if there is no such kind.
    fn output(&self, kind: &str) -> Option<ArtifactKind>;

    /// Reads the table of the stage `name`. Faults go to the collector in `fields`, which has
    /// read `kind` already and must be finished. `None` when too faulty; inputs that were
    /// asked for through [`Fields::input`] are checked even then.
    fn read(&self, kind: &str, name: &str, fields: Fields<'_>)
    -> Option<(Self::Stage, Vec<Input>)>;
}

/// A pipeline in which nothing is wrong.
#[derive(Clone, Debug)]
pub struct Pipeline<S> {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub summary: Option<String>,
    /// The stages a bare `kuth build` makes; all of them, if the file does not say.
    pub default: Vec<String>,
    /// What relative paths start from.
    pub root: PathBuf,
    /// The file.
    pub path: PathBuf,
    /// The stages, each after all its inputs, otherwise in the order of the file.
    pub stages: Vec<StageEntry<S>>,
    /// The variables after substitution, in the order of the file.
    pub vars: Vec<(String, Text)>,
}

/// One stage of a pipeline.
#[derive(Clone, Debug)]
pub struct StageEntry<S> {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// What it makes.
    pub output: ArtifactKind,
    /// Its inputs.
    pub inputs: Vec<Input>,
    /// The span of its table's header.
    pub span: Span,
    /// What the kind read.
    pub stage: S,
}

impl<S> Pipeline<S> {
    /// The stage of this name.
    pub fn stage(&self, name: &str) -> Option<&StageEntry<S>> {
        self.stages.iter().find(|stage| stage.name == name)
    }
}

/// Reads `source`, the text of the file at `path`, with `overrides` for its variables.
pub fn load<K: Kinds + ?Sized>(
    path: &Path,
    source: &str,
    overrides: &[Override],
    environment: Environment<'_>,
    kinds: &K,
) -> Result<Pipeline<K::Stage>, FaultyPipeline> {
    let (mut document, mut faults) = Document::parse(path, source);
    let mut found = Faults::default();
    let variables = document.substitute(overrides, environment, source, &mut found);

    let scope = Scope::new(source, &document.root)
        .with_variables(variables.clone().into_values())
        .with_stages(document.stages.iter().map(|it| (it.name.as_str(), &it.table)));
    let header = document.header(&scope);
    let (nodes, stages): (Vec<StageNode>, Vec<_>) =
        document.stages.iter().map(|stage| read(stage, &scope, kinds)).unzip();
    if nodes.is_empty() {
        let fault = Fault::new(0..0, "the pipeline has no stages");
        scope
            .faults
            .borrow_mut()
            .add(fault.hint("add a table `[stage.NAME]`").of_absence(["stage"]));
    }
    found.extend(scope.take_faults());
    let default = header.default.as_deref().unwrap_or_default();
    let order = check(&nodes, default, &mut found);

    found.doubt(&document.lost);
    faults.extend(found);
    let refused =
        |faults| FaultyPipeline { path: path.to_path_buf(), source: source.to_string(), faults };
    let (Some(name), true) = (header.name, faults.is_empty()) else { return Err(refused(faults)) };

    let default = match header.default {
        Some(names) => names.into_iter().map(|name| name.value).collect(),
        None => nodes.iter().map(|node| node.name.value.clone()).collect(),
    };
    let mut pool: Vec<Option<(StageNode, K::Stage)>> =
        nodes.into_iter().zip(stages).map(|(node, stage)| Some((node, stage?))).collect();
    let mut entries = Vec::new();
    for at in order {
        let span = document.stages[at].span.clone();
        match pool[at].take() {
            Some((StageNode { name, kind: Some(kind), output: Some(output), inputs }, stage)) => {
                let (name, kind) = (name.value, kind.value);
                entries.push(StageEntry { name, kind, output, inputs, span, stage });
            }
            // A kind gave no stage and no fault either; say at least where.
            _ => faults.add(Fault::new(span, "this stage could not be read")),
        }
    }
    if !faults.is_empty() {
        return Err(refused(faults));
    }
    Ok(Pipeline {
        name: name.text,
        summary: header.summary.map(|summary| summary.text),
        default,
        root: document.root,
        path: document.path,
        stages: entries,
        vars: variables.into_values(),
    })
}

/// Reads one stage: as the check sees it, and as its kind does.
fn read<K: Kinds + ?Sized>(
    stage: &document::Stage,
    scope: &Scope<'_>,
    kinds: &K,
) -> (StageNode, Option<K::Stage>) {
    let name = stage.name.clone();
    let mut node = StageNode { name, kind: None, output: None, inputs: Vec::new() };
    if stage.faulty {
        return (node, None);
    }
    let path = format!("stage.{}", stage.name.value);
    let mut fields = Fields::new(scope, &stage.table, stage.span.clone(), path);
    let Some(kind) = fields.require("kind").text("kind") else { return (node, None) };
    node.output = kinds.output(&kind.text);
    if node.output.is_none() {
        let hint = suggest::hint(&kind.text, &kinds.names(), "the kinds are");
        let fault = Fault::new(kind.span, format!("unknown kind `{}`", kind.text));
        fields.fault(fault.maybe_hint(hint));
        return (node, None);
    }
    let read = kinds.read(&kind.text, &stage.name, fields);
    let asked = scope.inputs.take();
    node.kind = Some(Spanned::new(kind.span, kind.text));
    match read {
        Some((stage, inputs)) => {
            node.inputs = inputs;
            (node, Some(stage))
        }
        None => {
            node.inputs = asked;
            (node, None)
        }
    }
}
