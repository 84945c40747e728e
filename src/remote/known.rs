//! What is known of the chunks that a remote has: from the manifests that were read and written, and from
//! those of the last results of the same stage, which the remote names. It saves uploads. What it says
//! may be wrong, as a remote is not trusted: then a reader finds a chunk damaged.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::chunks::{Chunk, Manifest};
use super::object::stored_manifest;
use super::packs::Location;
use super::{Remote, name};
use crate::artifact::{Artifact, Hashing};
use crate::digest::Digest;
use crate::error::Result;

/// The most chunks that are remembered, which takes about 80 MiB.
const MOST: usize = 1 << 20;

/// The number of results of a stage that the remote names.
const RECENT: usize = 2;

/// The limit for the size of such a list, in bytes.
const MAX_RECENT: u64 = 4096;

/// Where chunks lie on a remote.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<BTreeMap<Chunk, Location>>);

/// The last results of a stage: the digest, hashing and size of their objects, the last one first.
#[derive(Default, Serialize, Deserialize)]
struct Recent(Vec<(Digest, Hashing, u64)>);

impl Known {
    /// Remembers where the chunks of an object lie.
    pub fn learn(&self, manifest: &Manifest) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (chunk, place) in &manifest.chunks {
            if known.len() == MOST {
                return;
            }
            let pack = manifest.packs[place.0 as usize];
            known.insert(*chunk, Location { pack, at: place.1, length: place.2 });
        }
    }

    /// Where those of `chunks` lie that are known.
    pub fn find<'c>(&self, chunks: impl Iterator<Item = &'c Chunk>) -> BTreeMap<Chunk, Location> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        chunks.filter_map(|chunk| Some((*chunk, *known.get(chunk)?))).collect()
    }

    /// Learns the last results of `stage`. Fails if the remote does.
    pub fn learn_recent(&self, remote: &dyn Remote, stage: &str) -> Result<()> {
        for (digest, hashing, size) in recent(remote, stage)?.0.into_iter().take(RECENT) {
            if let Some(manifest) = stored_manifest(remote, digest, hashing, size)? {
                self.learn(&manifest);
            }
        }
        Ok(())
    }
}

/// Makes `artifact` the last result of `stage`. Two hosts that do so at once may lose one of the two, and
/// then later uploads share less. Returns the bytes that were sent.
pub(super) fn note_recent(remote: &dyn Remote, stage: &str, artifact: &Artifact) -> Result<u64> {
    let mut recent = recent(remote, stage)?.0;
    let this = (artifact.digest, artifact.hashing, artifact.size);
    recent.retain(|other| *other != this);
    recent.insert(0, this);
    recent.truncate(RECENT);
    // Digests, words and numbers: serialisation cannot fail.
    let text = serde_json::to_vec(&Recent(recent)).unwrap_or_default();
    remote.put(&recent_name(stage), &text)?;
    Ok(text.len() as u64)
}

fn recent(remote: &dyn Remote, stage: &str) -> Result<Recent> {
    let text = super::object::stored(remote, &recent_name(stage), MAX_RECENT)?;
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default())
}

fn recent_name(stage: &str) -> String {
    name("recent", Digest::of(stage), "json")
}

#[cfg(test)]
mod tests {
    use super::super::directory::Directory;
    use super::*;
    use crate::artifact::ArtifactKind;

    #[test]
    fn the_last_results_of_a_stage_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let remote = Directory::new(directory.path().to_path_buf());
        let artifact = |text: &str| Artifact {
            kind: ArtifactKind::File,
            hashing: Hashing::Plain,
            digest: Digest::of(text),
            size: 5,
            facts: Default::default(),
        };
        for text in ["a", "b", "a", "c"] {
            note_recent(&remote, "p/s", &artifact(text)).unwrap();
        }
        let named = recent(&remote, "p/s").unwrap().0;
        assert_eq!(named, ["c", "a"].map(|text| (Digest::of(text), Hashing::Plain, 5)));
        assert!(recent(&remote, "p/t").unwrap().0.is_empty());
        remote.put(&recent_name("p/s"), b"[[").unwrap();
        assert!(recent(&remote, "p/s").unwrap().0.is_empty());
    }
}
