//! A workflow of GitHub Actions. Its only permission is to read the sources, its actions are pinned to
//! commits, and only a push to the main branch gets secrets: a pull request only reads from the
//! cache.

use serde_json::{Map, Value, json};

use super::jobs::{Job, JobOutput};
use super::matrix::{Argument, variable};
use super::{Install, OPEN, Row, Workflow, yaml};
use crate::error::Result;

const CHECKOUT: &str = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1";
const UPLOAD: &str = "actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f";

/// The action of the project itself, in the checkout. GitHub's newer form `$/` would do without one, but not
/// all runners know it.
const OWN: &str = "./";

/// The versions of these commits, and what zizmor is to pass over, for comments.
const NOTES: [(&str, &str); 3] =
    [(CHECKOUT, "v7.0.1"), (UPLOAD, "v7.0.0"), (OWN, "zizmor: ignore[self-repository]")];

/// The default runner; util-linux in Ubuntu before 24.04 is too old.
const RUNNER: &str = "ubuntu-24.04";

/// The matrix key of the runner.
const RUNNER_KEY: &str = "RUNNER";

/// The text of the file.
pub fn text(workflow: &Workflow) -> Result<String> {
    let mut jobs = Map::new();
    for job in &workflow.jobs {
        jobs.insert(job.id.clone(), one_job(workflow, job));
    }
    let file = json!({
        "name": format!("kuth {}", workflow.pipeline),
        "on": {"push": {"branches": [workflow.branch]}, "pull_request": {}},
        "permissions": {},
        "concurrency": {
            "group": "${{ github.workflow }}-${{ github.ref }}",
            "cancel-in-progress": "${{ github.event_name == 'pull_request' }}",
        },
        "env": environment(),
        "jobs": jobs,
    });
    let notes = format!(
        "Variables: KUTH_CACHE_REMOTE, and KUTH_CACHE_READ if pull requests use another \
         address.\nSecrets: {}.",
        workflow.secrets.join(", ")
    );
    Ok(workflow.header(&notes) + &yaml::text(&file, &NOTES))
}

/// The environment of every job.
fn environment() -> Value {
    let mut env = Map::new();
    let mut set = |name: &str, value: &str| {
        env.insert(name.to_string(), format!("${{{{ {value} }}}}").into());
    };
    let read = "vars.KUTH_CACHE_READ || vars.KUTH_CACHE_REMOTE";
    set(
        "KUTH_CACHE_REMOTE",
        &format!("github.event_name == 'push' && vars.KUTH_CACHE_REMOTE || {read}"),
    );
    set("KUTH_CACHE_MODE", "github.event_name != 'push' && 'read' || ''");
    for name in OPEN {
        set(name, &format!("vars.{name}"));
    }
    env.into()
}

fn one_job(workflow: &Workflow, job: &Job) -> Value {
    let mut entries = Map::new();
    let mut set = |key: &str, value: Value| entries.insert(key.to_string(), value);
    set("name", job.name.clone().into());
    if !job.needs.is_empty() {
        let needs = job.needs.iter().map(|at| Value::from(workflow.jobs[*at].id.clone()));
        set("needs", needs.collect());
    }
    if workflow.has_matrix() {
        let rows: Vec<Value> = workflow.rows.iter().map(row_of).collect();
        set("strategy", json!({"fail-fast": false, "matrix": {"include": rows}}));
    }
    set("runs-on", runner(workflow).into());
    set("timeout-minutes", 90.into());
    set("permissions", json!({"contents": "read"}));
    if let Some(image) = &workflow.image {
        set("container", json!({"image": image}));
    }
    set("steps", steps(workflow, job).into());
    entries.into()
}

fn runner(workflow: &Workflow) -> String {
    match &workflow.rows[0].runner {
        Some(_) if workflow.has_matrix() => format!("${{{{ matrix.{RUNNER_KEY} }}}}"),
        Some(label) => label.clone(),
        None => RUNNER.to_string(),
    }
}

fn row_of(row: &Row) -> Value {
    let runner = row.runner.iter().map(|label| (RUNNER_KEY.to_string(), label.clone()));
    let values = row.values.iter().map(|var| (variable(&var.name), var.value.clone()));
    let entries = runner.chain(values).map(|(key, value)| (key, Value::from(value)));
    Value::Object(entries.collect())
}

fn steps(workflow: &Workflow, job: &Job) -> Vec<Value> {
    let mut steps = vec![json!({
        "uses": CHECKOUT,
        "with": {"persist-credentials": false},
    })];
    match &workflow.install {
        Install::Own => {
            steps.push(json!({"name": "Prepare the runner, install kuth", "uses": OWN}))
        }
        _ if workflow.image.is_none() && hosted(workflow) => steps.push(json!({
            "name": "Allow user namespaces, which Ubuntu 24.04 forbids",
            "run": "sudo sysctl -q -w kernel.apparmor_restrict_unprivileged_userns=0",
        })),
        _ => {}
    }
    if let Some(command) = workflow.install.command() {
        steps.push(json!({"name": "Install kuth", "run": command}));
    }
    let words = workflow.arguments(job);
    let command: Vec<String> = words.iter().map(Argument::for_shell).collect();
    let mut env = Map::new();
    for name in &workflow.secrets {
        let value = format!("${{{{ github.event_name == 'push' && secrets.{name} || '' }}}}");
        env.insert(name.clone(), value.into());
    }
    for name in workflow.varied() {
        let name = variable(&name);
        let value = format!("${{{{ matrix.{name} }}}}");
        env.insert(name, value.into());
    }
    steps.push(json!({
        "name": format!("Build {}", job.name),
        "env": env,
        "run": format!("kuth {}", command.join(" ")),
    }));
    if job.output == JobOutput::Exports {
        steps.push(json!({
            "uses": UPLOAD,
            "with": {
                "name": artifact(workflow, job),
                "path": format!("{}/", workflow.exports()),
                "if-no-files-found": "error",
            },
        }));
    }
    steps
}

/// Whether jobs run on runners that GitHub hosts.
fn hosted(workflow: &Workflow) -> bool {
    let is_hosted = |label: &String| label.starts_with("ubuntu-");
    workflow.rows.iter().all(|row| row.runner.as_ref().is_none_or(is_hosted))
}

/// A unique name for an artifact of a run. It must not contain `/` or `:`, which values may.
fn artifact(workflow: &Workflow, job: &Job) -> String {
    let name = format!("{}-{}", workflow.pipeline, job.id);
    match workflow.has_matrix() {
        true => format!("{name}-${{{{ strategy.job-index }}}}"),
        false => name,
    }
}
