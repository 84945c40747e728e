//! `kuth ci`: a workflow file for a CI service, whose jobs are the heavy stages of a pipeline. Each
//! job is a `kuth build` of its stage; results go from one to the other through the remote cache.
//! A service is one file here and one arm of [`Service`]; it turns a [`Workflow`] into text.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;

use clap::ValueEnum;

use super::{Exit, project, screen};
use crate::engine::Plan;
use crate::error::{Context, Error, Misuse, Result, with_hint};
use crate::pipeline::{self, Override};
use crate::stage::Table;

mod argo;
mod github;
mod gitlab;
mod jobs;
mod words;
mod yaml;

use jobs::{Job, Makes, jobs};
use words::{Row, Word, check, rows};

/// Write a workflow for a CI service
///
/// Its jobs are the stages of the pipeline that take time, and the roles of its
/// machines. Each job is a `kuth build` of that stage; results go from job to job
/// through the remote cache, so that what did not change runs nowhere. Pull
/// requests only read from it. docs/ci.md says what the services have to be told.
///
///   kuth ci github pipelines/debian.toml -o .github/workflows/debian.yml
///   kuth ci gitlab pipelines/debian.toml --matrix suite=trixie,bookworm
///   kuth ci argo pipelines/debian.toml --image registry.example/kuth:1
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// github, gitlab or argo
    #[arg(value_enum, hide_possible_values = true)]
    service: Service,

    /// The pipeline file, as pipelines/debian.toml
    pipeline: PathBuf,

    /// What to build, with what it needs
    /// [default: what the pipeline says]
    #[arg(value_name = "STAGE", verbatim_doc_comment)]
    stages: Vec<String>,

    /// Set a variable of the pipeline
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<Override>,

    /// Build once with each of these values of a
    /// variable
    #[arg(long, value_name = "NAME=V,V", verbatim_doc_comment)]
    matrix: Vec<Override>,

    /// Where jobs run, once more for each: a label of
    /// GitHub, a tag of GitLab, an architecture of a
    /// node (argo), and variables that go with it
    #[arg(long, value_name = "LABEL[,NAME=V]", verbatim_doc_comment)]
    runner: Vec<String>,

    /// The container image that jobs run in; argo
    /// needs one
    #[arg(long, verbatim_doc_comment)]
    image: Option<String>,

    /// The command that installs kuth
    /// [default: `make build` in the project; none in
    /// an image]
    #[arg(long, value_name = "CMD", verbatim_doc_comment)]
    setup: Option<String>,

    /// A variable that holds a secret, besides those
    /// of S3 and of the pipeline
    #[arg(long, value_name = "NAME", verbatim_doc_comment)]
    secret: Vec<String>,

    /// The branch whose builds fill the cache
    #[arg(long, value_name = "NAME", default_value = "main")]
    branch: String,

    /// Fail rather than change the lock file
    #[arg(long)]
    locked: bool,

    /// Where to write it [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Service {
    Github,
    Gitlab,
    Argo,
}

/// What every service's file says.
#[derive(Clone, Debug)]
struct Workflow {
    /// The name of the pipeline.
    pipeline: String,
    /// Its file, as every job names it.
    file: String,
    jobs: Vec<Job>,
    /// What the jobs are done for: once, or for each of several rows.
    rows: Vec<Row>,
    vars: Vec<Override>,
    /// The command that installs kuth, where it is not there.
    setup: Option<String>,
    /// How kuth is called.
    kuth: String,
    /// Variables that hold secrets.
    secrets: Vec<String>,
    image: Option<String>,
    branch: String,
    locked: bool,
}

/// What a service may tell jobs that is no secret.
const OPEN: [&str; 3] = ["AWS_ENDPOINT_URL", "AWS_REGION", "KUTH_DEBIAN_MIRROR"];

/// The secrets that the jobs for the main branch get: the key that signs results, and S3's.
const SECRETS: [&str; 3] = ["KUTH_CACHE_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// Writes the file.
pub fn run(args: &Args) -> Result<Exit> {
    let workflow = workflow(args)?;
    let text = match args.service {
        Service::Github => github::text(&workflow)?,
        Service::Gitlab => gitlab::text(&workflow)?,
        Service::Argo => argo::text(&workflow)?,
    };
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

fn misuse(text: impl Into<String>, hint: impl Into<String>) -> Error {
    with_hint(Error::new(Misuse(text.into())), hint)
}

fn workflow(args: &Args) -> Result<Workflow> {
    let rows = rows(&args.runner, &args.matrix)?;
    let file = args.pipeline.to_str().filter(|_| args.pipeline.is_relative());
    let file = file.filter(|file| !file.split('/').any(|part| part == ".."));
    let Some(file) = file else {
        return Err(misuse(
            format!("{} is not below this directory", args.pipeline.display()),
            "run `kuth ci` in the directory that the jobs start in, that of the repository",
        ));
    };
    let secrets = Mutex::new(BTreeSet::new());
    let mut found: Option<(String, Vec<Job>)> = None;
    for row in &rows {
        let vars: Vec<Override> = args.vars.iter().chain(&row.values).cloned().collect();
        let pipeline = project::load_with(&args.pipeline, &vars, &Table, &|name| {
            // Which secrets it wants; not what they are.
            secrets.lock().ok()?.insert(name.to_string());
            Some("secret".to_string())
        })?;
        let jobs = jobs(&pipeline, &Plan::new(&pipeline, &args.stages)?);
        match &found {
            Some((_, others)) if *others != jobs => {
                return Err(misuse(
                    "the pipeline has other stages with other values of the matrix",
                    "write a workflow for each of them, with `--var`",
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
        if !words::is_variable(name) {
            let hint = "its name is made of letters, digits and `_`";
            return Err(misuse(format!("`{name}` cannot be a secret of a CI service"), hint));
        }
        if !secrets.contains(name) && !OPEN.contains(&name.as_str()) {
            secrets.push(name.clone());
        }
    }
    let builds_itself = args.setup.is_none() && args.image.is_none();
    let workflow = Workflow {
        pipeline,
        file: if file.starts_with('-') { format!("./{file}") } else { file.to_string() },
        jobs,
        rows,
        vars: args.vars.clone(),
        setup: match builds_itself {
            true => Some("make build".to_string()),
            false => args.setup.clone().filter(|setup| !setup.trim().is_empty()),
        },
        kuth: if builds_itself { "target/release/kuth" } else { "kuth" }.to_string(),
        secrets,
        image: args.image.clone(),
        branch: args.branch.clone(),
        locked: args.locked,
    };
    let marks = match args.service {
        Service::Github => "${{",
        Service::Gitlab => "$[[",
        Service::Argo => "{{",
    };
    check(&workflow, marks)?;
    Ok(workflow)
}

impl Workflow {
    /// Whether jobs are done for several rows.
    fn has_matrix(&self) -> bool {
        self.rows.len() > 1
    }

    /// The variables that differ from row to row.
    fn varied(&self) -> Vec<String> {
        match self.has_matrix() {
            true => self.rows[0].values.iter().map(|value| value.name.clone()).collect(),
            false => Vec::new(),
        }
    }

    /// The words after `kuth`.
    fn words(&self, job: &Job) -> Vec<Word> {
        let plain = |word: &str| Word::Plain(word.to_string());
        let mut words = vec![plain("build"), plain(&self.file)];
        words.extend(job.stages.iter().map(|stage| plain(stage)));
        if self.locked {
            words.push(plain("--locked"));
        }
        match job.makes {
            // Whoever eats it fetches it; this job has no use for it.
            Makes::Result => words.push(plain("--no-fetch")),
            Makes::Exports => {}
            // No other driver keeps machines on a host that has no hypervisor.
            Makes::Machines => words.extend(["--driver", "qemu"].map(plain)),
        }
        let fixed = match self.has_matrix() {
            true => &[],
            false => self.rows[0].values.as_slice(),
        };
        for Override { name, value } in self.vars.iter().chain(fixed) {
            words.extend([plain("--var"), Word::Plain(format!("{name}={value}"))]);
        }
        for name in self.varied() {
            words.extend([plain("--var"), Word::Varied(name)]);
        }
        words
    }

    /// The directory of exports, seen from where the jobs start.
    fn exports(&self) -> String {
        let root = pipeline::project_root(self.file.as_ref());
        let directory = root.join("out").join(&self.pipeline);
        directory.strip_prefix(".").unwrap_or(&directory).display().to_string()
    }

    /// What stands above it.
    fn head(&self, more: &str) -> String {
        let made =
            "Made by `kuth ci`: make it anew rather than edit it. docs/ci.md of kuth has more.";
        yaml::comment(&format!("{made}\n{more}"))
    }
}
