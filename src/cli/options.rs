//! Options that several subcommands share, and the types of their values.

use std::path::PathBuf;

use clap::builder::{FalseyValueParser, PossibleValue};
use clap::{Args, ValueEnum};

use crate::machine::DRIVER_WORDS;
use crate::pipeline::Override;
use crate::stage::Settings;

/// The pipeline, and where its results are kept.
#[derive(Args, Debug)]
pub struct Source {
    /// Pipeline file, such as pipelines/debian.toml
    pub pipeline: PathBuf,

    /// Set a pipeline variable
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub vars: Vec<Override>,

    /// Cache directory [default: `cache` beside
    /// `pipelines`]
    #[arg(long, value_name = "DIR", env = "KUTH_CACHE", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    pub cache: Option<PathBuf>,

    /// Directory for exports, with a subdirectory for
    /// each pipeline [default: `out` beside
    /// `pipelines`]
    #[arg(long, value_name = "DIR", verbatim_doc_comment)]
    pub output: Option<PathBuf>,

    /// Hypervisor driver: auto, virtualbox or qemu
    /// [default: set by the pipeline]
    #[arg(long, value_enum, hide_possible_values = true, verbatim_doc_comment)]
    pub driver: Option<Driver>,

    /// Command line of VirtualBox's VBoxManage
    /// [default: VBoxManage]
    #[arg(long, value_name = "CMD", env = "KUTH_VBOXMANAGE", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    pub vboxmanage: Option<String>,
}

/// The options of a build.
#[derive(Args, Debug)]
pub struct Building {
    #[command(flatten)]
    pub source: Source,

    /// Stages to build, with their inputs
    /// [default: set by the pipeline]
    #[arg(value_name = "STAGE", verbatim_doc_comment)]
    pub stages: Vec<String>,

    /// Number of parallel jobs
    /// [default: number of processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    #[arg(verbatim_doc_comment)]
    pub jobs: Option<u16>,

    /// Fail if the lock file would change
    #[arg(long)]
    pub locked: bool,

    /// Do not use the network
    #[arg(long)]
    pub offline: bool,

    /// Do not download cached results that no local
    /// stage needs
    #[arg(long, verbatim_doc_comment)]
    pub no_fetch: bool,

    /// Run this stage even if its result is cached
    #[arg(long, value_name = "STAGE")]
    pub rebuild: Vec<String>,

    #[command(flatten)]
    pub archive: Archive,

    /// Output format: human, or json (an object a line
    /// on standard output) [default: human]
    #[arg(long, value_name = "FMT", value_enum, default_value_t = MessageFormat::Human)]
    #[arg(hide_default_value = true, hide_possible_values = true, verbatim_doc_comment)]
    pub message_format: MessageFormat,

    /// What to do with a failed stage's work
    /// directory: clean, keep or shell
    #[arg(long, value_name = "ACTION", value_enum, default_value_t = OnError::Clean)]
    #[arg(hide_possible_values = true, verbatim_doc_comment)]
    pub on_error: OnError,

    /// Replace machines that hold state
    #[arg(long)]
    pub replace: bool,

    /// Run the `pytest` tests of `boot` stages, which
    /// are not in a sandbox
    #[arg(verbatim_doc_comment)]
    #[arg(long, env = "KUTH_ALLOW_HOST_TESTS", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new())]
    pub allow_host_tests: bool,
}

/// The source of packages.
#[derive(Args, Debug)]
pub struct Archive {
    /// Package mirror
    /// [default: apt's]
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "URL", env = "KUTH_DEBIAN_MIRROR", hide_env_values = true)]
    pub mirror: Option<String>,

    /// Mirror of Debian's security updates; apt's by
    /// default
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "URL", env = "KUTH_DEBIAN_SECURITY_MIRROR", hide_env_values = true)]
    pub security_mirror: Option<String>,

    /// Snapshot archive, for packages that are no
    /// longer on the mirror
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "URL", env = "KUTH_DEBIAN_SNAPSHOT", hide_env_values = true)]
    pub snapshot: Option<String>,

    /// Accept package indexes past their Valid-Until
    /// date
    #[arg(verbatim_doc_comment)]
    #[arg(long, env = "KUTH_ALLOW_EXPIRED", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new())]
    pub allow_expired: bool,
}

impl Archive {
    /// Copies the options into the settings of a build. An empty variable counts as unset.
    pub fn apply_to(&self, settings: &mut Settings) {
        settings.mirror = self.mirror.clone().filter(|url| !url.is_empty());
        settings.security_mirror = self.security_mirror.clone().filter(|url| !url.is_empty());
        settings.snapshot = self.snapshot.clone().filter(|url| !url.is_empty());
        settings.allow_expired = self.allow_expired;
    }
}

/// `--driver`: `auto` or a driver's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Driver(&'static str);

impl Driver {
    const ALL: [Driver; DRIVER_WORDS.len()] = {
        let mut all = [Driver("auto"); DRIVER_WORDS.len()];
        let mut at = 0;
        while at < all.len() {
            all[at] = Driver(DRIVER_WORDS[at]);
            at += 1;
        }
        all
    };

    /// The driver's name in the settings of a build.
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl ValueEnum for Driver {
    fn value_variants<'a>() -> &'a [Driver] {
        &Driver::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0))
    }
}

/// `--message-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MessageFormat {
    /// For people.
    Human,
    /// For programs: one JSON object a line on standard output.
    Json,
    /// For the kuth that requested this build from another host.
    #[value(hide = true)]
    Wire,
}

/// `--on-error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    /// Remove the directory.
    Clean,
    /// Keep the directory.
    Keep,
    /// Keep the directory, and open a shell there or print how to enter it.
    Shell,
}

impl OnError {
    /// Whether the work directory of a failed stage is kept.
    pub fn keeps(self) -> bool {
        self != OnError::Clean
    }
}
