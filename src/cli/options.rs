//! Options that several subcommands share, and what their values may be.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};

use crate::pipeline::Override;
use crate::stage::Settings;

/// Which pipeline, and where its results lie.
#[derive(Args, Debug)]
pub struct Source {
    /// The pipeline file, as pipelines/debian.toml
    pub pipeline: PathBuf,

    /// Set a variable of the pipeline
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub vars: Vec<Override>,

    /// Where results are kept [default: `cache`
    /// beside `pipelines`]
    #[arg(long, value_name = "DIR", env = "KUTH_CACHE", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    pub cache: Option<PathBuf>,

    /// Where exports go, a directory a pipeline
    /// [default: `out` beside `pipelines`]
    #[arg(long, value_name = "DIR", verbatim_doc_comment)]
    pub output: Option<PathBuf>,

    /// Who keeps the machines: auto, virtualbox or
    /// qemu [default: what the pipeline says]
    #[arg(long, value_enum, hide_possible_values = true, verbatim_doc_comment)]
    pub driver: Option<Driver>,

    /// The command line of VirtualBox's VBoxManage
    /// [default: VBoxManage]
    #[arg(long, value_name = "CMD", env = "KUTH_VBOXMANAGE", hide_env_values = true)]
    #[arg(verbatim_doc_comment)]
    pub vboxmanage: Option<String>,
}

/// How to build.
#[derive(Args, Debug)]
pub struct Building {
    #[command(flatten)]
    pub source: Source,

    /// What to build, with what it needs
    /// [default: what the pipeline says]
    #[arg(value_name = "STAGE", verbatim_doc_comment)]
    pub stages: Vec<String>,

    /// How much to do at once
    /// [default: the number of processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    #[arg(verbatim_doc_comment)]
    pub jobs: Option<u16>,

    /// Fail rather than change the lock file
    #[arg(long)]
    pub locked: bool,

    /// Use no network
    #[arg(long)]
    pub offline: bool,

    /// Leave with the remote cache what nothing here
    /// has to eat
    #[arg(long, verbatim_doc_comment)]
    pub no_fetch: bool,

    /// Run this stage although its result is there
    #[arg(long, value_name = "STAGE")]
    pub rebuild: Vec<String>,

    #[command(flatten)]
    pub archive: Archive,

    /// human, or json for programs: an object a line
    /// on standard output [default: human]
    #[arg(long, value_name = "FORM", value_enum, default_value_t = MessageFormat::Human)]
    #[arg(hide_default_value = true, hide_possible_values = true, verbatim_doc_comment)]
    pub message_format: MessageFormat,

    /// What becomes of the directory of a failed stage:
    /// clean, keep or shell
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnError::Clean)]
    #[arg(hide_possible_values = true, verbatim_doc_comment)]
    pub on_error: OnError,

    /// Replace machines that hold state of their own
    #[arg(long)]
    pub replace: bool,
}

/// Where packages come from.
#[derive(Args, Debug)]
pub struct Archive {
    /// The mirror to take packages from
    /// [default: apt's]
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "URL", env = "KUTH_DEBIAN_MIRROR", hide_env_values = true)]
    pub mirror: Option<String>,

    /// An archive of old packages, for those that left
    /// the mirror
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "URL", env = "KUTH_DEBIAN_SNAPSHOT", hide_env_values = true)]
    pub snapshot: Option<String>,

    /// Take package indexes past their Valid-Until
    /// date
    #[arg(verbatim_doc_comment)]
    #[arg(long, env = "KUTH_ALLOW_EXPIRED", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new())]
    pub allow_expired: bool,
}

impl Archive {
    /// Writes it into the settings of a build. An empty variable is none.
    pub fn tell(&self, settings: &mut Settings) {
        settings.mirror = self.mirror.clone().filter(|url| !url.is_empty());
        settings.snapshot = self.snapshot.clone().filter(|url| !url.is_empty());
        settings.allow_expired = self.allow_expired;
    }
}

/// `--driver`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// VirtualBox if its VBoxManage answers, else the embedded one.
    Auto,
    /// VirtualBox.
    Virtualbox,
    /// The embedded driver.
    Qemu,
}

impl Driver {
    /// The word as the settings of a build have it.
    pub fn word(self) -> &'static str {
        match self {
            Driver::Auto => "auto",
            Driver::Virtualbox => "virtualbox",
            Driver::Qemu => "qemu",
        }
    }
}

/// `--message-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MessageFormat {
    /// For people.
    Human,
    /// For programs: one JSON object a line on standard output.
    Json,
    /// For a kuth that asked for this build from another machine.
    #[value(hide = true)]
    Wire,
}

/// `--on-error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    /// The directory goes.
    Clean,
    /// The directory stays.
    Keep,
    /// The directory stays, for somebody to look around in.
    Shell,
}

impl OnError {
    /// Whether the directory of a stage that failed stays.
    pub fn keeps(self) -> bool {
        self != OnError::Clean
    }
}
