//! `kuth plan`.

use serde_json::{Map, Value};

use super::options::{Building, MessageFormat};
use super::project::Project;
use super::{Exit, screen};
use crate::engine::Plan;
use crate::engine::decision::Decision;
use crate::engine::inspect;
use crate::error::Result;

/// Show what a build would run, and why
///
/// Runs nothing and does not use the network. A stage is `cached`, would `run`, or
/// is `unknown` until its inputs have been built.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    building: Building,
}

/// Prints a line for each stage.
pub fn run(args: &Args) -> Result<Exit> {
    let building = &args.building;
    let project = Project::open_to_build(building)?;
    let plan = Plan::new(&project.pipeline, &building.stages)?;
    let (cache, settings) = (project.cache()?, &project.settings);
    project.check_lock(&plan, &cache)?;
    let found = inspect::explain(&plan, &cache, settings, &project.lock, &building.rebuild)?;
    let lines: Vec<Line> = plan
        .names()
        .into_iter()
        .zip(&found)
        .map(|(stage, found)| Line::new(stage, &found.decision))
        .collect();
    match building.message_format {
        MessageFormat::Human => {
            screen::data(&table(&lines))?;
            screen::talk(&summary(&lines));
        }
        MessageFormat::Json | MessageFormat::Wire => {
            screen::data(&lines.iter().map(Line::json).collect::<String>())?;
        }
    }
    Ok(Exit::Done)
}

/// What a build would do with one stage.
struct Line {
    stage: String,
    state: &'static str,
    reason: Option<String>,
}

impl Line {
    fn new(stage: String, decision: &Decision) -> Line {
        let (state, reason) = decision.forecast();
        Line { stage, state, reason }
    }

    fn json(&self) -> String {
        let mut object = Map::new();
        let mut put = |name: &str, value: &str| {
            object.insert(name.to_string(), Value::from(value));
        };
        put("event", "plan");
        put("stage", &self.stage);
        put("state", self.state);
        if let Some(reason) = &self.reason {
            put("reason", reason);
        }
        format!("{}\n", Value::Object(object))
    }
}

fn table(lines: &[Line]) -> String {
    let row = |line: &Line| {
        [line.stage.clone(), line.state.to_string(), line.reason.clone().unwrap_or_default()]
    };
    screen::table(&lines.iter().map(row).collect::<Vec<_>>())
}

/// `3 stages: 1 would run, 1 unknown, 1 cached`.
fn summary(lines: &[Line]) -> String {
    let count = |state: &str| lines.iter().filter(|line| line.state == state).count();
    let stages = match lines.len() {
        1 => "1 stage".to_string(),
        count => format!("{count} stages"),
    };
    if count("cached") == lines.len() {
        return format!("{stages}, {} cached", lines.len());
    }
    let counts = [("run", "would run"), ("unknown", "unknown"), ("cached", "cached")];
    let counts: Vec<String> = counts
        .iter()
        .map(|(state, words)| (count(state), words))
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    format!("{stages}: {}", counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Artifact, ArtifactKind, Hashing};
    use crate::digest::Digest;
    use crate::engine::decision::Reason;

    fn lines() -> Vec<Line> {
        let (kind, hashing) = (ArtifactKind::Machine, Hashing::Plain);
        let (digest, facts) = (Digest::of("machine"), Default::default());
        let machine = Artifact { kind, hashing, digest, size: 1, facts };
        let decisions = [
            ("rootfs", Decision::Retained(machine, "/m".into(), "it holds state".into())),
            ("base", Decision::Run(Reason::Changed("package = htop (new)".into()))),
            ("disk", Decision::Unknown("base".into())),
        ];
        decisions.map(|(stage, decision)| Line::new(stage.into(), &decision)).into()
    }

    #[test]
    fn a_table_and_a_summary_for_people() {
        let expected = "\
rootfs  cached   it holds state
base    run      package = htop (new)
disk    unknown  depends on the result of base
";
        assert_eq!(table(&lines()), expected);
        assert_eq!(summary(&lines()), "3 stages: 1 would run, 1 unknown, 1 cached");
        assert_eq!(summary(&lines()[..1]), "1 stage, 1 cached");
    }

    #[test]
    fn a_json_object_for_each_stage() {
        assert_eq!(
            lines()[1].json(),
            "{\"event\":\"plan\",\"stage\":\"base\",\"state\":\"run\",\
             \"reason\":\"package = htop (new)\"}\n"
        );
    }
}
