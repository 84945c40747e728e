//! The store of results: records (key -> what came out) and objects (digest -> bytes), shared by
//! any number of kuth processes. Writes go aside, are synced and renamed, so a killed or full
//! build leaves nothing half done. It knows no stage and asks no network.
//!
//! ```text
//! cache/version            the format of this directory
//! cache/records/ab/KEY     one record, JSON
//! cache/objects/ab/DIGEST  one file, read-only (disks: sparse, named by their tree hash)
//! cache/packages/ab/SHA256 Debian packages, each verified when it came
//! cache/latest/PIPELINE/S  the key that stage S had last: what `explain` compares with
//! cache/builds/P.json      what the last builds of pipeline P did, for reports
//! cache/layers/KEY         what an action inside a stage changed, see [`layers`]
//! cache/downloads          incomplete downloads, which a later build continues
//! cache/outbox/KEY         a result that is still to be pushed to the remote cache
//! cache/locks  cache/work  cache/logs  cache/journal
//! ```

use std::fs::{File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::artifact::{Artifact, Hashing, Output};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Context, Hint, Result, anyhow, bail};
use crate::files::{self, Lock, Scratch, rename_into, sparse};
use crate::recipe::{Key, Recipe};

pub mod clean;
pub mod layers;
pub mod materialize;
pub mod secret;
pub mod space;
pub mod upkeep;

/// How exact the time of the last use is; a smaller value would mean a write for every look-up.
const LATELY: Duration = Duration::from_secs(600);

/// The format of the directory; a newer one is refused.
const VERSION: u32 = 1;

/// The tag that backup programs look for (<https://bford.info/cachedir/>).
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This directory is a cache made by kuth.\n";

/// One finished action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The text whose SHA-256 is the key.
    pub recipe: String,
    /// What came out.
    pub output: Artifact,
    /// How long it took.
    pub seconds: f32,
    /// When it was made, in seconds since 1970; for people and for eviction.
    pub made: u64,
    /// Where the record is from.
    #[serde(default, skip_serializing_if = "Origin::is_here")]
    pub origin: Origin,
    /// The version of kuth that made it; empty in records older than this field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tool: String,
}

/// Where a record is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The result was made here.
    #[default]
    Here,
    /// The record is from a remote cache; the object may be there alone.
    Remote,
}

impl Origin {
    fn is_here(&self) -> bool {
        *self == Origin::Here
    }
}

/// The file of a package in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredPackage {
    /// Its bytes match its name.
    Whole,
    /// There is none.
    Missing,
    /// There was one of other bytes, which was removed.
    Damaged,
}

impl StoredPackage {
    /// Whether its bytes match its name.
    pub fn is_whole(self) -> bool {
        self == StoredPackage::Whole
    }

    /// Whether it was removed for other bytes.
    pub fn is_damaged(self) -> bool {
        self == StoredPackage::Damaged
    }
}

/// An open cache directory. While it is open, nothing in it is cleaned away by another process.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
    /// Where small files are written before they take their places; made when first needed.
    aside: OnceLock<Scratch>,
    _in_use: Lock,
}

impl Cache {
    /// Opens `directory`, making it where it does not exist.
    pub fn open(directory: &Path) -> Result<Cache> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("making the cache directory {}", directory.display()))?;
        let directory = directory
            .canonicalize()
            .with_context(|| format!("resolving the cache directory {}", directory.display()))?;
        for name in ["records", "objects", "packages", "latest", "locks", "work", "logs", "journal"]
        {
            let path = directory.join(name);
            files::make_directory(&path)?;
        }
        let in_use = Lock::shared(&directory.join("locks/cache"), &Cancel::default())?;
        let cache = Cache { directory, aside: OnceLock::new(), _in_use: in_use };
        cache.check_version()?;
        Ok(cache)
    }

    fn check_version(&self) -> Result<()> {
        let path = self.directory.join("version");
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim() == VERSION.to_string() => Ok(()),
            Ok(text) => Err(anyhow!(
                "{} has format {}, this kuth knows {VERSION}",
                self.directory.display(),
                text.trim()
            ))
            .hint("use a newer kuth, or another directory with `--cache DIR`"),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.write_aside(&self.directory.join("CACHEDIR.TAG"), CACHEDIR_TAG.as_bytes())?;
                self.write_aside(&path, format!("{VERSION}\n").as_bytes())
            }
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// Its path, without symbolic links.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file of an artifact's object; it may not exist.
    pub fn object(&self, artifact: &Artifact) -> PathBuf {
        self.sharded("objects", &artifact.digest.to_string())
    }

    /// The file of the Debian package with this SHA-256; it may not exist.
    pub fn package(&self, sha256: &Digest) -> PathBuf {
        self.sharded("packages", &sha256.to_string())
    }

    fn record(&self, key: &Key) -> PathBuf {
        self.sharded("records", &key.to_string())
    }

    fn sharded(&self, kind: &str, name: &str) -> PathBuf {
        self.directory.join(kind).join(&name[..2]).join(name)
    }

    /// The log of a stage.
    pub fn log(&self, pipeline: &str, stage: &str) -> PathBuf {
        self.directory.join("logs").join(pipeline).join(format!("{stage}.log"))
    }

    /// The file of the last builds of a pipeline; it may not exist.
    pub fn builds(&self, pipeline: &str) -> PathBuf {
        self.directory.join("builds").join(format!("{pipeline}.json"))
    }

    /// The journal of effects outside the cache.
    pub fn journal(&self) -> PathBuf {
        self.directory.join("journal")
    }

    /// The record of `key`, if its object is here at its full length.
    pub fn find(&self, key: &Key) -> Result<Option<Record>> {
        self.find_if(key, |record| self.holds(&record.output))
    }

    /// The record of `key`, if its object is here, or if the record is from a remote cache, which may
    /// have the object.
    pub fn known(&self, key: &Key) -> Result<Option<Record>> {
        self.find_if(key, |it| it.origin == Origin::Remote || self.holds(&it.output))
    }

    /// The record of `key`, if `accept` takes it. Marks it as used now.
    fn find_if(&self, key: &Key, accept: impl Fn(&Record) -> bool) -> Result<Option<Record>> {
        let record = self.recorded(key)?.filter(accept);
        record.iter().for_each(|_| touch(&self.record(key)));
        Ok(record)
    }

    /// The state of the file of a package: it is read whole and compared with its SHA-256 and length.
    /// A damaged one is removed; a whole one is marked as used now.
    pub fn stored_package(&self, sha256: &Digest, size: u64) -> Result<StoredPackage> {
        let path = self.package(sha256);
        let what = || format!("reading {}", path.display());
        let found = match File::open(&path) {
            Ok(file) => crate::digest::of_reader(file).with_context(what)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(StoredPackage::Missing),
            Err(error) => return Err(error).with_context(what),
        };
        if found == (*sha256, size) {
            touch(&path);
            return Ok(StoredPackage::Whole);
        }
        std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        Ok(StoredPackage::Damaged)
    }

    /// Whether the object of an artifact is here at its full length.
    pub fn holds(&self, artifact: &Artifact) -> bool {
        self.object(artifact).metadata().is_ok_and(|found| found.len() == artifact.size)
    }

    /// The record of `key`, whether or not its object is here. `None` also if it cannot be read.
    pub fn recorded(&self, key: &Key) -> Result<Option<Record>> {
        let path = self.record(key);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", path.display()));
            }
        };
        let record: Option<Record> = serde_json::from_slice(&text).ok();
        Ok(record.filter(|record| Recipe::from_text(&record.recipe).key() == *key))
    }

    /// Takes a result in: the object by rename, then the record.
    pub fn commit(&self, recipe: &Recipe, made: Output, took: Duration) -> Result<Artifact> {
        let Output { artifact, file } = made;
        let object = self.object(&artifact);
        let whole = |path: &Path| path.metadata().is_ok_and(|found| found.len() == artifact.size);
        if self.holds(&artifact) {
            std::fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
            // Its name may be that of a process that was killed before it synced the directory.
            object.parent().map_or(Ok(()), files::sync)?;
        } else {
            if !whole(&file) {
                bail!("{} is not {} bytes long", file.display(), artifact.size);
            }
            self.adopt(&file, &object)?;
        }
        let record = Record {
            recipe: recipe.text(),
            output: artifact,
            seconds: took.as_secs_f32(),
            made: now(),
            origin: Origin::Here,
            tool: env!("CARGO_PKG_VERSION").to_string(),
        };
        self.note(&recipe.key(), &record)?;
        Ok(record.output)
    }

    /// Writes down a record, whether or not its object is here.
    pub fn note(&self, key: &Key, record: &Record) -> Result<()> {
        let text = serde_json::to_vec_pretty(record).context("writing a record")?;
        self.write_aside(&self.record(key), &text)
    }

    /// Moves a finished file of the same file system to its place in the store, read-only.
    pub fn adopt(&self, file: &Path, place: &Path) -> Result<()> {
        let what = || format!("storing {}", place.display());
        let handle = File::open(file).with_context(what)?;
        handle.set_permissions(Permissions::from_mode(0o444)).with_context(what)?;
        handle.sync_all().with_context(what)?;
        rename_into(file, place)
    }

    /// Writes a small file so that a reader sees the old bytes or the new ones, never a part.
    pub fn write_aside(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        files::write_aside(self.aside()?, path, bytes)
    }

    /// A directory of this process that goes with it, however it ends.
    fn aside(&self) -> Result<&Path> {
        if self.aside.get().is_none() {
            // Of two threads one comes too late, and its directory is removed again.
            let _ = self.aside.set(self.scratch()?);
        }
        Ok(self.aside.get().context("the directory for small files is gone")?.path())
    }

    /// Forgets what is recorded under `key` (`--rebuild`); the object stays.
    pub fn forget(&self, key: &Key) -> Result<()> {
        match std::fs::remove_file(self.record(key)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("forgetting {key}"))
            }
            _ => Ok(()),
        }
    }

    /// The key that `stage` of `pipeline` had when it was last built.
    pub fn latest(&self, pipeline: &str, stage: &str) -> Option<Key> {
        let text = std::fs::read_to_string(self.latest_path(pipeline, stage)).ok()?;
        text.trim().parse().ok().map(Key)
    }

    /// The recipe a stage of a pipeline was last built from, if the record is still there.
    pub fn latest_recipe(&self, pipeline: &str, stage: &str) -> Result<Option<Recipe>> {
        let Some(key) = self.latest(pipeline, stage) else { return Ok(None) };
        Ok(self.recorded(&key)?.map(|record| Recipe::from_text(&record.recipe)))
    }

    /// Notes the key of a stage that is now built; only ever used to explain.
    pub fn note_latest(&self, pipeline: &str, stage: &str, key: &Key) -> Result<()> {
        if self.latest(pipeline, stage) == Some(*key) {
            return Ok(());
        }
        self.write_aside(&self.latest_path(pipeline, stage), format!("{key}\n").as_bytes())
    }

    /// A stage, as `PIPELINE/STAGE`, that was last built from `key`.
    pub fn stage_of(&self, key: &Key) -> Option<String> {
        let entries =
            |directory: &Path| std::fs::read_dir(directory).into_iter().flatten().flatten();
        let mut stages: Vec<PathBuf> = entries(&self.directory.join("latest"))
            .flat_map(|pipeline| entries(&pipeline.path()))
            .map(|entry| entry.path())
            .collect();
        stages.sort();
        let mut named = stages.iter().filter_map(|path| {
            let pipeline = path.parent()?.file_name()?.to_str()?;
            let stage = path.file_stem()?.to_str()?;
            (self.latest(pipeline, stage) == Some(*key)).then(|| format!("{pipeline}/{stage}"))
        });
        named.next()
    }

    fn latest_path(&self, pipeline: &str, stage: &str) -> PathBuf {
        self.directory.join("latest").join(pipeline).join(format!("{stage}.key"))
    }

    /// A hash of a secret under a key that never leaves this directory: equal secrets give equal
    /// hashes here, and nobody without the directory can try secrets out.
    pub fn keyed_hash(&self, secret: &str) -> Result<Digest> {
        let key = secret::key(&self.directory.join("secret"), self.aside()?)?;
        Ok(Digest::keyed(&key, secret))
    }

    /// Waits until no other process works on `key`.
    pub fn lock_key(&self, key: &Key, cancel: &Cancel) -> Result<Lock> {
        Lock::exclusive(&self.directory.join("locks").join(key.to_string()), cancel)
    }

    /// Waits until no other process brings the object of `artifact` here.
    pub fn lock_object(&self, artifact: &Artifact, cancel: &Cancel) -> Result<Lock> {
        let name = format!("object-{}", artifact.digest);
        Lock::exclusive(&self.directory.join("locks").join(name), cancel)
    }

    /// Waits until no other process changes the files of the last builds.
    pub fn lock_builds(&self, cancel: &Cancel) -> Result<Lock> {
        Lock::exclusive(&self.directory.join("locks/builds"), cancel)
    }

    /// A directory to work in, removed with everything in it when dropped.
    pub fn scratch(&self) -> Result<Scratch> {
        Scratch::new(&self.directory.join("work"))
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Marks `file` as used now, by its modification time. An error only means that `clean` may take it
/// earlier.
fn touch(file: &Path) {
    let now = SystemTime::now();
    let modified = file.metadata().and_then(|it| it.modified());
    let lately = modified.is_ok_and(|it| now.duration_since(it).is_ok_and(|age| age < LATELY));
    if !lately && let Ok(file) = File::options().append(true).open(file) {
        let _ = file.set_modified(now);
    }
}

/// When a file was last used.
fn used(path: &Path) -> SystemTime {
    path.metadata().and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The digest of an object's bytes as its artifact says they are hashed.
pub fn hash_object(path: &Path, hashing: Hashing) -> Result<Digest> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    match hashing {
        Hashing::Plain => crate::digest::of_reader(file).map(|(digest, _)| digest),
        Hashing::Sparse => sparse::tree_hash(&file),
    }
    .with_context(|| format!("hashing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::ArtifactKind;

    fn made(cache: &Cache, text: &str) -> (Scratch, Output) {
        let scratch = cache.scratch().unwrap();
        let made = Output::text(ArtifactKind::File, scratch.path(), "x", text).unwrap();
        (scratch, made)
    }

    #[test]
    fn a_committed_result_is_found_until_it_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let recipe = Recipe::new("x", 1);
        assert_eq!(cache.find(&recipe.key()).unwrap(), None);
        let (_scratch, made) = made(&cache, "abc");
        let artifact = cache.commit(&recipe, made, Duration::ZERO).unwrap();
        assert_eq!(std::fs::read(cache.object(&artifact)).unwrap(), b"abc");
        assert_eq!(cache.find(&recipe.key()).unwrap().unwrap().output, artifact);
        cache.forget(&recipe.key()).unwrap();
        assert_eq!(cache.find(&recipe.key()).unwrap(), None);
    }

    #[test]
    fn a_torn_record_or_a_short_object_is_a_miss() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let recipe = Recipe::new("x", 1);
        let (_scratch, made) = made(&cache, "abc");
        let artifact = cache.commit(&recipe, made, Duration::ZERO).unwrap();
        std::fs::remove_file(cache.object(&artifact)).unwrap();
        std::fs::write(cache.object(&artifact), "ab").unwrap();
        assert_eq!(cache.find(&recipe.key()).unwrap(), None);
        std::fs::write(cache.record(&recipe.key()), "{").unwrap();
        assert_eq!(cache.recorded(&recipe.key()).unwrap(), None);
    }

    #[test]
    fn the_directory_of_temporary_files_is_removed_with_the_cache() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        cache.write_aside(&directory.path().join("latest/x"), b"text").unwrap();
        assert_eq!(std::fs::read(directory.path().join("latest/x")).unwrap(), b"text");
        let left = || std::fs::read_dir(directory.path().join("work")).unwrap().count();
        // The directory and its lock, by which a sweep knows whose it is.
        assert_eq!(left(), 2);
        drop(cache);
        assert_eq!(left(), 0);
    }

    #[test]
    fn a_newer_format_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        drop(Cache::open(directory.path()).unwrap());
        std::fs::write(directory.path().join("version"), "99\n").unwrap();
        let error = Cache::open(directory.path()).unwrap_err();
        assert!(error.to_string().contains("has format 99"), "{error}");
    }
}
