//! `kuth graph`: the dependency graph of a pipeline, as text for other programs or as a picture.

use std::path::PathBuf;

use clap::ValueEnum;

use super::{Exit, project, screen};
use crate::engine::Plan;
use crate::engine::plan::Ready;
use crate::error::Result;
use crate::pipeline::Override;
use crate::stage::Table;

mod svg;

/// Draw the dependency graph of a pipeline
///
/// Written to standard output: text for Graphviz (dot) or Mermaid, or an SVG image.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Pipeline file, such as pipelines/debian.toml
    pipeline: PathBuf,

    /// Set a pipeline variable
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<Override>,

    /// Output format: dot, mermaid or svg
    #[arg(long, value_name = "FMT", value_enum, default_value_t = Format::Dot)]
    #[arg(hide_possible_values = true)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Dot,
    Mermaid,
    Svg,
}

/// Runs `kuth graph`.
pub fn run(args: &Args) -> Result<Exit> {
    let pipeline = project::load(&args.pipeline, &args.vars, &Table)?;
    let graph = Graph::of(&pipeline)?;
    screen::data(&match args.format {
        Format::Dot => dot(&graph),
        Format::Mermaid => mermaid(&graph),
        Format::Svg => svg::draw(&graph),
    })?;
    Ok(Exit::Done)
}

/// The graph to draw.
struct Graph {
    title: String,
    boxes: Vec<Stage>,
}

/// A box: a stage or an instance of one.
struct Stage {
    name: String,
    kind: String,
    /// The indices of the boxes it depends on; they come before it.
    inputs: Vec<usize>,
}

impl Graph {
    /// All stages of the pipeline, not only its default ones.
    fn of(pipeline: &Ready) -> Result<Graph> {
        let all: Vec<String> = pipeline.stages.iter().map(|stage| stage.name.clone()).collect();
        let plan = Plan::new(pipeline, &all)?;
        let boxes = plan.nodes().iter().map(|node| {
            let mut inputs: Vec<usize> = node.inputs.iter().map(|(_, input)| input.0).collect();
            inputs.sort();
            inputs.dedup();
            Stage { name: node.name.clone(), kind: node.kind.to_string(), inputs }
        });
        Ok(Graph { title: pipeline.name.clone(), boxes: boxes.collect() })
    }

    /// Each arrow once, from an input to the stage that uses it.
    fn arrows(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let arrows = |(to, stage): (usize, &'_ Stage)| {
            stage.inputs.iter().map(|from| (*from, to)).collect::<Vec<_>>()
        };
        self.boxes.iter().enumerate().flat_map(arrows)
    }
}

fn dot(graph: &Graph) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut text = format!("digraph {} {{\n", quoted(&graph.title));
    text += "  rankdir = LR;\n  node [shape = box];\n";
    for Stage { name, kind, .. } in &graph.boxes {
        // `\n` is Graphviz's own line break.
        let label = quoted(&format!("{name}\n{kind}")).replace('\n', "\\n");
        text += &format!("  {} [label = {label}];\n", quoted(name));
    }
    for (from, to) in graph.arrows() {
        let [from, to] = [from, to].map(|at| quoted(&graph.boxes[at].name));
        text += &format!("  {from} -> {to};\n");
    }
    text + "}\n"
}

fn mermaid(graph: &Graph) -> String {
    let mut text = "graph LR\n".to_string();
    for (at, Stage { name, kind, .. }) in graph.boxes.iter().enumerate() {
        let name = name.replace('"', "#quot;");
        text += &format!("  s{at}[\"{name}<br/>{kind}\"]\n");
    }
    for (from, to) in graph.arrows() {
        text += &format!("  s{from} --> s{to}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn sample() -> Graph {
        let stage = |name: &str, kind: &str, inputs: &[usize]| Stage {
            name: name.into(),
            kind: kind.into(),
            inputs: inputs.to_vec(),
        };
        Graph {
            title: "debian".into(),
            boxes: vec![
                stage("rootfs", "bootstrap", &[]),
                stage("base", "customise", &[0]),
                stage("nodes/a", "clone", &[1]),
                stage("nodes/b", "clone", &[1]),
            ],
        }
    }

    #[test]
    fn text_for_graphviz() {
        let expected = r#"digraph "debian" {
  rankdir = LR;
  node [shape = box];
  "rootfs" [label = "rootfs\nbootstrap"];
  "base" [label = "base\ncustomise"];
  "nodes/a" [label = "nodes/a\nclone"];
  "nodes/b" [label = "nodes/b\nclone"];
  "rootfs" -> "base";
  "base" -> "nodes/a";
  "base" -> "nodes/b";
}
"#;
        assert_eq!(dot(&sample()), expected);
    }

    #[test]
    fn text_for_mermaid() {
        let expected = "\
graph LR
  s0[\"rootfs<br/>bootstrap\"]
  s1[\"base<br/>customise\"]
  s2[\"nodes/a<br/>clone\"]
  s3[\"nodes/b<br/>clone\"]
  s0 --> s1
  s1 --> s2
  s1 --> s3
";
        assert_eq!(mermaid(&sample()), expected);
    }
}
