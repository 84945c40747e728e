//! Looking after the store: what is in it, whether its bytes are still right, and making room.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::lock::{self, Lock};
use super::{Cache, Record, hash_object};
use crate::digest::Digest;
use crate::error::{Context, Result, anyhow};
use crate::recipe::{Key, Recipe};
use crate::units::Bytes;

/// A record and what is known about it without reading its object.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// The record itself.
    pub record: Record,
    /// Bytes of disk its object takes, or `None` where the object is missing.
    pub allocated: Option<Bytes>,
}

impl Entry {
    /// The kind of action, as its recipe says.
    pub fn kind(&self) -> &str {
        let kind = self.record.recipe.lines().find_map(|line| line.strip_prefix("kind = "));
        kind.unwrap_or("?")
    }
}

/// Disk space by what it is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Results of actions.
    pub objects: Bytes,
    /// Downloaded packages.
    pub packages: Bytes,
    /// Records, logs, locks and scratch.
    pub rest: Bytes,
}

impl Sizes {
    /// All of it.
    pub fn total(&self) -> Bytes {
        self.objects + self.packages + self.rest
    }
}

/// What `verify` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Objects, packages and records that were read.
    pub checked: usize,
    /// What is wrong, a sentence each. Each has been taken out of use.
    pub faults: Vec<String>,
}

impl Cache {
    /// Every record, newest first. Records that cannot be read are left out (`verify` names them).
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for path in files_below(&self.folder().join("records"))? {
            let Some(key) = name_as_digest(&path).map(Key) else { continue };
            let Some(record) = self.recorded(&key)? else { continue };
            let allocated = allocated(&self.object(&record.output));
            entries.push(Entry { key, record, allocated });
        }
        entries.sort_by(|a, b| (b.record.made, a.key).cmp(&(a.record.made, b.key)));
        Ok(entries)
    }

    /// Bytes of disk in use.
    pub fn sizes(&self) -> Result<Sizes> {
        let sum = |name: &str| -> Result<Bytes> {
            let files = files_below(&self.folder().join(name))?;
            Ok(files.iter().filter_map(|file| allocated(file)).fold(Bytes(0), |a, b| a + b))
        };
        let rest = ["records", "latest", "locks", "work", "logs", "journal", "downloads"];
        Ok(Sizes {
            objects: sum("objects")?,
            packages: sum("packages")?,
            rest: rest
                .into_iter()
                .try_fold(Bytes(0), |all, name| Ok(all + sum(name)?))
                .map_err(|error: crate::error::Error| error)?,
        })
    }

    /// Reads every byte and compares it with its name. What is wrong is removed, so that it will
    /// be made again.
    pub fn verify(&self, mut progress: impl FnMut(&Path)) -> Result<Verified> {
        let mut verified = Verified::default();
        let mut hashed = BTreeMap::new();
        for path in files_below(&self.folder().join("records"))? {
            progress(&path);
            verified.checked += 1;
            let key = name_as_digest(&path).map(Key);
            let record = match key {
                Some(key) => self.recorded(&key)?,
                None => None,
            };
            match record {
                Some(record) => {
                    hashed.insert(record.output.digest, record.output.hashing);
                }
                None => discard(&path, "a record that does not match its key", &mut verified)?,
            }
        }
        for path in files_below(&self.folder().join("objects"))? {
            progress(&path);
            // An object that no record names is only garbage; `clean` takes it.
            let Some((digest, hashing)) =
                name_as_digest(&path).and_then(|digest| Some((digest, *hashed.get(&digest)?)))
            else {
                continue;
            };
            verified.checked += 1;
            if hash_object(&path, hashing)? != digest {
                discard(&path, "an object that does not match its digest", &mut verified)?;
            }
        }
        for path in files_below(&self.folder().join("packages"))? {
            progress(&path);
            verified.checked += 1;
            let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
            let (digest, _) = crate::digest::of_reader(file)
                .with_context(|| format!("hashing {}", path.display()))?;
            if name_as_digest(&path) != Some(digest) {
                discard(&path, "a package that does not match its SHA-256", &mut verified)?;
            }
        }
        Ok(verified)
    }
}

fn discard(path: &Path, what: &str, verified: &mut Verified) -> Result<()> {
    std::fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
    verified.faults.push(format!("{what}: {} (removed, it will be made again)", path.display()));
    Ok(())
}

/// What `clean` may take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Records made longer ago than this go.
    pub older_than: Option<Duration>,
    /// The oldest records go until objects and packages fit in this.
    pub max_size: Option<Bytes>,
}

/// What `clean` took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Records removed.
    pub records: usize,
    /// Bytes of disk won back.
    pub freed: Bytes,
}

/// Makes room in the cache in `folder`: removes objects no record names, scratch that killed
/// processes left (with `remove`), and what `limits` say; without limits, everything. Refuses
/// while a build uses the cache.
pub fn clean(
    folder: &Path,
    limits: Limits,
    remove: impl Fn(&Path) -> std::io::Result<()>,
) -> Result<Cleaned> {
    let locks = folder.join("locks");
    if !locks.is_dir() {
        return Ok(Cleaned::default());
    }
    let Some(alone) = Lock::try_exclusive(&locks.join("cache"))? else {
        return Err(crate::error::with_hint(
            anyhow!("the cache {} is in use by another kuth", folder.display()),
            "wait until that build has ended, then run `kuth cache clean` again",
        ));
    };
    lock::sweep(&folder.join("work"), remove)?;
    // The lock is this process's own; opening shares it through another handle after this drops.
    drop(alone);
    let cache = Cache::open(folder)?;
    let before = cache.sizes()?.total();
    let cleaned = match limits {
        Limits { older_than: None, max_size: None } => cache.remove_all()?,
        limits => cache.remove_by(limits)?,
    };
    let after = cache.sizes()?.total();
    Ok(Cleaned { records: cleaned, freed: Bytes(before.0.saturating_sub(after.0)) })
}

impl Cache {
    fn remove_all(&self) -> Result<usize> {
        let records = files_below(&self.folder().join("records"))?;
        for name in ["records", "latest", "objects", "packages", "logs", "downloads"] {
            for file in files_below(&self.folder().join(name))? {
                remove(&file)?;
            }
        }
        Ok(records.len())
    }

    fn remove_by(&self, limits: Limits) -> Result<usize> {
        let now = SystemTime::now();
        let age = |made: u64| {
            now.duration_since(SystemTime::UNIX_EPOCH + Duration::from_secs(made))
                .unwrap_or_default()
        };
        let mut kept = self.entries()?;
        let mut removed = 0;
        if let Some(limit) = limits.older_than {
            let (old, young): (Vec<_>, Vec<_>) =
                kept.into_iter().partition(|entry| age(entry.record.made) > limit);
            removed += old.len();
            old.iter().try_for_each(|entry| self.forget(&entry.key))?;
            kept = young;
        }
        self.remove_unnamed(&kept)?;
        if let Some(limit) = limits.max_size {
            while self.sizes()?.total() > limit
                && let Some(oldest) = kept.pop()
            {
                self.forget(&oldest.key)?;
                removed += 1;
                self.remove_unnamed(&kept)?;
            }
        }
        Ok(removed)
    }

    fn remove_unnamed(&self, kept: &[Entry]) -> Result<()> {
        let named: BTreeSet<Digest> = kept.iter().map(|entry| entry.record.output.digest).collect();
        for file in files_below(&self.folder().join("objects"))? {
            if !name_as_digest(&file).is_some_and(|digest| named.contains(&digest)) {
                remove(&file)?;
            }
        }
        Ok(())
    }

    /// The recipe a stage of a pipeline was last built from, if the record is still there.
    pub fn latest_recipe(&self, pipeline: &str, stage: &str) -> Result<Option<Recipe>> {
        let Some(key) = self.latest(pipeline, stage) else { return Ok(None) };
        Ok(self.recorded(&key)?.map(|record| Recipe::from_text(&record.recipe)))
    }
}

fn remove(file: &Path) -> Result<()> {
    std::fs::remove_file(file).with_context(|| format!("removing {}", file.display()))
}

fn name_as_digest(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str()?.parse().ok()
}

/// Bytes of disk a file takes.
fn allocated(path: &Path) -> Option<Bytes> {
    use std::os::unix::fs::MetadataExt;
    path.symlink_metadata().ok().map(|metadata| Bytes(metadata.blocks() * 512))
}

/// Every file below `folder`, sorted. A file that goes away meanwhile is left out.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", folder.display()));
            }
        };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) => files.push(entry.path()),
                Err(_) => {}
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Made, Product};

    fn filled(folder: &Path) -> (Cache, Vec<PathBuf>) {
        let cache = Cache::open(folder).unwrap();
        let objects = ["a", "b"].map(|text| {
            let scratch = cache.scratch().unwrap();
            let made = Made::text(Product::File, scratch.path(), "x", text).unwrap();
            let mut recipe = Recipe::new("x", 1);
            recipe.value("text", text);
            let artifact = cache.commit(&recipe, made, Duration::ZERO).unwrap();
            cache.object(&artifact)
        });
        (cache, objects.to_vec())
    }

    #[test]
    fn a_flipped_byte_is_found_and_taken_out_of_use() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, objects) = filled(folder.path());
        assert_eq!(cache.verify(|_| ()).unwrap(), Verified { checked: 4, faults: vec![] });
        std::fs::remove_file(&objects[0]).unwrap();
        std::fs::write(&objects[0], "z").unwrap();
        let verified = cache.verify(|_| ()).unwrap();
        assert_eq!(verified.faults.len(), 1);
        assert!(verified.faults[0].starts_with("an object that does not match its digest"));
        assert!(!objects[0].exists() && objects[1].exists());
    }

    #[test]
    fn cleaning_refuses_while_a_build_runs_then_takes_everything() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, objects) = filled(folder.path());
        let error = clean(folder.path(), Limits::default(), lock::remove_tree).unwrap_err();
        assert!(error.to_string().contains("in use by another kuth"));
        drop(cache);
        assert_eq!(clean(folder.path(), Limits::default(), lock::remove_tree).unwrap().records, 2);
        assert!(objects.iter().all(|object| !object.exists()));
    }

    #[test]
    fn a_size_limit_takes_the_oldest_first() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, _) = filled(folder.path());
        assert_eq!(cache.entries().unwrap().len(), 2);
        let limits = Limits { max_size: Some(Bytes(0)), older_than: None };
        drop(cache);
        assert_eq!(clean(folder.path(), limits, lock::remove_tree).unwrap().records, 2);
    }
}
