//! Listing the store, its disk usage, and verification of every byte in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Cache, Record, hash_object, used};
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::recipe::{self, Key};
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
    /// The kind of action, from its recipe.
    pub fn kind(&self) -> &str {
        recipe::kind(self.record.recipe.lines())
    }
}

/// Disk space by what it is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Results of actions.
    pub objects: Bytes,
    /// Downloaded packages.
    pub packages: Bytes,
    /// Layers of trees.
    pub layers: Bytes,
    /// Records, logs, locks, scratch and downloads under way.
    pub rest: Bytes,
}

impl Sizes {
    /// All of it.
    pub fn total(&self) -> Bytes {
        self.objects + self.packages + self.layers + self.rest
    }
}

/// The result of [`Cache::verify`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Objects, packages and records that were read.
    pub checked: usize,
    /// What is wrong, a sentence each. Each has been taken out of use.
    pub faults: Vec<String>,
}

impl Cache {
    /// Every record, newest first. Records that cannot be read are left out (`verify` names them).
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for path in files_below(&self.directory().join("records"))? {
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
            let files = files_below(&self.directory().join(name))?;
            Ok(files.iter().filter_map(|file| allocated(file)).fold(Bytes(0), |a, b| a + b))
        };
        let (objects, packages) = (sum("objects")?, sum("packages")?);
        // Their files belong to users of a namespace, so that not all of them can be seen from here.
        let layers = self.layer_entries()?;
        let layers = layers.iter().fold(Bytes(0), |sum, layer| sum + layer.allocated);
        let mut rest = Bytes(0);
        let what = || format!("reading {}", self.directory().display());
        for entry in std::fs::read_dir(self.directory()).with_context(what)? {
            let path = entry.with_context(what)?.path();
            let name = path.file_name().unwrap_or_default();
            if ["objects", "packages", "layers"].iter().any(|counted| name == *counted) {
                continue;
            }
            let files = if path.is_dir() { files_below(&path)? } else { vec![path] };
            rest = files.iter().filter_map(|file| allocated(file)).fold(rest, |a, b| a + b);
        }
        Ok(Sizes { objects, packages, layers, rest })
    }

    /// Reads every byte and compares it with its name. What is wrong is removed, so that it will
    /// be made again.
    pub fn verify(&self, mut progress: impl FnMut(&Path)) -> Result<Verification> {
        let mut verification = Verification::default();
        let mut hashed = BTreeMap::new();
        for path in files_below(&self.directory().join("records"))? {
            progress(&path);
            verification.checked += 1;
            let key = name_as_digest(&path).map(Key);
            let record = match key {
                Some(key) => self.recorded(&key)?,
                None => None,
            };
            match record {
                Some(record) => {
                    hashed.insert(record.output.digest, record.output.hashing);
                }
                None => discard(&path, "a record that does not match its key", &mut verification)?,
            }
        }
        for path in files_below(&self.directory().join("objects"))? {
            progress(&path);
            // An object that no record names is only garbage; `clean` takes it.
            let Some((digest, hashing)) =
                name_as_digest(&path).and_then(|digest| Some((digest, *hashed.get(&digest)?)))
            else {
                continue;
            };
            verification.checked += 1;
            if hash_object(&path, hashing)? != digest {
                discard(&path, "an object that does not match its digest", &mut verification)?;
            }
        }
        for path in files_below(&self.directory().join("packages"))? {
            progress(&path);
            verification.checked += 1;
            let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
            let (digest, _) = crate::digest::of_reader(file)
                .with_context(|| format!("hashing {}", path.display()))?;
            if name_as_digest(&path) != Some(digest) {
                discard(&path, "a package that does not match its SHA-256", &mut verification)?;
            }
        }
        // Only a sandbox can read them; the stage that next uses one does.
        self.doubt_layers()?;
        Ok(verification)
    }
}

fn discard(path: &Path, what: &str, verification: &mut Verification) -> Result<()> {
    std::fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
    verification
        .faults
        .push(format!("{what}: {} (removed, it will be made again)", path.display()));
    Ok(())
}

pub(super) fn name_as_digest(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str()?.parse().ok()
}

/// Bytes of disk a file takes.
pub(super) fn allocated(path: &Path) -> Option<Bytes> {
    use std::os::unix::fs::MetadataExt;
    path.symlink_metadata().ok().map(|metadata| Bytes(metadata.blocks() * 512))
}

/// Every file below `directory`, sorted. A file that goes away meanwhile is left out.
pub(super) fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", directory.display()));
            }
        };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                Ok(_) => files.push(entry.path()),
                Err(_) => {}
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::artifact::{ArtifactKind, Output};
    use crate::recipe::Recipe;

    pub fn filled(directory: &Path) -> (Cache, Vec<PathBuf>) {
        let cache = Cache::open(directory).unwrap();
        let objects = ["a", "b"].map(|text| {
            let scratch = cache.scratch().unwrap();
            let made = Output::text(ArtifactKind::File, scratch.path(), "x", text).unwrap();
            let mut recipe = Recipe::new("x", 1);
            recipe.value("text", text);
            let artifact = cache.commit(&recipe, made, Duration::ZERO).unwrap();
            cache.object(&artifact)
        });
        (cache, objects.to_vec())
    }

    #[test]
    fn a_record_of_another_key_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let (cache, objects) = filled(directory.path());
        let records = files_below(&directory.path().join("records")).unwrap();
        std::fs::copy(&records[0], &records[1]).unwrap();
        let key = |at: usize| Key(name_as_digest(&records[at]).unwrap());
        assert!(cache.find(&key(0)).unwrap().is_some());
        assert_eq!(cache.find(&key(1)).unwrap(), None);
        let verification = cache.verify(|_| ()).unwrap();
        assert_eq!(verification.faults.len(), 1, "{:?}", verification.faults);
        assert!(verification.faults[0].starts_with("a record that does not match its key"));
        assert!(verification.faults[0].contains(&key(1).to_string()));
        assert!(records[0].exists() && !records[1].exists());
        assert!(objects.iter().all(|object| object.exists()));
    }

    #[test]
    fn a_damaged_package_is_removed() {
        use crate::cache::StoredPackage::{Damaged, Missing, Whole};
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let (digest, place) = (Digest::of("abc"), cache.package(&Digest::of("abc")));
        let stored = || cache.stored_package(&digest, 3).unwrap();
        assert_eq!(stored(), Missing);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        for (bytes, expected) in [("abc", Whole), ("abd", Damaged), ("ab", Damaged)] {
            std::fs::write(&place, bytes).unwrap();
            assert_eq!((stored(), place.exists()), (expected, expected == Whole));
        }
        std::fs::write(&place, "abc").unwrap();
        assert_eq!(cache.stored_package(&digest, 4).unwrap(), Damaged);
    }

    #[test]
    fn an_object_with_a_flipped_byte_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let (cache, objects) = filled(directory.path());
        assert_eq!(cache.verify(|_| ()).unwrap(), Verification { checked: 4, faults: vec![] });
        std::fs::remove_file(&objects[0]).unwrap();
        std::fs::write(&objects[0], "z").unwrap();
        let verification = cache.verify(|_| ()).unwrap();
        assert_eq!(verification.faults.len(), 1);
        assert!(verification.faults[0].starts_with("an object that does not match its digest"));
        assert!(!objects[0].exists() && objects[1].exists());
    }
}
