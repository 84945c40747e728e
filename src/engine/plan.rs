//! The graph of a build: one node for each stage, and one for each instance of a stage that has
//! several. Only what the targets need is in it.

use std::collections::BTreeSet;

use crate::error::{Error, Misuse, Result, with_hint};
use crate::pipeline::{Pipeline, suggest};
use crate::stage::{Stage, Table};

/// The index of a node in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// One stage, or one instance of it.
pub struct Node<'p> {
    /// `disk`, `nodes/gate-node01`.
    pub name: String,
    /// The name of its stage: `nodes`.
    pub stage_name: &'p str,
    /// The kind's name.
    pub kind: &'p str,
    /// What it does.
    pub stage: &'p dyn Stage,
    /// Its inputs: the key it is written under, and the node. Earlier nodes only.
    pub inputs: Vec<(&'static str, NodeId)>,
}

/// The nodes of a build, each after its inputs.
pub struct Plan<'p> {
    nodes: Vec<Node<'p>>,
    targets: Vec<NodeId>,
}

/// A pipeline whose stages are ready to run.
pub type Ready = Pipeline<<Table as crate::pipeline::Kinds>::Stage>;

impl<'p> Plan<'p> {
    /// The plan for `targets` (stages, or instances as `STAGE/INSTANCE`) of `pipeline`; for its
    /// default stages where none is named.
    pub fn new(pipeline: &'p Ready, targets: &[String]) -> Result<Plan<'p>> {
        let all = every_node(pipeline);
        let targets = if targets.is_empty() { &pipeline.default } else { targets };
        let mut wanted = BTreeSet::new();
        let mut named = Vec::new();
        for target in targets {
            let matching: Vec<usize> = (0..all.len())
                .filter(|at| all[*at].name == *target || all[*at].stage_name == target)
                .collect();
            if matching.is_empty() {
                return Err(no_such_stage(pipeline, &all, target));
            }
            named.extend(matching);
        }
        let mut open = named.clone();
        while let Some(at) = open.pop() {
            if wanted.insert(at) {
                open.extend(all[at].inputs.iter().map(|(_, input)| input.0));
            }
        }
        let new_id = |old: usize| NodeId(wanted.range(..old).count());
        let targets = named.into_iter().map(new_id).collect();
        let nodes = all
            .into_iter()
            .enumerate()
            .filter(|(at, _)| wanted.contains(at))
            .map(|(_, mut node)| {
                node.inputs.iter_mut().for_each(|(_, input)| *input = new_id(input.0));
                node
            })
            .collect();
        Ok(Plan { nodes, targets })
    }

    /// The nodes, each after its inputs.
    pub fn nodes(&self) -> &[Node<'p>] {
        &self.nodes
    }

    /// The nodes that were named, or those of the pipeline's default stages.
    pub fn targets(&self) -> &[NodeId] {
        &self.targets
    }

    /// The nodes that have `id` as an input.
    pub fn dependents(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let depends = move |node: &Node| node.inputs.iter().any(|(_, input)| *input == id);
        (0..self.nodes.len()).map(NodeId).filter(move |at| depends(&self.nodes[at.0]))
    }

    /// The names of all nodes.
    pub fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }
}

fn every_node(pipeline: &Ready) -> Vec<Node<'_>> {
    let mut nodes: Vec<Node<'_>> = Vec::new();
    for entry in &pipeline.stages {
        // A reference to a stage with instances means all of them; only a stage of one node can
        // be an input, and the checker allows references to no other.
        let inputs: Vec<(&'static str, NodeId)> = entry
            .inputs
            .iter()
            .flat_map(|input| {
                let matching = nodes
                    .iter()
                    .enumerate()
                    .filter(|(_, node)| node.stage_name == input.stage.value);
                matching.map(|(at, _)| (input.key, NodeId(at))).collect::<Vec<_>>()
            })
            .collect();
        for (instance, stage) in &entry.stage {
            let name = match instance {
                Some(instance) => format!("{}/{instance}", entry.name),
                None => entry.name.clone(),
            };
            nodes.push(Node {
                name,
                stage_name: &entry.name,
                kind: &entry.kind,
                stage: stage.as_ref(),
                inputs: inputs.clone(),
            });
        }
    }
    nodes
}

fn no_such_stage(pipeline: &Ready, all: &[Node<'_>], target: &str) -> Error {
    let mut known: Vec<&str> = pipeline.stages.iter().map(|stage| stage.name.as_str()).collect();
    known.extend(all.iter().map(|node| node.name.as_str()).filter(|name| name.contains('/')));
    let error =
        Error::new(Misuse(format!("the pipeline {} has no stage `{target}`", pipeline.name)));
    match suggest::hint(target, &known, "its stages are") {
        Some(hint) => with_hint(error, hint),
        None => error,
    }
}
