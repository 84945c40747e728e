//! Packages that are files, in place of an archive's: on this host, or made by another stage. apt
//! gets their paths beside the names that are asked for, so that it solves both together. The lock has
//! each with its digest, and the store of packages has their bytes, as those of an archive's packages.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::Request;
use super::medium::files::Files;
use super::solve::is_plain;
use crate::artifact::{Artifact, ArtifactKind};
use crate::digest::{Digest, HashingWriter};
use crate::error::{Context, Error, Hint, Result, anyhow, with_hint};
use crate::format::deb;
use crate::host_path::HostPath;
use crate::lock::{LockedPackages, Package};
use crate::stage_context::StageContext;

/// The directory, in the work directory, of the files that apt looks at.
const DIRECTORY: &str = "files";
/// How many names a message has.
const NAMED: usize = 8;

/// A file that is a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageFile {
    /// What the pipeline calls it.
    pub name: String,
    /// Where its bytes are.
    pub source: FileSource,
}

/// Where the bytes of a [`PackageFile`] are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileSource {
    /// On this host.
    Host(HostPath),
    /// The output of a stage, or a file in it.
    Output {
        /// The key of the input, which stands for the stage in a recipe.
        key: &'static str,
        /// The output; `None` where it is not built yet.
        artifact: Option<Artifact>,
        /// The path in an output that is a directory.
        path: Option<String>,
    },
}

impl PackageFile {
    /// What a recipe has of it before its stage is built: the digest, or which output it is.
    pub fn described(&self) -> Result<String> {
        match &self.source {
            FileSource::Host(path) => Ok(path.digest()?.to_string()),
            FileSource::Output { key, path: None, .. } => Ok(format!("of {key}")),
            FileSource::Output { key, path: Some(path), .. } => Ok(format!("of {key}: {path}")),
        }
    }

    /// The SHA-256. `None` where it is made by a stage and not in the cache.
    fn digest(&self, context: &StageContext) -> Result<Option<Digest>> {
        match &self.source {
            FileSource::Host(path) => path.digest().map(Some),
            FileSource::Output { artifact: None, .. } => Ok(None),
            FileSource::Output { artifact: Some(artifact), .. } => {
                if !context.cache.holds(artifact) {
                    return Ok(None);
                }
                match artifact.kind {
                    ArtifactKind::File => Ok(Some(artifact.digest)),
                    _ => self.write(context, &mut std::io::sink()).map(Some),
                }
            }
        }
    }

    /// Writes the bytes to `to`; their SHA-256.
    fn write(&self, context: &StageContext, to: &mut dyn std::io::Write) -> Result<Digest> {
        let mut to = HashingWriter::new(to);
        let what = || format!("reading {}", self.name);
        match &self.source {
            FileSource::Host(path) => {
                let mut file = File::open(path.as_path()).with_context(what)?;
                std::io::copy(&mut file, &mut to).with_context(what)?;
            }
            FileSource::Output { artifact, path, .. } => {
                let artifact = artifact.as_ref().context("its stage is not built yet")?;
                let object = context.object(artifact);
                if let Some(path) = path {
                    let mut files = Files::open(&object, artifact.kind).with_context(what)?;
                    if !files.copy(path, u64::MAX, &mut to).with_context(what)? {
                        return Err(self.missing(path, &mut files));
                    }
                } else {
                    let mut file = File::open(&object).with_context(what)?;
                    std::io::copy(&mut file, &mut to).with_context(what)?;
                }
            }
        }
        Ok(to.finish().1)
    }

    /// The error for a file that its stage did not make.
    fn missing(&self, path: &str, files: &mut Files) -> Error {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let names = files.names(directory).unwrap_or_default().into_iter();
        let names: Vec<String> =
            names.map(|(name, _)| name).filter(|name| name.ends_with(".deb")).take(NAMED).collect();
        let hint = match (names.is_empty(), directory) {
            (true, _) => "`path` starts at the top of the stage's output".to_string(),
            (false, "") => format!("the packages there are {}", names.join(", ")),
            (false, _) => format!("the packages in {directory} are {}", names.join(", ")),
        };
        with_hint(anyhow!("there is no file {}", self.name), hint)
    }

    /// Copies the file to `to` and reads what package it is.
    fn take(&self, context: &StageContext, to: &Path) -> Result<Package> {
        let what = || format!("writing {}", to.display());
        let mut file = File::create(to).with_context(what)?;
        let sha256 = self.write(context, &mut file)?;
        let size = file.metadata().with_context(what)?.len();
        if self.digest(context)? != Some(sha256) {
            return Err(self.changed());
        }
        let control = File::open(to)
            .and_then(deb::read)
            .with_context(|| format!("reading {}", self.name))
            .hint("give a whole package, as `dpkg-deb --build` makes it: `dpkg-deb --info FILE`")?;
        let deb::Control { name, version, architecture, .. } = control;
        if ![&name, &version, &architecture].into_iter().all(|text| is_plain(text)) {
            return Err(with_hint(
                anyhow!("{} has no valid name, version or architecture", self.name),
                "`dpkg-deb --info FILE` shows them",
            ));
        }
        let wanted = &context.settings.architecture;
        if architecture != "all" && architecture != *wanted {
            return Err(with_hint(
                anyhow!("{} is a package for {architecture}, not for {wanted}", self.name),
                format!("give the one for {wanted}, or for `all`"),
            ));
        }
        let path = self.name.clone();
        Ok(Package {
            name,
            version,
            architecture,
            sha256,
            size,
            path,
            essential: false,
            suite: None,
            repository: None,
            file: true,
        })
    }

    fn changed(&self) -> Error {
        with_hint(
            anyhow!("{} changed after it was hashed", self.name),
            "nothing was kept of this stage; build again once nothing writes there",
        )
    }
}

/// How the files of a request are in an entry of the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// As they are now, as far as they are known.
    Same,
    /// One of them is another; what the pipeline calls it.
    Other(String),
    /// One is made by a stage, and has to be there first.
    NeedsInputs,
}

/// Compares the files of `request` with those that `locked` has. A file of a stage that is not built
/// yet is compared once it is, as a medium is.
pub(super) fn compare(
    context: &StageContext,
    request: &Request,
    locked: &LockedPackages,
) -> Result<Comparison> {
    for file in &request.files {
        if let FileSource::Output { artifact: None, .. } = file.source {
            continue;
        }
        let Some(digest) = file.digest(context)? else { return Ok(Comparison::NeedsInputs) };
        if !locked.packages.iter().any(|package| package.file && package.sha256 == digest) {
            return Ok(Comparison::Other(file.name.clone()));
        }
    }
    Ok(Comparison::Same)
}

/// The digests of `files`, in their order. `None` where one is made by a stage and not in the cache.
pub(super) fn digests(
    context: &StageContext,
    files: &[PackageFile],
) -> Result<Option<Vec<Digest>>> {
    files.iter().map(|file| file.digest(context)).collect()
}

/// Copies `files` to where apt can look at them: their paths, and the packages that they are.
pub(super) fn offer(
    context: &StageContext,
    files: &[PackageFile],
) -> Result<Vec<(PathBuf, Package)>> {
    let directory = context.scratch(DIRECTORY);
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("making {}", directory.display()))?;
    let mut taken: Vec<(PathBuf, Package)> = Vec::new();
    for (at, file) in files.iter().enumerate() {
        context.cancel.check()?;
        // apt takes what ends so for a file.
        let path = directory.join(format!("{at}.deb"));
        let package = file.take(context, &path)?;
        if let Some((_, other)) = taken.iter().find(|(_, other)| other.name == package.name) {
            return Err(with_hint(
                anyhow!("{} and {} are both the package {}", other.path, file.name, package.name),
                "leave one of them out",
            ));
        }
        taken.push((path, package));
    }
    Ok(taken)
}

/// Puts the files among `packages` into the store of packages, from where they are installed. They
/// must be those that were locked.
pub fn store(context: &StageContext, files: &[PackageFile], packages: &[Package]) -> Result<()> {
    for package in packages.iter().filter(|package| package.file) {
        if context.cache.stored_package(&package.sha256, package.size)?.is_whole() {
            continue;
        }
        let mut found = None;
        for file in files {
            if file.digest(context)? == Some(package.sha256) {
                found = Some(file);
            }
        }
        let file = found.ok_or_else(|| {
            with_hint(
                anyhow!("no file of the pipeline is the locked package {package}"),
                "`kuth update PIPELINE` takes the files that there are now",
            )
        })?;
        let (aside, place) =
            (context.scratch("package.deb"), context.cache.package(&package.sha256));
        let what = || format!("writing {}", place.display());
        if file.write(context, &mut File::create(&aside).with_context(what)?)? != package.sha256 {
            return Err(file.changed());
        }
        let directory = place.parent().context("a package has a directory")?;
        std::fs::create_dir_all(directory).with_context(what)?;
        std::fs::rename(&aside, &place).with_context(what)?;
    }
    Ok(())
}
