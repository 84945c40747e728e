//! A `.gitlab-ci.yml`. Secrets are masked and protected variables of the project, so the file names
//! none. A merge request only reads from the cache.

use serde_json::{Map, Value, json};

use super::jobs::{Job, JobOutput};
use super::matrix::{Argument, variable};
use super::{Install, Row, Workflow, yaml};
use crate::error::Result;

/// The matrix key of the runner.
const RUNNER_KEY: &str = "KUTH_RUNNER";

/// The file of a project that contains kuth, and its hidden job that installs it.
const INSTALL_FILE: &str = "ci/gitlab.yml";
const INSTALL_JOB: &str = ".kuth";

/// The text of the file.
pub fn text(workflow: &Workflow) -> Result<String> {
    let steps = workflow.jobs.iter().map(|job| job.step).max().unwrap_or(1);
    let stages: Vec<Value> = (1..=steps).map(|step| stage(step).into()).collect();
    let on_branch = format!("$CI_COMMIT_BRANCH == \"{}\"", workflow.branch);
    let mut file = Map::new();
    let mut set = |key: &str, value: Value| file.insert(key.to_string(), value);
    if workflow.install == Install::Own {
        // A job with a dot is not run; only the hidden job that installs kuth is of use here.
        set("include", json!([{"local": INSTALL_FILE, "inputs": {"job": ".build"}}]));
    }
    set("stages", stages.into());
    set(
        "workflow",
        json!({"rules": [
            {
                "if": "$CI_PIPELINE_SOURCE == \"merge_request_event\"",
                "variables": {"KUTH_CACHE_MODE": "read"},
            },
            {"if": on_branch},
        ]}),
    );
    let mut default = Map::new();
    if let Some(image) = &workflow.image {
        default.insert("image".to_string(), json!({"name": image, "entrypoint": [""]}));
    }
    default.insert("interruptible".to_string(), true.into());
    set("default", default.into());
    for job in &workflow.jobs {
        set(&job.id, one_job(workflow, job));
    }
    let notes = format!(
        "Project variables: KUTH_CACHE_REMOTE; masked and protected: {}.",
        workflow.secrets.join(", ")
    );
    Ok(workflow.header(&notes) + &yaml::text(&file.into(), &[]))
}

fn stage(step: usize) -> String {
    format!("step-{step}")
}

fn one_job(workflow: &Workflow, job: &Job) -> Value {
    let mut entries = Map::new();
    let mut set = |key: &str, value: Value| entries.insert(key.to_string(), value);
    if workflow.install == Install::Own {
        set("extends", INSTALL_JOB.into());
    }
    set("stage", stage(job.step).into());
    // Results come from the cache, not from artifacts.
    let need = |at: &usize| json!({"job": workflow.jobs[*at].id, "artifacts": false});
    set("needs", job.needs.iter().map(need).collect());
    if workflow.has_matrix() {
        let rows: Vec<Value> = workflow.rows.iter().map(row_of).collect();
        set("parallel", json!({"matrix": rows}));
    }
    match &workflow.rows[0].runner {
        Some(_) if workflow.has_matrix() => drop(set("tags", json!([format!("${RUNNER_KEY}")]))),
        Some(label) => drop(set("tags", json!([label]))),
        None => {}
    }
    set("timeout", "90 minutes".into());
    let words: Vec<String> = workflow.arguments(job).iter().map(Argument::for_shell).collect();
    let build = format!("kuth {}", words.join(" "));
    let script = workflow.install.command().cloned().into_iter().chain([build]);
    let script: Vec<Value> = script.map(Value::from).collect();
    set("script", script.into());
    if job.output == JobOutput::Exports {
        let paths = [format!("{}/", workflow.exports())];
        set("artifacts", json!({"paths": paths, "expire_in": "1 week"}));
    }
    entries.into()
}

fn row_of(row: &Row) -> Value {
    let runner = row.runner.iter().map(|label| (RUNNER_KEY.to_string(), label.clone()));
    let values = row.values.iter().map(|var| (variable(&var.name), var.value.clone()));
    let entries = runner.chain(values).map(|(key, value)| (key, Value::from(value)));
    Value::Object(entries.collect())
}
