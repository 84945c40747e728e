//! The index of a suite, verified, and kept in the cache under the digest of its `InRelease`, so that a
//! lock can name it and a changed request is answered as of the same day, without asking the network;
//! and apt, in directories of its own, to which kuth gives such indexes.

use std::path::PathBuf;

use super::Request;
use super::searched::SearchedSuite;
use super::solver::Solver;
use crate::artifact::Artifact;
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::lock::Date;
use crate::process::Command;
use crate::recipe::Recipe;
use crate::stage_context::StageContext;

/// The most bytes of a `Release` file: the one file of an index whose size is not known beforehand.
/// The lists of packages are limited to the sizes that it names.
pub(super) const MOST_RELEASE: u64 = 16 << 20;

/// An index in the cache.
#[derive(Clone, Debug)]
pub struct Index {
    /// The suite.
    pub suite: SearchedSuite,
    /// The SHA-256 of its `InRelease`.
    pub release: Digest,
    /// When it was made, if that is known.
    pub date: Option<Date>,
    /// A tar of apt's `lists` directory.
    pub lists: Artifact,
    /// What the medium is called that it is of, if it is of one.
    pub medium: Option<String>,
}

/// The recipe of an index.
pub(super) fn recipe(context: &StageContext, suite: &SearchedSuite, release: &Digest) -> Recipe {
    let mut recipe = Recipe::new("index", 1);
    recipe.value("architecture", &context.settings.architecture);
    recipe.value("suite", &suite.name);
    recipe.set("component", &suite.components);
    recipe.optional("repository", suite.repository.as_ref());
    recipe.value("release", release);
    recipe
}

/// An apt, and a directory with a configuration that keeps it away from everything of the host.
pub struct Apt {
    solver: Solver,
    directory: PathBuf,
}

impl Apt {
    /// Prepares the work directory of `context`, which has the lists, for these suites of `request`, each
    /// with the address of its archive.
    pub fn prepare(
        context: &StageContext,
        request: &Request,
        suites: &[(&SearchedSuite, String)],
    ) -> Result<Apt> {
        let solver = Solver::find(context, request)?;
        let directory = context.work.as_path();
        for name in ["lists/partial", "cache/archives/partial", "state", "etc"] {
            let path = directory.join(name);
            std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        }
        let apt = Apt { solver, directory: directory.to_path_buf() };
        let lines = suites.iter().map(|(suite, url)| suite.line(url));
        apt.write("etc/sources.list", &lines.collect::<String>())?;
        let pins = request.repositories.iter();
        let pins = pins.map(|it| it.preferences(&SearchedSuite::host(&it.url)));
        apt.write("etc/preferences", &pins.collect::<String>())?;
        apt.write("status", "")?;
        apt.write("etc/apt.conf", &apt.configuration(&context.settings.architecture))?;
        Ok(apt)
    }

    fn configuration(&self, architecture: &str) -> String {
        let at = |name: &str| self.directory.join(name).display().to_string();
        format!(
            "Dir \"/\";\nDir::State \"{state}\";\nDir::State::lists \"{lists}\";\n\
             Dir::State::status \"{status}\";\nDir::Cache \"{cache}\";\nDir::Log \"{state}\";\n\
             Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\n\
             Dir::Etc::sourcelist \"{sources}\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferences \"{preferences}\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
             Dir::Etc::trusted \"/dev/null\";\nDir::Etc::trustedparts \"/dev/null\";\n\
             APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n\
             APT::Install-Recommends \"false\";\nAPT::Sandbox::User \"root\";\n\
             Acquire::Languages \"none\";\nDebug::NoLocking \"true\";\n",
            state = at("state"),
            lists = at("lists"),
            status = at("status"),
            cache = at("cache"),
            sources = at("etc/sources.list"),
            preferences = at("etc/preferences"),
        )
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// The dpkg database that the solver takes for installed.
    pub fn status(&self) -> PathBuf {
        self.directory.join("status")
    }

    /// `apt-get` with this configuration alone.
    pub fn get(&self, context: &StageContext) -> Command {
        self.solver.command(context, &self.directory.join("etc/apt.conf"))
    }
}
