//! The files of a project that are sent to a build host.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::cancel::Cancel;
use crate::cli::project::Project;
use crate::error::{Context, Result};
use crate::lock::LockFile;
use crate::pipeline::project_file;
use crate::process::Command;

/// Directories in the project's root that are not sent without git.
const NOT_SOURCES: [&str; 3] = [".git", "cache", "out"];

/// The files, relative to the project's root and sorted: those that git tracks or would add, and the
/// pipeline, the lock file and the project file in any case.
pub fn list(project: &Project, log: &Path, cancel: &Cancel) -> Result<Vec<PathBuf>> {
    let root = &project.settings.root;
    let pipeline = std::path::absolute(&project.pipeline.path).context("finding the pipeline")?;
    let always = [&pipeline, &LockFile::beside(&pipeline), &root.join(project_file::NAME)];
    let always = always.into_iter().filter_map(|path| path.strip_prefix(root).ok());
    let mut files: BTreeSet<PathBuf> = always.map(Path::to_path_buf).collect();
    let git = Command::new("git").arg("-C").arg(root).inherit(&["HOME", "GIT_*"]);
    let git = git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    match git.run(log, cancel) {
        Ok(names) => {
            let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
            files.extend(names.map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(name))));
        }
        Err(error) => {
            cancel.check().map_err(|_| error)?;
            walk(root, Path::new(""), &mut files)?;
        }
    }
    // A tracked file may be deleted; a submodule is a directory.
    let is_file = |path: &PathBuf| root.join(path).symlink_metadata().is_ok_and(|it| !it.is_dir());
    Ok(files.into_iter().filter(is_file).collect())
}

fn walk(root: &Path, directory: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    let path = root.join(directory);
    let what = || format!("reading {}", path.display());
    for entry in std::fs::read_dir(&path).with_context(what)? {
        let entry = entry.with_context(what)?;
        let name = directory.join(entry.file_name());
        let is_source =
            directory != Path::new("") || !NOT_SOURCES.iter().any(|it| name == Path::new(it));
        match entry.file_type().with_context(what)? {
            kind if kind.is_dir() && is_source => walk(root, &name, files)?,
            kind if kind.is_file() || kind.is_symlink() => drop(files.insert(name)),
            _ => {}
        }
    }
    Ok(())
}
