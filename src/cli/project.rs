//! What a command works on: the checked pipeline, the settings of a build, the lock file and the
//! cache. Knows no subcommand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::options::{Building, Source};
use crate::cache::Cache;
use crate::engine::locked;
use crate::engine::plan::{Plan, Ready};
use crate::error::{Context, Error, Misuse, Result, anyhow, with_hint};
use crate::lock::LockFile;
use crate::machine::RunState;
use crate::pipeline::{self, Environment, Kinds, Override, suggest};
use crate::stage::{Settings, Table};
use crate::virtualbox;

/// The time to which all times in results are clamped, unless `SOURCE_DATE_EPOCH` is set: the first
/// second of 2026, in seconds since 1970.
const EPOCH: u64 = 1_767_225_600;

/// A pipeline that can be built, planned or explained.
pub struct Project {
    /// The pipeline, without errors.
    pub pipeline: Ready,
    /// The settings of a build.
    pub settings: Settings,
    /// The lock file.
    pub lock: LockFile,
    cache: PathBuf,
}

impl Project {
    /// Reads the pipeline and its lock file.
    pub fn open(source: &Source) -> Result<Project> {
        Project::of(load(&source.pipeline, &source.vars, &Table)?, source)
    }

    fn of(pipeline: Ready, source: &Source) -> Result<Project> {
        let root = absolute(&pipeline.root)?;
        let output = source.output.clone().unwrap_or_else(|| root.join("out"));
        let settings = Settings {
            architecture: architecture().to_string(),
            epoch: epoch()?,
            pipeline: pipeline.name.clone(),
            mirror: None,
            security_mirror: None,
            snapshot: None,
            allow_expired: false,
            offline: false,
            locked: false,
            output: absolute(&output)?.join(&pipeline.name),
            machines: machines(&root)?,
            driver: source.driver.map(|driver| driver.name().to_string()),
            driver_commands: driver_commands(source.vboxmanage.as_deref()),
            run_state: RunState::default(),
            replace: false,
            allow_host_tests: false,
            keep_failed: false,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            root: root.clone(),
        };
        let cache = source.cache.clone().unwrap_or_else(|| root.join("cache"));
        let lock = LockFile::open(&LockFile::beside(&pipeline.path))?;
        Ok(Project { pipeline, settings, lock, cache })
    }

    /// Reads the pipeline and applies the options of a build.
    pub fn open_to_build(building: &Building) -> Result<Project> {
        let mut project = Project::open(&building.source)?;
        let settings = &mut project.settings;
        building.archive.apply_to(settings);
        settings.offline = building.offline;
        settings.locked = building.locked;
        settings.replace = building.replace;
        settings.allow_host_tests = building.allow_host_tests;
        settings.keep_failed = building.on_error.keeps();
        settings.jobs = building.jobs.map_or(settings.jobs, usize::from);
        if !building.rebuild.is_empty() {
            // Refuses a stage that does not exist, with the same message as for a target.
            Plan::new(&project.pipeline, &building.rebuild)?;
        }
        Ok(project)
    }

    /// Uses another cache directory.
    pub fn set_cache_directory(&mut self, directory: &Path) {
        self.cache = directory.to_path_buf();
    }

    /// Opens the cache.
    pub fn cache(&self) -> Result<Arc<Cache>> {
        Ok(Arc::new(Cache::open(&self.cache)?))
    }

    /// With `--locked`, fails if the lock file lacks something that `plan` needs. Called before
    /// anything is run.
    pub fn check_lock(&self, plan: &Plan<'_>, cache: &Arc<Cache>) -> Result<()> {
        if !self.settings.locked {
            return Ok(());
        }
        let unlocked = locked::unlocked(plan, cache, &self.settings, &self.lock);
        if unlocked.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = unlocked.iter().map(|error| format!("{error:#}")).collect();
        let (lock, pipeline) = (self.lock.path().display(), self.pipeline.path.display());
        let what = match self.lock.path().exists() {
            true => format!("{lock} lacks entries that {pipeline} needs"),
            false => format!("{pipeline} has no lock file: {lock} does not exist"),
        };
        Err(with_hint(
            anyhow!("{}", lines.join("\n")).context(what),
            format!(
                "`kuth update {pipeline}` updates it; a build without `--locked` adds what is \
                 missing"
            ),
        ))
    }
}

/// The text of the pipeline file at `path`. A usage error if it cannot be read.
pub fn text(path: &Path) -> Result<String> {
    match std::fs::read_to_string(path) {
        Ok(source) => Ok(source),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(no_such_pipeline(path, &pipelines_around(path)))
        }
        Err(error) if path.is_dir() => {
            drop(error);
            let misuse = Misuse(format!("{} is a directory, not a pipeline file", path.display()));
            Err(Error::new(misuse))
        }
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            let what = format!("{} is not text in UTF-8", path.display());
            Err(with_hint(Error::new(Misuse(what)), NOT_UTF8))
        }
        Err(error) => {
            let misuse = Misuse(format!("{} cannot be read: {error}", path.display()));
            Err(Error::new(misuse))
        }
    }
}

/// Reads and checks the pipeline file at `path`.
pub fn load<K: Kinds>(
    path: &Path,
    vars: &[Override],
    kinds: &K,
) -> Result<pipeline::Pipeline<K::Stage>> {
    load_with(path, vars, kinds, &|name| std::env::var(name).ok())
}

const NOT_UTF8: &str = "save it as UTF-8; programs of Windows may write UTF-16, which `iconv -f UTF-16 -t \
                        UTF-8 FILE` converts";

/// [`load`] with a given environment.
pub fn load_with<K: Kinds>(
    path: &Path,
    vars: &[Override],
    kinds: &K,
    environment: Environment<'_>,
) -> Result<pipeline::Pipeline<K::Stage>> {
    let source = text(path)?;
    let path = &follow_links(path, &absolute(Path::new("."))?);
    Ok(pipeline::load(path, &source, vars, environment, kinds)?)
}

/// The pipeline file at `path`, relative to the directory `here`; links into another project are
/// followed.
fn follow_links(path: &Path, here: &Path) -> PathBuf {
    let path = through_root(path, here);
    let meant = pipeline::resolved(&path);
    match meant.strip_prefix(here) {
        Ok(below) if meant != path => through_root(below, here),
        _ => meant,
    }
}

/// `path`, a file relative to the directory `here`, written so that it shows its project's root:
/// inside `pipelines/`, `x.toml` becomes `../pipelines/x.toml`.
fn through_root(path: &Path, here: &Path) -> PathBuf {
    let whole = here.join(path);
    let root = pipeline::project_root(&whole);
    let shown = here.join(pipeline::project_root(path));
    // Compared by components, so `here/.` is `here`.
    match (here.strip_prefix(&root), whole.strip_prefix(&root)) {
        (Ok(below), Ok(rest)) if shown != root => {
            let up = below.components().map(|_| "..");
            up.collect::<PathBuf>().join(rest)
        }
        _ => path.to_path_buf(),
    }
}

fn no_such_pipeline(path: &Path, around: &[String]) -> Error {
    let error = Error::new(Misuse(format!("there is no pipeline file {}", path.display())));
    let known: Vec<&str> = around.iter().map(String::as_str).collect();
    let word = path.display().to_string();
    // A bare name is completed to the file of that name.
    let named = |known: &&&str| Path::new(known).file_stem() == Some(path.as_os_str());
    let hint = match known.iter().find(named) {
        Some(meant) => Some(format!("did you mean `{meant}`?")),
        None => suggest::hint(&word, &known, "the pipelines here are"),
    };
    let hint = hint.unwrap_or_else(|| "create one with `kuth init`".to_string());
    with_hint(error, hint)
}

/// The pipeline files in the directory of `path` and in `pipelines/`, sorted.
fn pipelines_around(path: &Path) -> Vec<String> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut directories = vec![PathBuf::from("pipelines")];
    if directory != Path::new("") {
        directories.push(directory.to_path_buf());
    }
    let mut found: Vec<String> = directories
        .iter()
        .filter_map(|directory| std::fs::read_dir(directory).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| path.display().to_string())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The pipeline files in `pipelines` of the nearest directory from here upwards that has one,
/// sorted.
pub fn pipelines() -> Result<Vec<PathBuf>> {
    let here = absolute(Path::new("."))?;
    let directory =
        here.ancestors().map(|it| it.join("pipelines")).find(|directory| directory.is_dir());
    let shown = |path: PathBuf| path.strip_prefix(&here).map_or(path.clone(), Path::to_path_buf);
    let entries = directory.and_then(|directory| std::fs::read_dir(directory).ok());
    let paths = entries.into_iter().flatten().flatten().map(|entry| shown(entry.path()));
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    Ok(files)
}

/// Debian's name of this host's architecture.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The time to which all times in results are clamped, in seconds since 1970.
pub fn epoch() -> Result<u64> {
    epoch_of(std::env::var("SOURCE_DATE_EPOCH").ok())
}

fn epoch_of(given: Option<String>) -> Result<u64> {
    let Some(given) = given.filter(|given| !given.is_empty()) else { return Ok(EPOCH) };
    given.parse().map_err(|_| {
        Error::new(Misuse(format!("SOURCE_DATE_EPOCH is not a number of seconds: `{given}`")))
    })
}

/// The command lines of drivers' own tools, by driver.
pub fn driver_commands(vboxmanage: Option<&str>) -> BTreeMap<String, String> {
    let given = vboxmanage.map(|command| (virtualbox::NAME.to_string(), command.to_string()));
    given.into_iter().collect()
}

/// The directory of the embedded driver's machines; in `root` if the user has no home directory.
pub fn machines(root: &Path) -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let directory = set("KUTH_MACHINES")
        .map(PathBuf::from)
        .or_else(|| set("XDG_DATA_HOME").map(|data| Path::new(&data).join("kuth/machines")))
        .or_else(|| set("HOME").map(|home| Path::new(&home).join(".local/share/kuth/machines")))
        .unwrap_or_else(|| root.join("machines"));
    absolute(&directory)
}

/// The cache directory of a command without a pipeline: `given`, else `cache` in the nearest
/// directory from here upwards that contains `pipelines`, else here.
pub fn cache_directory(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(given) = given {
        return absolute(given);
    }
    let here = absolute(Path::new("."))?;
    let root = here.ancestors().find(|directory| directory.join("pipelines").is_dir());
    Ok(root.unwrap_or(&here).join("cache"))
}

/// The cache in the directory `given`, else that of the project with this root; `None` if there is
/// none. Reading must not create one.
pub fn existing_cache(given: Option<&Path>, root: &Path) -> Result<Option<Cache>> {
    let directory = given.map_or_else(|| root.join("cache"), Path::to_path_buf);
    match directory.join("version").is_file() {
        true => Cache::open(&directory).map(Some),
        false => Ok(None),
    }
}

/// The root of the project that contains the working directory.
pub fn root_here() -> Result<PathBuf> {
    let here = absolute(Path::new("."))?;
    let marks = |directory: &&Path| {
        directory.join(pipeline::project_file::NAME).is_file()
            || directory.join("pipelines").is_dir()
    };
    Ok(here.ancestors().find(marks).unwrap_or(&here).to_path_buf())
}

/// `path` as an absolute path, whether or not it exists.
fn absolute(path: &Path) -> Result<PathBuf> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    std::path::absolute(path).with_context(|| format!("resolving {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::hints;

    #[test]
    fn source_date_epoch_is_validated() {
        assert_eq!(epoch_of(None).unwrap(), EPOCH);
        assert_eq!(epoch_of(Some(String::new())).unwrap(), EPOCH);
        assert_eq!(epoch_of(Some("1".into())).unwrap(), 1);
        assert!(epoch_of(Some("today".into())).is_err());
    }

    #[test]
    fn paths_show_the_project_root() {
        for (path, here, expected) in [
            ("x.toml", "/p/pipelines", "../pipelines/x.toml"),
            ("x.toml", "/p/pipelines/a", "../../pipelines/a/x.toml"),
            ("../x.toml", "/p/pipelines/a", "../../pipelines/a/../x.toml"),
            ("x.toml", "/p", "x.toml"),
            ("pipelines/x.toml", "/p", "pipelines/x.toml"),
            ("../p/pipelines/x.toml", "/q", "../p/pipelines/x.toml"),
            ("/p/pipelines/x.toml", "/q", "/p/pipelines/x.toml"),
        ] {
            let found = through_root(Path::new(path), Path::new(here));
            assert_eq!(found, Path::new(expected), "{path} in {here}");
        }
    }

    #[test]
    fn a_missing_pipeline_suggests_existing_ones() {
        let around = ["pipelines/debian.toml".to_string(), "pipelines/web.toml".to_string()];
        for (path, hint) in [
            ("debian", "did you mean `pipelines/debian.toml`?"),
            ("pipelines/debain.toml", "did you mean `pipelines/debian.toml`?"),
            ("zzz", "the pipelines here are `pipelines/debian.toml` and `pipelines/web.toml`"),
        ] {
            let error = no_such_pipeline(Path::new(path), &around);
            assert_eq!(hints(&error), [hint], "{path}");
        }
        let error = no_such_pipeline(Path::new("x"), &[]);
        assert_eq!(hints(&error), ["create one with `kuth init`"]);
    }
}
