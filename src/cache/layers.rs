//! Kept layers: what single actions inside a stage changed in a tree, as directories that can be mounted
//! on each other. They save time and nothing depends on them: a stage makes what is missing again.
//!
//! ```text
//! cache/layers/KEY/changes     the files of the layer
//! cache/layers/KEY/layer.json  its recipe and digest
//! ```
//!
//! A layer is complete when it has its place, which it gets by a rename. It is not synced, so one that
//! was made before the host was last started is read again before it is used.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Cache, used};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::files::Lock;
use crate::recipe::{Key, Recipe};
use crate::units::Bytes;

/// The name of the description of a layer.
const DESCRIPTION: &str = "layer.json";

/// More than this is not kept: the layers that were not used for longest go first.
pub const MOST: Bytes = Bytes(12 << 30);

/// The version of the description and of the directory beside it. A layer with another one counts as
/// a rest and is removed.
const VERSION: u32 = 2;

/// What is known of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    version: u32,
    /// The text whose SHA-256 is the key.
    pub recipe: String,
    /// The SHA-256 of its canonical tar.
    pub digest: Digest,
    /// Bytes of disk that it takes.
    pub allocated: u64,
    /// Names the run of the kernel in which its bytes were last known to be right; empty if they have to
    /// be read.
    boot: String,
}

/// A layer that was found. It is not removed while this value lives.
#[derive(Debug)]
pub struct Kept {
    /// The directory with its `changes`.
    pub directory: PathBuf,
    /// What is known of it.
    pub description: Description,
    /// Whether its bytes have to be read before it is used, because the host was started since.
    pub is_doubtful: bool,
    _lock: Lock,
}

/// A layer, for those who remove some.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: Key,
    pub allocated: Bytes,
    pub used: SystemTime,
}

impl Cache {
    pub(super) fn layers(&self) -> PathBuf {
        self.directory().join("layers")
    }

    fn layer_directory(&self, key: &Key) -> PathBuf {
        self.layers().join(key.to_string())
    }

    fn layer_lock(&self, key: &Key) -> PathBuf {
        self.directory().join("locks").join(format!("layer-{key}"))
    }

    /// The layer that is kept under `key`; marks it as used now.
    pub fn layer(&self, key: &Key, cancel: &Cancel) -> Result<Option<Kept>> {
        let directory = self.layer_directory(key);
        if !directory.is_dir() {
            return Ok(None);
        }
        let lock = Lock::shared(&self.layer_lock(key), cancel)?;
        let Some(description) = self.described(key) else { return Ok(None) };
        super::touch(&directory.join(DESCRIPTION));
        let is_doubtful = description.boot.is_empty() || description.boot != boot();
        Ok(Some(Kept { directory, description, is_doubtful, _lock: lock }))
    }

    fn described(&self, key: &Key) -> Option<Description> {
        let text = std::fs::read(self.layer_directory(key).join(DESCRIPTION)).ok()?;
        let found: Description = serde_json::from_slice(&text).ok()?;
        let is_it = found.version == VERSION && Recipe::from_text(&found.recipe).key() == *key;
        is_it.then_some(found)
    }

    /// Keeps the layer in `directory`, which is of the same file system and has its files in `changes`,
    /// under the key of `recipe`. Whoever calls this holds the lock of the key.
    pub fn keep_layer(
        &self,
        recipe: &Recipe,
        directory: &Path,
        digest: Digest,
        allocated: u64,
        cancel: &Cancel,
    ) -> Result<Kept> {
        let key = recipe.key();
        let description = Description {
            version: VERSION,
            recipe: recipe.text(),
            digest,
            allocated,
            boot: boot(),
        };
        let place = self.layer_directory(&key);
        let what = || format!("keeping {}", place.display());
        let text = serde_json::to_vec_pretty(&description).with_context(what)?;
        std::fs::write(directory.join(DESCRIPTION), text).with_context(what)?;
        let lock = Lock::shared(&self.layer_lock(&key), cancel)?;
        // A set-id file of a tree must not serve the other users of this host.
        let mut private = std::fs::DirBuilder::new();
        private.recursive(true).mode(0o700).create(self.layers()).with_context(what)?;
        std::fs::rename(directory, &place).with_context(what)?;
        Ok(Kept { directory: place, description, is_doubtful: false, _lock: lock })
    }

    /// Notes that the bytes of a layer were read and are right.
    pub fn trust_layer(&self, kept: &mut Kept) -> Result<()> {
        kept.description.boot = boot();
        kept.is_doubtful = false;
        self.describe_layer(&kept.directory, &kept.description)
    }

    fn describe_layer(&self, directory: &Path, description: &Description) -> Result<()> {
        let text = serde_json::to_vec_pretty(description).context("describing a layer")?;
        self.write_aside(&directory.join(DESCRIPTION), &text)
    }

    /// Removes the layer under `key` unless another process uses it. `remove` removes a directory with
    /// files of other users of a namespace. Returns whether there is none any more.
    pub fn remove_layer(
        &self,
        key: &Key,
        remove: impl Fn(&Path) -> std::io::Result<()>,
    ) -> Result<bool> {
        let directory = self.layer_directory(key);
        if !directory.is_dir() {
            return Ok(true);
        }
        let Some(_alone) = Lock::try_exclusive(&self.layer_lock(key))? else { return Ok(false) };
        // Without its description it is no layer, however much of it is left.
        let _ = std::fs::remove_file(directory.join(DESCRIPTION));
        remove(&directory).with_context(|| format!("removing {}", directory.display()))?;
        Ok(true)
    }

    /// Removes the layers that were not used for longest until all take at most `most`, and what killed
    /// processes left of removed ones.
    pub fn limit_layers(
        &self,
        most: Bytes,
        remove: impl Fn(&Path) -> std::io::Result<()>,
    ) -> Result<()> {
        let mut entries = self.layer_entries()?;
        entries.sort_by_key(|entry| entry.used);
        let mut total = entries.iter().fold(Bytes(0), |sum, entry| sum + entry.allocated);
        for entry in entries {
            let is_rest = self.described(&entry.key).is_none();
            if (total > most || is_rest) && self.remove_layer(&entry.key, &remove)? {
                total = Bytes(total.0.saturating_sub(entry.allocated.0));
            }
        }
        Ok(())
    }

    /// Every layer; one that is being removed takes nothing and was never used.
    pub(super) fn layer_entries(&self) -> Result<Vec<Entry>> {
        let directory = self.layers();
        let Ok(found) = std::fs::read_dir(&directory) else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        for entry in found {
            let path = entry.with_context(|| format!("reading {}", directory.display()))?.path();
            let Some(key) = super::upkeep::name_as_digest(&path).map(Key) else { continue };
            entries.push(match self.described(&key) {
                Some(description) => {
                    let used = used(&path.join(DESCRIPTION));
                    Entry { key, allocated: Bytes(description.allocated), used }
                }
                None => Entry { key, allocated: Bytes(0), used: SystemTime::UNIX_EPOCH },
            });
        }
        Ok(entries)
    }

    /// Has every layer read again before it is used. Returns how many there are.
    pub(super) fn doubt_layers(&self) -> Result<usize> {
        let entries = self.layer_entries()?;
        for entry in &entries {
            let Some(mut description) = self.described(&entry.key) else { continue };
            description.boot.clear();
            self.describe_layer(&self.layer_directory(&entry.key), &description)?;
        }
        Ok(entries.len())
    }
}

/// Names this run of the kernel; empty if that is not known.
fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::remove_tree;

    fn keep(cache: &Cache, name: &str, size: u64) -> Key {
        let scratch = cache.scratch().unwrap();
        let layer = scratch.path().join("layer");
        std::fs::create_dir_all(layer.join("changes")).unwrap();
        std::fs::write(layer.join("changes/file"), name).unwrap();
        let mut recipe = Recipe::new("layer", 1);
        recipe.value("name", name);
        let (digest, cancel) = (Digest::of(name), Cancel::default());
        cache.keep_layer(&recipe, &layer, digest, size, &cancel).unwrap();
        recipe.key()
    }

    fn is_kept(cache: &Cache, key: &Key) -> bool {
        cache.layer(key, &Cancel::default()).unwrap().is_some()
    }

    #[test]
    fn a_layer_is_found_until_it_is_removed_and_stays_while_it_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let key = keep(&cache, "a", 5);
        let kept = cache.layer(&key, &Cancel::default()).unwrap().unwrap();
        assert!(!kept.is_doubtful);
        assert_eq!(kept.description.digest, Digest::of("a"));
        assert!(!cache.remove_layer(&key, remove_tree).unwrap());
        drop(kept);
        assert!(cache.remove_layer(&key, remove_tree).unwrap());
        assert!(!is_kept(&cache, &key));
    }

    #[test]
    fn a_layer_of_another_recipe_or_without_description_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let [a, b] = ["a", "b"].map(|name| keep(&cache, name, 5));
        let description = |key| cache.layer_directory(key).join(DESCRIPTION);
        std::fs::copy(description(&a), description(&b)).unwrap();
        std::fs::write(description(&a), "{").unwrap();
        assert!(!is_kept(&cache, &a) && !is_kept(&cache, &b));
        cache.limit_layers(MOST, remove_tree).unwrap();
        assert!(!cache.layer_directory(&a).exists() && !cache.layer_directory(&b).exists());
    }

    #[test]
    fn the_layers_that_were_not_used_for_longest_go_first() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let keys = ["a", "b", "c"].map(|name| keep(&cache, name, 10));
        for (key, hours) in keys.iter().zip([3, 9, 6]) {
            let time = SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
            let path = cache.layer_directory(key).join(DESCRIPTION);
            std::fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
        }
        cache.limit_layers(Bytes(30), remove_tree).unwrap();
        assert_eq!(cache.layer_entries().unwrap().len(), 3);
        cache.limit_layers(Bytes(20), remove_tree).unwrap();
        assert_eq!(keys.each_ref().map(|key| is_kept(&cache, key)), [true, false, true]);
    }

    #[test]
    fn a_layer_of_before_the_last_start_of_the_host_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let key = keep(&cache, "a", 5);
        assert_eq!(cache.doubt_layers().unwrap(), 1);
        let mut kept = cache.layer(&key, &Cancel::default()).unwrap().unwrap();
        assert!(kept.is_doubtful);
        cache.trust_layer(&mut kept).unwrap();
        drop(kept);
        assert!(!cache.layer(&key, &Cancel::default()).unwrap().unwrap().is_doubtful);
    }
}
