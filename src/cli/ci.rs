//! `kuth ci`: a workflow file for a CI service, with a job for each long-running stage of a pipeline.
//! Loads the pipeline once for each row of the matrix; [`crate::ci`] writes the file.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::{Exit, project, screen};
use crate::ci::{Install, Job, OPEN, SECRETS, Service, Workflow, is_variable, jobs, misuse, rows};
use crate::engine::Plan;
use crate::error::{Context, Result};
use crate::pipeline::Override;
use crate::stage::Table;

/// Generate a workflow for a CI service
///
/// The workflow has a job for each long-running stage of the pipeline and for each
/// role of its machines. A job runs `kuth build` of its stage; results pass between
/// jobs through the remote cache, so unchanged stages are not run. Pull requests
/// only read from the cache. docs/ci.md lists the settings that a service needs.
///
///   kuth ci github pipelines/debian.toml -o .github/workflows/debian.yml
///   kuth ci gitlab pipelines/debian.toml --matrix suite=trixie,bookworm
///   kuth ci argo pipelines/debian.toml --image registry.example/kuth:1
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// CI service: github, gitlab or argo
    #[arg(value_parser = services(), hide_possible_values = true)]
    service: Service,

    /// Pipeline file, such as pipelines/debian.toml
    pipeline: PathBuf,

    /// Stages to build, with their inputs
    /// [default: set by the pipeline]
    #[arg(value_name = "STAGE", verbatim_doc_comment)]
    stages: Vec<String>,

    /// Set a pipeline variable
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<Override>,

    /// Build once for each of these values of a
    /// variable
    #[arg(long, value_name = "NAME=V,V", verbatim_doc_comment)]
    matrix: Vec<Override>,

    /// Runner of the jobs, and variables to set with
    /// it: a GitHub label, a GitLab tag, or the
    /// architecture of an Argo node. Repeat it to
    /// build once on each
    #[arg(long, value_name = "LABEL[,NAME=V]", verbatim_doc_comment)]
    runner: Vec<String>,

    /// Container image that jobs run in; required for
    /// argo
    #[arg(long, verbatim_doc_comment)]
    image: Option<String>,

    /// Command that installs kuth [default: action.yml
    /// or ci/gitlab.yml of the project, which has to
    /// contain kuth; none with --image]
    #[arg(long, value_name = "CMD", verbatim_doc_comment)]
    setup: Option<String>,

    /// Variable that holds a secret, in addition to
    /// those of S3 and of the pipeline
    #[arg(long, value_name = "NAME", verbatim_doc_comment)]
    secret: Vec<String>,

    /// Branch whose builds write to the cache
    #[arg(long, value_name = "NAME", default_value = "main")]
    branch: String,

    /// Fail if the lock file would change
    #[arg(long)]
    locked: bool,

    /// Output file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn services() -> impl TypedValueParser<Value = Service> {
    let names = PossibleValuesParser::new(Service::ALL.map(Service::name));
    names.try_map(|name| Service::ALL.into_iter().find(|service| service.name() == name).ok_or(""))
}

/// Runs `kuth ci`.
pub fn run(args: &Args) -> Result<Exit> {
    let workflow = workflow(args)?;
    let text = args.service.text(&workflow)?;
    let Some(path) = &args.output else {
        screen::data(&text)?;
        return Ok(Exit::Done);
    };
    let what = || format!("writing {}", path.display());
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(what)?;
    }
    std::fs::write(path, text).with_context(what)?;
    screen::data(&format!("{}\n", path.display()))?;
    Ok(Exit::Done)
}

fn workflow(args: &Args) -> Result<Workflow> {
    let rows = rows(&args.runner, &args.matrix)?;
    let file = args.pipeline.to_str().filter(|_| args.pipeline.is_relative());
    let file = file.filter(|file| !file.split('/').any(|part| part == ".."));
    let Some(file) = file else {
        return Err(misuse(
            format!("{} is not inside the working directory", args.pipeline.display()),
            "run `kuth ci` at the root of the repository, where jobs start",
        ));
    };
    let secrets = Mutex::new(BTreeSet::new());
    let mut found: Option<(String, Vec<Job>)> = None;
    for row in &rows {
        let vars: Vec<Override> = args.vars.iter().chain(&row.values).cloned().collect();
        let pipeline = project::load_with(&args.pipeline, &vars, &Table, &|name| {
            // Collects the names of secrets; their values are not needed.
            secrets.lock().ok()?.insert(name.to_string());
            Some("secret".to_string())
        })?;
        let jobs = jobs(&pipeline, &Plan::new(&pipeline, &args.stages)?);
        match &found {
            Some((_, others)) if *others != jobs => {
                return Err(misuse(
                    "the stages of the pipeline differ between values of the matrix",
                    "generate a workflow for each value, with `--var`",
                ));
            }
            Some(_) => {}
            None => found = Some((pipeline.name.clone(), jobs)),
        }
    }
    let (pipeline, jobs) = found.context("a workflow has at least one row")?;
    let wanted = secrets.into_inner().unwrap_or_default();
    let mut secrets: Vec<String> = SECRETS.map(str::to_string).to_vec();
    for name in wanted.iter().chain(&args.secret) {
        if !is_variable(name) {
            let hint = "the name of a secret consists of letters, digits and `_`";
            return Err(misuse(format!("`{name}` cannot be a secret of a CI service"), hint));
        }
        if !secrets.contains(name) && !OPEN.contains(&name.as_str()) {
            secrets.push(name.clone());
        }
    }
    let install = match (&args.setup, &args.image) {
        (Some(command), _) if !command.trim().is_empty() => Install::Command(command.clone()),
        (None, None) => Install::Own,
        _ => Install::Present,
    };
    Ok(Workflow {
        pipeline,
        file: if file.starts_with('-') { format!("./{file}") } else { file.to_string() },
        jobs,
        rows,
        vars: args.vars.clone(),
        install,
        secrets,
        image: args.image.clone(),
        branch: args.branch.clone(),
        locked: args.locked,
    })
}
