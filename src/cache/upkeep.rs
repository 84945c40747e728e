//! Looking after the store: what is in it, whether its bytes are still right, and making room.

use std::collections::BTreeMap;
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
    /// When a build last made use of it.
    pub used: SystemTime,
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
    /// Records, logs, locks, scratch and downloads under way.
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
            entries.push(Entry { key, record, allocated, used: used(&path) });
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
        let (all, objects, packages) = (sum("")?, sum("objects")?, sum("packages")?);
        // Others may be at work here, so the parts can be more than the whole was.
        let rest = Bytes(all.0.saturating_sub(objects.0 + packages.0));
        Ok(Sizes { objects, packages, rest })
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
    /// Results and packages that were not used for so long go.
    pub older_than: Option<Duration>,
    /// Those go that were not used for longest, until the whole cache fits in this.
    pub max_size: Option<Bytes>,
}

/// What `clean` took.
#[derive(Clone, Debug, Default)]
pub struct Cleaned {
    /// Results, in the order in which they went.
    pub results: Vec<Entry>,
    /// How many packages.
    pub packages: usize,
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
    Ok(Cleaned { freed: Bytes(before.0.saturating_sub(after.0)), ..cleaned })
}

/// Something that may go.
enum Candidate {
    Result(Entry),
    Package(PathBuf, SystemTime),
}

impl Candidate {
    fn used(&self) -> SystemTime {
        match self {
            Candidate::Result(entry) => entry.used,
            Candidate::Package(_, used) => *used,
        }
    }
}

impl Cache {
    fn remove_all(&self) -> Result<Cleaned> {
        let results = self.entries()?;
        let packages = files_below(&self.folder().join("packages"))?.len();
        for name in ["records", "latest", "objects", "packages", "logs", "downloads"] {
            for file in files_below(&self.folder().join(name))? {
                remove(&file)?;
            }
        }
        Ok(Cleaned { results, packages, ..Cleaned::default() })
    }

    /// Takes what was not used for longest while `limits` ask for it, and what nothing names.
    fn remove_by(&self, limits: Limits) -> Result<Cleaned> {
        let results = self.entries()?;
        // How many records name an object: it goes with the last of them.
        let mut named: BTreeMap<Digest, usize> = BTreeMap::new();
        for entry in &results {
            *named.entry(entry.record.output.digest).or_default() += 1;
        }
        for file in files_below(&self.folder().join("objects"))? {
            if !name_as_digest(&file).is_some_and(|digest| named.contains_key(&digest)) {
                remove(&file)?;
            }
        }
        let packages = files_below(&self.folder().join("packages"))?;
        let packages =
            packages.into_iter().map(|path| Candidate::Package(path.clone(), used(&path)));
        let mut candidates: Vec<Candidate> =
            results.into_iter().map(Candidate::Result).chain(packages).collect();
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
                    cleaned.results.push(entry);
                }
                Candidate::Package(path, _) => {
                    let size = allocated(&path).unwrap_or(Bytes(0));
                    remove(&path)?;
                    total = Bytes(total.0.saturating_sub(size.0));
                    cleaned.packages += 1;
                }
            }
        }
        Ok(cleaned)
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

/// When a file was last used; see `touch`.
fn used(path: &Path) -> SystemTime {
    path.metadata().and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
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
        let cleaned = clean(folder.path(), Limits::default(), lock::remove_tree).unwrap();
        assert_eq!(cleaned.results.len(), 2);
        assert!(objects.iter().all(|object| !object.exists()));
    }

    /// A cache with the results `a` and `b` and a package, used so many hours ago.
    fn used_before(folder: &Path, hours: [u64; 3]) -> [PathBuf; 3] {
        let (cache, objects) = filled(folder);
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
        let folder = tempfile::tempdir().unwrap();
        let files = used_before(folder.path(), hours);
        let cleaned = clean(folder.path(), limits, lock::remove_tree).unwrap();
        (files.map(|file| file.exists()), cleaned)
    }

    #[test]
    fn a_size_limit_takes_what_was_not_used_for_longest() {
        let folder = tempfile::tempdir().unwrap();
        used_before(folder.path(), [9, 1, 5]);
        let total = Cache::open(folder.path()).unwrap().sizes().unwrap().total();
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
    fn an_age_is_that_of_the_last_use() {
        let day = Duration::from_secs(24 * 3600);
        let limits = Limits { max_size: None, older_than: Some(day) };
        assert_eq!(left(limits, [25, 1, 48]).0, [false, true, false]);
        // What is found is in use again.
        let folder = tempfile::tempdir().unwrap();
        let files = used_before(folder.path(), [25, 25, 1]);
        let cache = Cache::open(folder.path()).unwrap();
        let entries = cache.entries().unwrap();
        let entry = entries.iter().find(|it| cache.object(&it.record.output) == files[0]).unwrap();
        assert!(cache.find(&entry.key).unwrap().is_some());
        drop(cache);
        clean(folder.path(), limits, lock::remove_tree).unwrap();
        assert_eq!(files.map(|file| file.exists()), [true, false, true]);
    }
}
