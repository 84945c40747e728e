//! A Workflow of Argo: a graph of pods whose image has kuth. Each pod runs as an ordinary user, in the
//! directory that the sources were cloned into, with an empty local cache; results go to the remote
//! cache.

use serde_json::{Map, Value, json};

use super::jobs::{Job, JobOutput};
use super::matrix::{Argument, variable};
use super::{OPEN, Row, Workflow, misuse, yaml};
use crate::error::Result;

/// The directories in a pod of the sources and of everything that is written.
const PROJECT: &str = "/kuth/project";
const WORK: &str = "/kuth/work";

/// The Kubernetes Secret that holds all secrets.
const SECRET: &str = "kuth";

/// The matrix key of the runner: the architecture of the node.
const RUNNER_KEY: &str = "architecture";

/// The text of the file.
pub fn text(workflow: &Workflow) -> Result<String> {
    let Some(image) = &workflow.image else {
        return Err(misuse(
            "a workflow for Argo needs a container image",
            "give `--image`; docs/ci.md lists what the image must contain",
        ));
    };
    let mut templates = vec![graph(workflow)];
    if workflow.has_matrix() {
        templates.insert(0, every_row(workflow));
    }
    templates.extend(workflow.jobs.iter().map(|job| pod(workflow, job, image)));
    let entry = if workflow.has_matrix() { "every-row" } else { "graph" };
    let file = json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": format!("kuth-{}-", dashed(&workflow.pipeline))},
        "spec": {
            "entrypoint": entry,
            "arguments": {"parameters": [
                {"name": "repository"},
                {"name": "revision", "value": workflow.branch},
                {"name": "remote"},
                {"name": "mode", "value": "read"},
            ]},
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 1000,
                "runAsGroup": 1000,
                "fsGroup": 1000,
            },
            "templates": templates,
        },
    });
    let notes = format!(
        "argo submit -p repository=URL -p remote=s3://bucket/kuth; on the main branch also \
         -p mode=read-write.\nOptional keys of the Secret `{SECRET}`: {}.",
        workflow.secrets.join(", ")
    );
    Ok(workflow.header(&notes) + &yaml::text(&file, &[]))
}

/// The names of a row's parameters.
fn parameters(workflow: &Workflow) -> Vec<String> {
    if !workflow.has_matrix() {
        return Vec::new();
    }
    let runner = workflow.rows[0].runner.iter().map(|_| RUNNER_KEY.to_string());
    runner.chain(workflow.varied().iter().map(|name| dashed(&variable(name)))).collect()
}

/// `name` as a legal name in Kubernetes.
fn dashed(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(legal).collect()
}

/// The name of the template of a job's pod.
fn template(job: &Job) -> String {
    format!("build-{}", job.id)
}

/// The graph once for each row.
fn every_row(workflow: &Workflow) -> Value {
    let task = |(at, row): (usize, &Row)| {
        let values: Vec<Value> = std::iter::zip(parameters(workflow), values(row))
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let name = format!("row-{}", at + 1);
        json!({"name": name, "template": "graph", "arguments": {"parameters": values}})
    };
    let tasks: Vec<Value> = workflow.rows.iter().enumerate().map(task).collect();
    json!({"name": "every-row", "dag": {"failFast": false, "tasks": tasks}})
}

fn values(row: &Row) -> impl Iterator<Item = String> {
    row.runner.iter().cloned().chain(row.values.iter().map(|var| var.value.clone()))
}

/// The declarations of the row's parameters.
fn declared(workflow: &Workflow) -> Vec<Value> {
    parameters(workflow).iter().map(|name| json!({"name": name})).collect()
}

fn graph(workflow: &Workflow) -> Value {
    let passed: Vec<Value> = parameters(workflow)
        .iter()
        .map(|name| json!({"name": name, "value": input(name)}))
        .collect();
    let task = |job: &Job| {
        let mut task = Map::new();
        task.insert("name".to_string(), job.id.clone().into());
        task.insert("template".to_string(), template(job).into());
        if !job.needs.is_empty() {
            let needs = job.needs.iter().map(|at| Value::from(workflow.jobs[*at].id.clone()));
            task.insert("dependencies".to_string(), needs.collect());
        }
        if !passed.is_empty() {
            task.insert("arguments".to_string(), json!({"parameters": passed}));
        }
        Value::from(task)
    };
    let tasks: Vec<Value> = workflow.jobs.iter().map(task).collect();
    let mut graph = Map::new();
    graph.insert("name".to_string(), "graph".into());
    if workflow.has_matrix() {
        graph.insert("inputs".to_string(), json!({"parameters": declared(workflow)}));
    }
    graph.insert("dag".to_string(), json!({"failFast": false, "tasks": tasks}));
    graph.into()
}

fn input(name: &str) -> String {
    format!("{{{{inputs.parameters.{name}}}}}")
}

fn pod(workflow: &Workflow, job: &Job, image: &str) -> Value {
    let mut made = Map::new();
    let mut set = |key: &str, value: Value| made.insert(key.to_string(), value);
    set("name", template(job).into());
    let mut inputs = Map::new();
    if workflow.has_matrix() {
        inputs.insert("parameters".to_string(), declared(workflow).into());
    }
    let sources = json!({
        "name": "project",
        "path": PROJECT,
        "git": {
            "repo": "{{workflow.parameters.repository}}",
            "revision": "{{workflow.parameters.revision}}",
            "depth": 1,
        },
    });
    inputs.insert("artifacts".to_string(), json!([sources]));
    set("inputs", inputs.into());
    if job.output == JobOutput::Exports {
        let path = format!("{WORK}/out/{}", workflow.pipeline);
        set("outputs", json!({"artifacts": [{"name": "exports", "path": path}]}));
    }
    match &workflow.rows[0].runner {
        Some(_) if workflow.has_matrix() => {
            drop(set("nodeSelector", json!({"kubernetes.io/arch": input(RUNNER_KEY)})));
        }
        Some(label) => drop(set("nodeSelector", json!({"kubernetes.io/arch": label}))),
        None => {}
    }
    set("activeDeadlineSeconds", "5400".into());
    set("volumes", json!([{"name": "work", "emptyDir": {}}]));
    set("container", container(workflow, job, image));
    made.into()
}

fn container(workflow: &Workflow, job: &Job, image: &str) -> Value {
    let mut words: Vec<Argument> = workflow.arguments(job);
    words
        .extend(["--output", &format!("{WORK}/out")].map(|word| Argument::Fixed(word.to_string())));
    let (command, args): (Vec<String>, Vec<String>) = match workflow.install.command() {
        // Without a shell, nothing interprets an argument.
        None => (vec!["kuth".to_string()], words.iter().map(argument).collect()),
        Some(setup) => {
            let words: Vec<String> = words.iter().map(Argument::for_shell).collect();
            let script = format!("{setup}\nexec kuth {}\n", words.join(" "));
            (["sh", "-ec"].map(str::to_string).to_vec(), vec![script])
        }
    };
    let mut env = vec![
        json!({"name": "HOME", "value": WORK}),
        json!({"name": "KUTH_CACHE", "value": format!("{WORK}/cache")}),
        json!({"name": "KUTH_CACHE_REMOTE", "value": "{{workflow.parameters.remote}}"}),
        json!({"name": "KUTH_CACHE_MODE", "value": "{{workflow.parameters.mode}}"}),
    ];
    if workflow.install.command().is_some() {
        let varied = workflow.varied();
        let variables = varied.iter().map(|name| variable(name));
        env.extend(variables.map(|name| json!({"name": name, "value": input(&dashed(&name))})));
    }
    env.extend(workflow.secrets.iter().map(String::as_str).chain(OPEN).map(|name| {
        let from = json!({"name": SECRET, "key": name, "optional": true});
        json!({"name": name, "valueFrom": {"secretKeyRef": from}})
    }));
    json!({
        "image": image,
        "workingDir": PROJECT,
        "command": command,
        "args": args,
        "env": env,
        "volumeMounts": [{"name": "work", "mountPath": WORK}],
    })
}

/// An argument of a pod's command.
fn argument(word: &Argument) -> String {
    match word {
        Argument::Fixed(word) => word.clone(),
        Argument::FromMatrix(name) => format!("{name}={}", input(&dashed(&variable(name)))),
    }
}
