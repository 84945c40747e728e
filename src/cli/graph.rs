//! `kuth graph`: the dependency graph of a pipeline, as text for other programs or as a picture.

use std::path::PathBuf;

use clap::ValueEnum;

use super::{Exit, project, screen};
use crate::build_record::file;
use crate::build_report::graph::{self, Graph, GraphBox};
use crate::engine::Plan;
use crate::engine::plan::Ready;
use crate::error::Result;
use crate::pipeline::Override;
use crate::stage::Table;

/// Draw the dependency graph of a pipeline
///
/// Written to standard output: text for Graphviz (dot) or Mermaid, or an SVG image.
/// `--last-build` adds how the last build ended each stage, and how long it took.
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

    /// Add states and times of the last build
    #[arg(long)]
    last_build: bool,

    /// Cache directory [default: `cache` beside
    /// `pipelines`]
    #[arg(long, value_name = "DIR", env = "KUTH_CACHE", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    cache: Option<PathBuf>,
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
    let mut graph = graph_of(&pipeline)?;
    if args.last_build {
        add_last_build(&mut graph, args, &pipeline)?;
    }
    screen::data(&match args.format {
        Format::Dot => dot(&graph),
        Format::Mermaid => mermaid(&graph),
        Format::Svg => graph::draw(&graph),
    })?;
    Ok(Exit::Done)
}

/// All stages of the pipeline, not only its default ones.
fn graph_of(pipeline: &Ready) -> Result<Graph> {
    let all: Vec<String> = pipeline.stages.iter().map(|stage| stage.name.clone()).collect();
    let plan = Plan::new(pipeline, &all)?;
    let boxes = plan.nodes().iter().map(|node| {
        let mut inputs: Vec<usize> = node.inputs.iter().map(|(_, input)| input.0).collect();
        inputs.sort();
        inputs.dedup();
        GraphBox { name: node.name.clone(), kind: node.kind.to_string(), inputs, outcome: None }
    });
    Ok(Graph { title: pipeline.name.clone(), boxes: boxes.collect() })
}

/// Adds how the last build ended the stages; says so if there is none on record.
fn add_last_build(graph: &mut Graph, args: &Args, pipeline: &Ready) -> Result<()> {
    let cache = project::existing_cache(args.cache.as_deref(), &pipeline.root)?;
    let builds = cache.map(|cache| file::read(&cache, &pipeline.name)).transpose()?;
    match builds.as_ref().and_then(|builds| builds.newest()) {
        Some((build, _)) => graph.add_outcomes(build),
        None => screen::talk(&format!("no build of {} is on record", args.pipeline.display())),
    }
    Ok(())
}

/// The lines of a box: its name, its kind, and how its stage ended.
fn lines(it: &GraphBox) -> Vec<String> {
    let outcome = it.outcome.as_ref().map(ToString::to_string);
    [it.name.clone(), it.kind.clone()].into_iter().chain(outcome).collect()
}

fn dot(graph: &Graph) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut text = format!("digraph {} {{\n", quoted(&graph.title));
    text += "  rankdir = LR;\n  node [shape = box];\n";
    for it in &graph.boxes {
        // `\n` is Graphviz's own line break.
        let label = quoted(&lines(it).join("\n")).replace('\n', "\\n");
        text += &format!("  {} [label = {label}];\n", quoted(&it.name));
    }
    for (from, to) in graph.arrows() {
        let [from, to] = [from, to].map(|at| quoted(&graph.boxes[at].name));
        text += &format!("  {from} -> {to};\n");
    }
    text + "}\n"
}

fn mermaid(graph: &Graph) -> String {
    let mut text = "graph LR\n".to_string();
    for (at, it) in graph.boxes.iter().enumerate() {
        let label = lines(it).join("<br/>").replace('"', "#quot;");
        text += &format!("  s{at}[\"{label}\"]\n");
    }
    for (from, to) in graph.arrows() {
        text += &format!("  s{from} --> s{to}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_record::tests::{build, ran};
    use crate::build_report::graph::tests::sample;

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
    fn texts_have_the_states_of_the_last_build() {
        let mut graph = sample();
        graph.add_outcomes(&build(vec![ran("rootfs", &[], 0.0, 0.0), ran("base", &[], 0.0, 1.5)]));
        let dot = dot(&graph);
        assert!(dot.contains(r#""base" [label = "base\ncustomise\ndone, 1.5 s"];"#), "{dot}");
        let mermaid = mermaid(&graph);
        assert!(mermaid.contains(r#"s0["rootfs<br/>bootstrap<br/>cached"]"#), "{mermaid}");
        assert!(mermaid.contains(r#"s2["nodes/a<br/>clone"]"#), "{mermaid}");
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
