//! Freeing disk space: the least recently used results, packages and layers are removed first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::upkeep::{Entry, allocated, files_below, name_as_digest};
use super::{Cache, layers, used};
use crate::digest::Digest;
use crate::error::{Context, Result, anyhow};
use crate::files::{self, Lock};
use crate::units::Bytes;

/// What [`clean`] may remove; by default everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Remove results, packages and layers that were not used for longer than this.
    pub older_than: Option<Duration>,
    /// Remove the least recently used ones until the whole cache fits in this.
    pub max_size: Option<Bytes>,
}

/// What [`clean`] removed.
#[derive(Clone, Debug, Default)]
pub struct Cleaned {
    /// Results, in the order of their removal.
    pub results: Vec<Entry>,
    /// How many packages.
    pub packages: usize,
    /// How many layers.
    pub layers: usize,
    /// Bytes of disk that were freed.
    pub freed: Bytes,
}

/// Makes room in the cache in `directory`: removes objects no record names, scratch that killed
/// processes left (with `remove`), and what `limits` say; without limits, everything. Refuses
/// while a build uses the cache.
pub fn clean(
    directory: &Path,
    limits: Limits,
    remove: impl Fn(&Path) -> std::io::Result<()>,
) -> Result<Cleaned> {
    let locks = directory.join("locks");
    if !locks.is_dir() {
        return Ok(Cleaned::default());
    }
    let Some(alone) = Lock::try_exclusive(&locks.join("cache"))? else {
        return Err(crate::error::with_hint(
            anyhow!("the cache {} is in use by another kuth", directory.display()),
            "wait until that build has ended, then run `kuth cache clean` again",
        ));
    };
    let work = directory.join("work");
    files::sweep(&work, &remove)?;
    // The cache is not in use, so what is left was kept on purpose (`--on-error keep`).
    let everything = limits.older_than.is_none() && limits.max_size.is_none();
    let kept = if everything { std::fs::read_dir(&work).ok() } else { None };
    for kept in kept.into_iter().flatten().flatten() {
        let path = kept.path();
        let is_directory = kept.file_type().is_ok_and(|kind| kind.is_dir());
        if is_directory { remove(&path) } else { std::fs::remove_file(&path) }
            .with_context(|| format!("removing {}", path.display()))?;
    }
    // The lock is this process's own; opening shares it through another handle after this drops.
    drop(alone);
    let cache = Cache::open(directory)?;
    let before = cache.sizes()?.total();
    let cleaned = match limits {
        Limits { older_than: None, max_size: None } => cache.remove_all(&remove)?,
        limits => cache.remove_by(limits, &remove)?,
    };
    // What killed processes left of some.
    cache.limit_layers(super::layers::MOST, &remove)?;
    let after = cache.sizes()?.total();
    Ok(Cleaned { freed: Bytes(before.0.saturating_sub(after.0)), ..cleaned })
}

/// Something that may be removed.
enum Candidate {
    Result(Box<Entry>),
    Package(PathBuf, SystemTime),
    Layer(layers::Entry),
}

impl Candidate {
    fn used(&self) -> SystemTime {
        match self {
            Candidate::Result(entry) => entry.used,
            Candidate::Package(_, used) => *used,
            Candidate::Layer(entry) => entry.used,
        }
    }
}

impl Cache {
    fn remove_all(&self, remove_tree: impl Fn(&Path) -> std::io::Result<()>) -> Result<Cleaned> {
        let results = self.entries()?;
        let packages = files_below(&self.directory().join("packages"))?.len();
        for name in ["records", "latest", "builds", "objects", "packages", "logs", "downloads"] {
            for file in files_below(&self.directory().join(name))? {
                remove(&file)?;
            }
        }
        let mut layers = 0;
        for layer in self.layer_entries()? {
            layers += usize::from(self.remove_layer(&layer.key, &remove_tree)?);
        }
        Ok(Cleaned { results, packages, layers, ..Cleaned::default() })
    }

    /// Removes the least recently used results, packages and layers while `limits` ask for it, and
    /// objects that no record names.
    fn remove_by(
        &self,
        limits: Limits,
        remove_tree: impl Fn(&Path) -> std::io::Result<()>,
    ) -> Result<Cleaned> {
        let results = self.entries()?;
        // How many records name an object: it goes with the last of them.
        let mut named: BTreeMap<Digest, usize> = BTreeMap::new();
        for entry in &results {
            *named.entry(entry.record.output.digest).or_default() += 1;
        }
        for file in files_below(&self.directory().join("objects"))? {
            if !name_as_digest(&file).is_some_and(|digest| named.contains_key(&digest)) {
                remove(&file)?;
            }
        }
        let packages = files_below(&self.directory().join("packages"))?;
        let packages =
            packages.into_iter().map(|path| Candidate::Package(path.clone(), used(&path)));
        let layers = self.layer_entries()?.into_iter().map(Candidate::Layer);
        let results = results.into_iter().map(Box::new).map(Candidate::Result);
        let mut candidates: Vec<Candidate> = results.chain(packages).chain(layers).collect();
        candidates.sort_by_key(Candidate::used);
        let mut total = self.sizes()?.total();
        let now = SystemTime::now();
        let mut cleaned = Cleaned::default();
        for candidate in candidates {
            let age = now.duration_since(candidate.used()).unwrap_or_default();
            let too_old = limits.older_than.is_some_and(|limit| age > limit);
            let too_much = limits.max_size.is_some_and(|limit| total > limit);
            // All others were used later.
            if !too_old && !too_much {
                break;
            }
            match candidate {
                Candidate::Result(entry) => {
                    self.forget(&entry.key)?;
                    let output = &entry.record.output;
                    let names = named.entry(output.digest).and_modify(|names| *names -= 1);
                    if *names.or_default() == 0
                        && let Some(size) = entry.allocated
                    {
                        remove(&self.object(output))?;
                        total = Bytes(total.0.saturating_sub(size.0));
                    }
                    cleaned.results.push(*entry);
                }
                Candidate::Package(path, _) => {
                    let size = allocated(&path).unwrap_or(Bytes(0));
                    remove(&path)?;
                    total = Bytes(total.0.saturating_sub(size.0));
                    cleaned.packages += 1;
                }
                Candidate::Layer(entry) => {
                    if self.remove_layer(&entry.key, &remove_tree)? {
                        total = Bytes(total.0.saturating_sub(entry.allocated.0));
                        cleaned.layers += 1;
                    }
                }
            }
        }
        Ok(cleaned)
    }
}

fn remove(file: &Path) -> Result<()> {
    std::fs::remove_file(file).with_context(|| format!("removing {}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::cache::upkeep::tests::filled;

    #[test]
    fn only_cleaning_without_limits_removes_kept_directories() {
        let directory = tempfile::tempdir().unwrap();
        drop(filled(directory.path()));
        let scratch = Cache::open(directory.path()).unwrap().scratch().unwrap();
        let kept = scratch.keep();
        std::fs::create_dir_all(kept.join("root/etc")).unwrap();
        let limits = Limits { max_size: Some(Bytes(0)), older_than: None };
        clean(directory.path(), limits, files::remove_tree).unwrap();
        assert!(kept.exists());
        clean(directory.path(), Limits::default(), files::remove_tree).unwrap();
        assert!(!kept.exists());
    }

    #[test]
    fn cleaning_refuses_while_the_cache_is_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let (cache, objects) = filled(directory.path());
        let error = clean(directory.path(), Limits::default(), files::remove_tree).unwrap_err();
        assert!(error.to_string().contains("in use by another kuth"));
        drop(cache);
        let cleaned = clean(directory.path(), Limits::default(), files::remove_tree).unwrap();
        assert_eq!(cleaned.results.len(), 2);
        assert!(objects.iter().all(|object| !object.exists()));
    }

    /// A cache with the results `a` and `b` and a package, used so many hours ago.
    fn used_before(directory: &Path, hours: [u64; 3]) -> [PathBuf; 3] {
        let (cache, objects) = filled(directory);
        let package = cache.package(&Digest::of("package"));
        std::fs::create_dir_all(package.parent().unwrap()).unwrap();
        std::fs::write(&package, "package").unwrap();
        let records = objects.iter().map(|object| {
            let entries = cache.entries().unwrap();
            let entry = entries.into_iter().find(|it| cache.object(&it.record.output) == *object);
            cache.record(&entry.unwrap().key)
        });
        for (path, hours) in records.chain([package.clone()]).zip(hours) {
            let used = SystemTime::now() - Duration::from_secs(hours * 3600);
            File::options().append(true).open(path).unwrap().set_modified(used).unwrap();
        }
        [objects[0].clone(), objects[1].clone(), package]
    }

    fn left(limits: Limits, hours: [u64; 3]) -> ([bool; 3], Cleaned) {
        let directory = tempfile::tempdir().unwrap();
        let files = used_before(directory.path(), hours);
        let cleaned = clean(directory.path(), limits, files::remove_tree).unwrap();
        (files.map(|file| file.exists()), cleaned)
    }

    #[test]
    fn a_size_limit_removes_the_least_recently_used() {
        let directory = tempfile::tempdir().unwrap();
        used_before(directory.path(), [9, 1, 5]);
        let total = Cache::open(directory.path()).unwrap().sizes().unwrap().total();
        let limit = |less| Limits { max_size: Some(Bytes(total.0 - less)), older_than: None };
        let (there, cleaned) = left(limit(1), [9, 1, 5]);
        assert_eq!(there, [false, true, true]);
        assert_eq!((cleaned.results.len(), cleaned.packages), (1, 0));
        assert!(cleaned.freed.0 > 0);
        assert_eq!(left(limit(1), [1, 5, 9]).0, [true, true, false]);
        assert_eq!(left(limit(0), [9, 1, 5]).0, [true, true, true]);
        let nothing = Limits { max_size: Some(Bytes(0)), older_than: None };
        assert_eq!(left(nothing, [9, 1, 5]).0, [false, false, false]);
    }

    #[test]
    fn age_counts_from_the_last_use() {
        let day = Duration::from_secs(24 * 3600);
        let limits = Limits { max_size: None, older_than: Some(day) };
        assert_eq!(left(limits, [25, 1, 48]).0, [false, true, false]);
        // What is found is in use again.
        let directory = tempfile::tempdir().unwrap();
        let files = used_before(directory.path(), [25, 25, 25]);
        let cache = Cache::open(directory.path()).unwrap();
        let entries = cache.entries().unwrap();
        let entry = entries.iter().find(|it| cache.object(&it.record.output) == files[0]).unwrap();
        assert!(cache.find(&entry.key).unwrap().is_some());
        let stored = cache.stored_package(&Digest::of("package"), 7).unwrap();
        assert_eq!(stored, crate::cache::StoredPackage::Whole);
        drop(cache);
        clean(directory.path(), limits, files::remove_tree).unwrap();
        assert_eq!(files.map(|file| file.exists()), [true, false, true]);
    }
}
