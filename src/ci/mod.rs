//! Workflow files of CI services: a [`Workflow`] of jobs and matrix rows, and the text of each
//! service. A service is one file here and its arms in [`Service`].

use crate::error::{Error, Misuse, Result, with_hint};
use crate::pipeline::{self, Override};

mod argo;
mod github;
mod gitlab;
mod jobs;
mod matrix;
mod yaml;

use matrix::{Argument, check};

pub use jobs::{Job, JobOutput, jobs};
pub use matrix::{Row, is_variable, rows};

/// A CI service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// GitHub Actions.
    Github,
    /// GitLab CI/CD.
    Gitlab,
    /// Argo Workflows.
    Argo,
}

impl Service {
    /// Every service.
    pub const ALL: [Service; 3] = [Service::Github, Service::Gitlab, Service::Argo];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Service::Github => "github",
            Service::Gitlab => "gitlab",
            Service::Argo => "argo",
        }
    }

    /// The workflow file. An error where the service cannot run `workflow`.
    pub fn text(self, workflow: &Workflow) -> Result<String> {
        check(workflow, self.marks())?;
        match self {
            Service::Github => github::text(workflow),
            Service::Gitlab => gitlab::text(workflow),
            Service::Argo => argo::text(workflow),
        }
    }

    /// What begins an expression of the service, which no argument may contain.
    fn marks(self) -> &'static str {
        match self {
            Service::Github => "${{",
            Service::Gitlab => "$[[",
            Service::Argo => "{{",
        }
    }
}

/// How kuth gets on the `PATH` of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Install {
    /// By the action of GitHub, or the file for GitLab, of the project itself, which contains kuth.
    Own,
    /// By this command.
    Command(String),
    /// It is there.
    Present,
}

impl Install {
    /// The command that installs kuth.
    fn command(&self) -> Option<&String> {
        match self {
            Install::Command(command) => Some(command),
            Install::Own | Install::Present => None,
        }
    }
}

/// A workflow, independent of the service.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// The name of the pipeline.
    pub pipeline: String,
    /// The pipeline file, relative to where jobs start.
    pub file: String,
    /// In the order of the pipeline: inputs first.
    pub jobs: Vec<Job>,
    /// The rows of the matrix; one row without a matrix.
    pub rows: Vec<Row>,
    /// Variables set for every job.
    pub vars: Vec<Override>,
    /// How jobs get kuth on their `PATH`.
    pub install: Install,
    /// Variables that hold secrets.
    pub secrets: Vec<String>,
    /// The container image that jobs run in.
    pub image: Option<String>,
    /// The branch whose builds write to the cache.
    pub branch: String,
    /// Whether jobs fail if the lock file would change.
    pub locked: bool,
}

/// Variables of a service that are not secret.
pub const OPEN: [&str; 4] =
    ["AWS_ENDPOINT_URL", "AWS_REGION", "KUTH_DEBIAN_MIRROR", "KUTH_DEBIAN_SECURITY_MIRROR"];

/// The secrets that the jobs for the main branch get: the key that signs results, and S3's.
pub const SECRETS: [&str; 3] = ["KUTH_CACHE_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// A usage error.
pub fn misuse(text: impl Into<String>, hint: impl Into<String>) -> Error {
    with_hint(Error::new(Misuse(text.into())), hint)
}

impl Workflow {
    /// Whether jobs run once for each of several rows.
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

    /// The arguments of `kuth` in a job.
    fn arguments(&self, job: &Job) -> Vec<Argument> {
        let plain = |word: &str| Argument::Fixed(word.to_string());
        let mut words = vec![plain("build"), plain(&self.file)];
        words.extend(job.stages.iter().map(|stage| plain(stage)));
        if self.locked {
            words.push(plain("--locked"));
        }
        match job.output {
            // Jobs that need the result fetch it; this job does not use it.
            JobOutput::Result => words.push(plain("--no-fetch")),
            JobOutput::Exports => {}
            // The driver that works on a host without a hypervisor.
            JobOutput::Machines => words.extend(["--driver", "qemu"].map(plain)),
        }
        let fixed = match self.has_matrix() {
            true => &[],
            false => self.rows[0].values.as_slice(),
        };
        for Override { name, value } in self.vars.iter().chain(fixed) {
            words.extend([plain("--var"), Argument::Fixed(format!("{name}={value}"))]);
        }
        for name in self.varied() {
            words.extend([plain("--var"), Argument::FromMatrix(name)]);
        }
        words
    }

    /// The directory of exports, relative to where jobs start.
    fn exports(&self) -> String {
        let root = pipeline::project_root(self.file.as_ref());
        let directory = root.join("out").join(&self.pipeline);
        directory.strip_prefix(".").unwrap_or(&directory).display().to_string()
    }

    /// The comment at the top of the file.
    fn header(&self, more: &str) -> String {
        let notice =
            "Generated by `kuth ci`; do not edit, generate it again. See docs/ci.md of kuth.";
        yaml::comment(&format!("{notice}\n{more}"))
    }
}
