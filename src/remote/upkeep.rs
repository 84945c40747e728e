//! What lies on a remote, and the removal of what no result needs. Both list the remote, which a web
//! server cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::cache::MAX_RECORD;
use super::object::{manifest_name, manifest_of, pack_name, stored};
use super::trust::{self, Trust};
use super::{PREFIX, Remote};
use crate::artifact::Artifact;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::Result;
use crate::recipe::Key;
use crate::threads;
use crate::units::Bytes;

/// The number of parallel requests.
const WORKERS: usize = 16;

/// What is younger and not needed may be of an upload that is not finished.
const YOUNG: Duration = Duration::from_secs(86_400);

/// A file of a remote.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its length.
    pub size: Bytes,
    /// When it was written; none: the remote does not say.
    pub written: Option<SystemTime>,
}

/// A number of files, and their size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// The number of files.
    pub files: usize,
    /// Their length in all.
    pub size: Bytes,
}

impl AddAssign<&Listed> for Count {
    fn add_assign(&mut self, file: &Listed) {
        self.files += 1;
        self.size = self.size + file.size;
    }
}

/// What lies on a remote.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Records: one for each result.
    pub records: Count,
    /// The manifests of objects.
    pub objects: Count,
    /// Packs of chunks.
    pub packs: Count,
    /// What no result needs; part of the others.
    pub unused: Count,
}

/// The files of a remote, and which of them results need.
struct Survey {
    files: Vec<Listed>,
    needed: BTreeSet<String>,
}

/// What lies on the remote. Reads every record and every manifest.
pub(super) fn stats(remote: &dyn Remote, cancel: &Cancel) -> Result<Stats> {
    let survey = Survey::of(remote, None, cancel)?;
    let mut stats = Stats::default();
    for file in &survey.files {
        match kind(&file.name) {
            "records" => stats.records += file,
            "objects" => stats.objects += file,
            "packs" => stats.packs += file,
            _ => {}
        }
        if !survey.needed.contains(&file.name) {
            stats.unused += file;
        }
    }
    Ok(stats)
}

/// Removes the records that were written longer ago than `older_than`, then what no record needs and is
/// older than a day. Calls `removed` with each file; with `dry`, removes nothing. A build that uploads
/// meanwhile may rely on a pack that is removed; its result is then a cache miss.
pub(super) fn prune(
    remote: &dyn Remote,
    older_than: Option<Duration>,
    dry: bool,
    cancel: &Cancel,
    removed: &mut dyn FnMut(&Listed),
) -> Result<Count> {
    let survey = Survey::of(remote, older_than, cancel)?;
    let mut unused: Vec<&Listed> = survey
        .files
        .iter()
        .filter(|file| !survey.needed.contains(&file.name))
        .filter(|file| {
            let age = older_than.filter(|_| kind(&file.name) == "records").unwrap_or(YOUNG);
            is_older(file, age)
        })
        .collect();
    // Records first and packs last: what is left of a removal that is interrupted is whole.
    unused.sort_by_key(|file| match kind(&file.name) {
        "records" => 0,
        "objects" => 1,
        _ => 2,
    });
    let mut count = Count::default();
    for file in unused {
        cancel.check()?;
        if !dry {
            remote.remove(&file.name)?;
        }
        removed(file);
        count += file;
    }
    Ok(count)
}

impl Survey {
    /// What the records need that were written no longer ago than `older_than`.
    fn of(remote: &dyn Remote, older_than: Option<Duration>, cancel: &Cancel) -> Result<Survey> {
        let files = remote.list(PREFIX)?;
        let kept = |file: &&Listed| {
            kind(&file.name) == "records" && !older_than.is_some_and(|age| is_older(file, age))
        };
        let records: Vec<&Listed> = files.iter().filter(kept).collect();
        let (needed, objects) = (Mutex::new(BTreeSet::new()), Mutex::new(BTreeMap::new()));
        threads::for_each(&records, WORKERS, |file| -> Result<()> {
            cancel.check()?;
            let key = file.name.rsplit('/').next().and_then(|name| name.strip_suffix(".json"));
            let key = key.and_then(|key| key.parse::<Digest>().ok()).map(Key);
            let bytes = stored(remote, &file.name, MAX_RECORD)?;
            // Whoever signed it: somebody may trust that key. One that is damaged needs nothing.
            if let (Some(key), Some(bytes)) = (key, bytes)
                && let Ok(record) = trust::open(&bytes, &key, &Trust::Anyone)
            {
                needed.lock().unwrap_or_else(PoisonError::into_inner).insert(file.name.clone());
                let name = manifest_name(&record.output);
                objects.lock().unwrap_or_else(PoisonError::into_inner).insert(name, record.output);
            }
            Ok(())
        })?;
        let objects = objects.into_inner().unwrap_or_else(PoisonError::into_inner);
        let objects: Vec<(String, Artifact)> = objects.into_iter().collect();
        threads::for_each(&objects, WORKERS, |(name, artifact)| -> Result<()> {
            cancel.check()?;
            if let Some(manifest) = manifest_of(remote, artifact)? {
                let mut needed = needed.lock().unwrap_or_else(PoisonError::into_inner);
                needed.insert(name.clone());
                needed.extend(manifest.packs.iter().map(pack_name));
            }
            Ok(())
        })?;
        let mut needed = needed.into_inner().unwrap_or_else(PoisonError::into_inner);
        // A few bytes for each stage.
        needed
            .extend(files.iter().filter(|it| kind(&it.name) == "recent").map(|it| it.name.clone()));
        Ok(Survey { files, needed })
    }
}

/// `packs` of `v2/packs/ab/NAME`.
fn kind(name: &str) -> &str {
    name.split('/').nth(1).unwrap_or_default()
}

/// Whether a file was certainly written longer ago than `age`.
fn is_older(file: &Listed, age: Duration) -> bool {
    let passed = file.written.and_then(|written| SystemTime::now().duration_since(written).ok());
    passed.is_some_and(|passed| passed > age)
}
