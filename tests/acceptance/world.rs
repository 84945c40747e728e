//! The image that most tests look at, built once, and copies of its project and cache for tests
//! that change something.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::tools::tool;
use kuth_test_support::base::{RESULTS, collect_packages, lend_packages};
use kuth_test_support::project::Project;
use kuth_test_support::run::Run;
use kuth_test_support::target_tmp;

/// The pipeline of the repository.
pub const DEBIAN: &str = "pipelines/debian.toml";

/// The first build of [`DEBIAN`].
#[derive(Debug)]
pub struct World {
    /// Where it was built; nothing here is changed afterwards.
    pub project: Project,
    /// What the first build told.
    pub first: Run,
}

static WORLD: OnceLock<Result<World, String>> = OnceLock::new();

/// The image, built by whoever asks first.
pub fn world() -> &'static World {
    WORLD.get_or_init(World::new).as_ref().unwrap_or_else(|why| panic!("the first build: {why}"))
}

static HOME: OnceLock<PathBuf> = OnceLock::new();

fn keeps() -> bool {
    std::env::var_os("KUTH_KEEP_WORLD").is_some()
}

/// The directory of all this, in the file system of the target directory; empty at first.
fn home() -> &'static Path {
    HOME.get_or_init(|| {
        let home = target_tmp().join("acceptance");
        if !keeps() {
            tool("rm", &["-rf", home.to_str().unwrap()]);
        }
        std::fs::create_dir_all(&home).unwrap();
        home
    })
}

/// A directory for one test; its name says which.
pub fn directory(name: &str) -> tempfile::TempDir {
    tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(home()).unwrap()
}

/// Copies what is below `from` to `to`, a directory that does not exist.
fn copy(options: &[&str], from: &Path, to: &Path) {
    tool("cp", &[options, &[from.to_str().unwrap(), to.to_str().unwrap()]].concat());
}

/// The repository's pipelines and data, without a lock.
pub fn checkout(project: &Project) {
    std::fs::create_dir_all(&project.root).unwrap();
    for name in ["pipelines", "data"] {
        copy(&["-r"], &kuth_test_support::checkout().join(name), &project.root.join(name));
    }
    let _ = std::fs::remove_file(project.root.join("pipelines/debian.lock"));
}

impl World {
    fn new() -> Result<World, String> {
        let (place, told) = (home().join("world"), home().join("world/first.jsonl"));
        let project = Project::at(&place);
        if keeps()
            && let Ok(out) = std::fs::read_to_string(&told)
        {
            return Ok(World { project, first: Run::of_output(out) });
        }
        std::fs::create_dir_all(&place).map_err(|error| error.to_string())?;
        checkout(&project);
        lend_packages(&project.cache);
        let first = project.build(&[DEBIAN]);
        collect_packages(&project.cache);
        eprintln!("first build: {:?}", first.wall);
        if first.status != 0 {
            return Err(format!("exit status {}\n{}", first.status, first.err));
        }
        std::fs::write(&told, &first.out).map_err(|error| error.to_string())?;
        Ok(World { project, first })
    }

    /// A project like this one in a directory of its own, with the lock but no results; `packages`
    /// of the cache come along, so that nothing has to be downloaded.
    pub fn with_packages(&self, name: &str) -> Project {
        let project = Project::within(directory(name));
        copy(&["-r"], &self.project.root, &project.root);
        project.take(&self.project.cache, &["packages"]);
        project
    }

    /// A project like this one in a directory of its own, with all results and machines.
    pub fn fork(&self, name: &str) -> Project {
        let project = self.with_packages(name);
        project.take(&self.project.cache, &RESULTS);
        copy(&["-a", "--sparse=always"], &self.project.machines, &project.machines);
        project
    }
}
