//! The file of the last builds of a pipeline, `cache/builds/PIPELINE.json`.

use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{BuildRecord, Builds};
use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::error::{Context, Hint, Result, anyhow, with_hint};

/// How many builds are kept.
pub const MOST: usize = 20;

/// The format of the file. Fields with a default may be added to it; whatever else changes raises it.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    builds: Vec<BuildRecord>,
}

/// What every version of the file has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The builds of `pipeline` that are kept; none if there is no file. Fails for a file of another
/// version, and for a damaged one.
pub fn read(cache: &Cache, pipeline: &str) -> Result<Builds> {
    let path = cache.builds(pipeline);
    match std::fs::read(&path) {
        Ok(text) => parse(&text, &path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Builds::default()),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

fn parse(text: &[u8], path: &Path) -> Result<Builds> {
    let remove = || format!("remove {}: only the record of earlier builds is lost", path.display());
    let what = || format!("{} cannot be read", path.display());
    let found: Versioned = serde_json::from_slice(text).with_context(what).hint(remove())?;
    if found.version != VERSION {
        let (path, version) = (path.display(), found.version);
        let error = anyhow!("{path} has format {version}, this kuth knows {VERSION}");
        return Err(with_hint(error, format!("use the kuth that wrote it, or {}", remove())));
    }
    let content: Content = serde_json::from_slice(text).with_context(what).hint(remove())?;
    Ok(Builds(content.builds))
}

/// Adds a build of `pipeline` to those that are kept, and returns them. Builds that end at the same
/// time wait for each other. Fails where [`read`] does.
pub fn add(cache: &Cache, pipeline: &str, build: BuildRecord) -> Result<Builds> {
    // Also for a build that was interrupted: it takes no time that anybody would notice.
    let _lock = cache.lock_builds(&Cancel::default())?;
    let mut builds = read(cache, pipeline)?.0;
    builds.push(build);
    builds.drain(..builds.len().saturating_sub(MOST));
    let content = Content { version: VERSION, builds };
    let text = serde_json::to_vec(&content).context("writing the record of a build")?;
    cache.write_aside(&cache.builds(pipeline), &text)?;
    Ok(Builds(content.builds))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{build, ran};
    use super::*;
    use crate::error::hints;

    fn cache() -> (tempfile::TempDir, Cache) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        (directory, cache)
    }

    #[test]
    fn the_last_builds_are_kept_and_read_back() {
        let (_directory, cache) = cache();
        assert_eq!(read(&cache, "p").unwrap(), Builds::default());
        for at in 0..MOST + 3 {
            let added = add(&cache, "p", build(vec![ran("a", &[], 0.25, at as f64)])).unwrap();
            assert_eq!(added, read(&cache, "p").unwrap());
        }
        let kept = read(&cache, "p").unwrap().0;
        let seconds: Vec<f64> = kept.iter().map(|build| build.stages[0].seconds).collect();
        assert_eq!(seconds, (3..MOST + 3).map(|at| at as f64).collect::<Vec<_>>());
        assert_eq!(read(&cache, "q").unwrap(), Builds::default());
    }

    #[test]
    fn files_of_other_versions_and_damaged_ones_stay_and_say_the_way_out() {
        let (_directory, cache) = cache();
        let path = cache.builds("p");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let remove = format!("remove {}: only the record", path.display());
        for (text, message) in [
            (r#"{"version":2,"builds":{}}"#, "has format 2, this kuth knows 1"),
            (r#"{"version":0,"builds":[]}"#, "has format 0, this kuth knows 1"),
            (r#"{"version":1,"builds":[{}]}"#, "cannot be read"),
            ("", "cannot be read"),
        ] {
            std::fs::write(&path, text).unwrap();
            let errors =
                [read(&cache, "p").unwrap_err(), add(&cache, "p", build(Vec::new())).unwrap_err()];
            for error in errors {
                assert!(error.to_string().contains(message), "{text}: {error:#}");
                assert!(hints(&error)[0].contains(&remove), "{text}: {:?}", hints(&error));
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    /// Pinned: an older file stays readable for as long as the version is the same.
    #[test]
    fn the_text_of_the_file_is_pinned() {
        let (_directory, cache) = cache();
        add(&cache, "p", build(vec![ran("a", &["b"], 0.5, 2.0)])).unwrap();
        let text = std::fs::read_to_string(cache.builds("p")).unwrap();
        let expected = r#"{"version":1,"builds":[{"began":1790000000,"seconds":3.5,"tool":"0.1.0","stages":[{"stage":"a","kind":"customise","inputs":["b"],"state":"done","begin":0.5,"seconds":2.0}]}]}"#;
        assert_eq!(text, expected);
    }
}
