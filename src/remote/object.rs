//! An object's way to a remote and back: cut, compressed and stored, several chunks at once; and
//! fetched, checked and put together. Knows no record and no signature: what comes back is
//! compared with digests alone.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

use fastcdc::v2020::StreamCDC;

use super::chunks::{AVERAGE, Chunk, GRAIN, LEAST, MOST, Manifest, Places, Run, Survey};
use super::{Remote, name};
use crate::artifact::Artifact;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Context, Error, Result, anyhow};
use crate::files::sparse::{data_extents, is_zero};

/// Of compression: the reference's own default.
const LEVEL: i32 = 3;

/// Requests under way at once.
const WORKERS: usize = 16;

/// No manifest may be longer, whatever its object: enough for a hundred GiB of data.
const MOST_MANIFEST: u64 = 512 << 20;

/// What a chunk may grow to by being compressed: more than Zstandard's own bound.
fn most_stored(chunk: &Chunk) -> u64 {
    let length = u64::from(chunk.1);
    length + length / 128 + 1024
}

/// The manifest of `artifact` as the remote has it, if it has a sound one.
fn manifest_of(remote: &dyn Remote, artifact: &Artifact) -> Result<Option<Manifest>> {
    let most = Manifest::most(artifact.size).min(MOST_MANIFEST);
    let text = remote.get(&manifest_name(artifact), most)?;
    Ok(text.and_then(|text| Manifest::read(&text, artifact)))
}

/// The name of an object's manifest.
pub(super) fn manifest_name(artifact: &Artifact) -> String {
    name("objects", artifact.digest, "json")
}

fn chunk_name(chunk: &Chunk) -> String {
    name("chunks", chunk.0, "zst")
}

/// What the remote gave is not what was stored: the name of the file.
#[derive(Debug)]
pub(super) struct Damaged(pub String);

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is missing or not what was stored there", self.0)
    }
}

impl std::error::Error for Damaged {}

/// Stores the object in `file`. What the remote has is not sent again, unless its name is among
/// `bad`. The bytes that are sent are added to `sent`.
pub(super) fn send(
    remote: &dyn Remote,
    file: &Path,
    artifact: &Artifact,
    bad: &BTreeSet<String>,
    sent: &AtomicU64,
    cancel: &Cancel,
) -> Result<()> {
    let manifest_name = manifest_name(artifact);
    if bad.is_empty() && remote.has(&manifest_name)? {
        return Ok(());
    }
    let what = || format!("reading {}", file.display());
    let file = File::open(file).with_context(what)?;
    let runs = survey(&file).with_context(what)?;
    let stop = AtomicBool::new(false);
    let (sender, receiver) = mpsc::sync_channel::<(Chunk, Vec<u8>)>(WORKERS);
    let receiver = Mutex::new(receiver);
    let failed = Mutex::new(None);
    let store = |chunk: &Chunk, bytes: &[u8]| -> Result<()> {
        let name = chunk_name(chunk);
        if bad.contains(&name) || !remote.has(&name)? {
            let small = zstd::bulk::compress(bytes, LEVEL).context("compressing a chunk")?;
            remote.put(&name, &small)?;
            sent.fetch_add(small.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    };
    let work = || {
        loop {
            let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((chunk, bytes)) = next else { return };
            // After a failure the channel is emptied all the same, or the cutter would wait for
            // somebody to take what it has.
            if !stop.load(Ordering::Relaxed)
                && let Err(error) = store(&chunk, &bytes)
            {
                stop.store(true, Ordering::Relaxed);
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    let chunks = std::thread::scope(|scope| {
        (0..WORKERS).for_each(|_| drop(scope.spawn(work)));
        let cut = cut(&file, &runs, |chunk, bytes| {
            let goes_on = !stop.load(Ordering::Relaxed) && !cancel.is_set();
            Ok(goes_on && sender.send((chunk, bytes)).is_ok())
        });
        drop(sender);
        cut.with_context(what)
    })?;
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    cancel.check()?;
    let manifest = Manifest { hashing: artifact.hashing, size: artifact.size, runs, chunks };
    let text = manifest.text();
    remote.put(&manifest_name, &text)?;
    sent.fetch_add(text.len() as u64, Ordering::Relaxed);
    Ok(())
}

/// What of a file is not zero.
fn survey(file: &File) -> io::Result<Vec<Run>> {
    let length = file.metadata()?.len();
    let grain = GRAIN as u64;
    let mut survey = Survey::default();
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    for (start, count) in data_extents(file)? {
        // Whole grains: where extents end is the file system's matter, not the content's.
        let mut at = (start / grain * grain).max(done);
        let end = (start + count).next_multiple_of(grain).min(length);
        while at < end {
            let n = (buffer.len() as u64).min(end - at) as usize;
            file.read_exact_at(&mut buffer[..n], at)?;
            survey.feed(at, &buffer[..n]);
            at += n as u64;
        }
        done = at.max(done);
    }
    Ok(survey.finish())
}

/// Cuts the runs of a file, and gives each chunk the first time that its content comes to `take`,
/// until that says no. All chunks, in order.
fn cut(
    file: &File,
    runs: &[Run],
    mut take: impl FnMut(Chunk, Vec<u8>) -> Result<bool>,
) -> Result<Vec<Chunk>> {
    let row = Row { file, runs, done: 0 };
    let mut seen = BTreeSet::new();
    let mut chunks = Vec::new();
    for cut in StreamCDC::new(row, LEAST, AVERAGE, MOST) {
        let bytes = cut.map_err(io::Error::from)?.data;
        let chunk = Chunk(Digest::of(&bytes), bytes.len() as u32);
        chunks.push(chunk);
        if seen.insert(chunk) && !take(chunk, bytes)? {
            break;
        }
    }
    Ok(chunks)
}

/// Reads the runs of a file, one behind the other.
struct Row<'a> {
    file: &'a File,
    runs: &'a [Run],
    /// How much of the first run is read.
    done: u64,
}

impl Read for Row<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(Run(at, length)) = self.runs.first() else { return Ok(0) };
        let wanted = (length - self.done).min(buffer.len() as u64) as usize;
        self.file.read_exact_at(&mut buffer[..wanted], at + self.done)?;
        self.done += wanted as u64;
        if self.done == *length {
            (self.runs, self.done) = (&self.runs[1..], 0);
        }
        Ok(wanted)
    }
}

/// Fetches the object of `artifact` into the new file `place`. The error is [`Damaged`] where the
/// remote gave something else, or nothing. The whole is not compared with the artifact's digest.
pub(super) fn fetch(
    remote: &dyn Remote,
    artifact: &Artifact,
    place: &Path,
    cancel: &Cancel,
    told: &(dyn Fn(u64, u64) + Sync),
) -> Result<()> {
    let manifest = manifest_of(remote, artifact)?
        .ok_or_else(|| Error::new(Damaged(manifest_name(artifact))))?;
    let what = || format!("writing {}", place.display());
    let file = File::options().write(true).create_new(true).open(place).with_context(what)?;
    file.set_len(artifact.size).with_context(what)?;
    let (places, starts, total) = (Places::new(&manifest.runs), manifest.starts(), manifest.data());
    let (next, done, stop) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicBool::new(false));
    told(0, total);
    let one = |chunk: &Chunk, start: u64| -> Result<()> {
        cancel.check()?;
        let name = chunk_name(chunk);
        let bytes = remote
            .get(&name, most_stored(chunk))?
            .and_then(|stored| decompressed(&stored, chunk))
            .ok_or_else(|| Error::new(Damaged(name)))?;
        let mut rest = &bytes[..];
        for (at, length) in places.of(start, u64::from(chunk.1)) {
            let (piece, more) = rest.split_at(length as usize);
            write_sparse(&file, piece, at).with_context(what)?;
            rest = more;
        }
        let length = u64::from(chunk.1);
        told(done.fetch_add(length, Ordering::Relaxed) + length, total);
        Ok(())
    };
    let work = || -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(chunk) = manifest.chunks.get(at) else { break };
            one(chunk, starts[at]).inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        let ends: Vec<Result<()>> = workers
            .into_iter()
            .map(|worker| {
                worker.join().map_err(|_| anyhow!("a thread that fetches chunks panicked"))?
            })
            .collect();
        ends.into_iter().collect()
    })
}

/// The names of everything that an object is made of on the remote, to be sent anew.
pub(super) fn names(remote: &dyn Remote, artifact: &Artifact) -> Vec<String> {
    let manifest = manifest_of(remote, artifact).ok().flatten();
    let chunks = manifest.map(|manifest| manifest.chunks).unwrap_or_default();
    std::iter::once(manifest_name(artifact)).chain(chunks.iter().map(chunk_name)).collect()
}

/// The bytes of a chunk, if they are what its name says.
fn decompressed(stored: &[u8], chunk: &Chunk) -> Option<Vec<u8>> {
    let bytes = zstd::bulk::decompress(stored, chunk.1 as usize).ok()?;
    (bytes.len() == chunk.1 as usize && Digest::of(&bytes) == chunk.0).then_some(bytes)
}

/// Zeros stay holes.
fn write_sparse(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    if !is_zero(bytes) {
        file.write_all_at(bytes, at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::super::directory::Directory;
    use super::*;
    use crate::artifact::{ArtifactKind, Hashing};
    use crate::cache::hash_object;

    /// 20 MiB with three islands of data in it.
    fn disk(path: &Path) -> Artifact {
        let file = File::create_new(path).unwrap();
        file.set_len((20 << 20) + 77).unwrap();
        let noise = |count: u32| -> Vec<u8> {
            (0..count).map(|i| (i.wrapping_mul(2654435761) >> 13) as u8).collect()
        };
        file.write_all_at(&noise(3_000_000), 5000).unwrap();
        file.write_all_at(&noise(70_000), 9 << 20).unwrap();
        file.write_all_at(&[1], (20 << 20) + 76).unwrap();
        let digest = hash_object(path, Hashing::Sparse).unwrap();
        let size = (20 << 20) + 77;
        Artifact {
            kind: ArtifactKind::Disk,
            hashing: Hashing::Sparse,
            digest,
            size,
            facts: Default::default(),
        }
    }

    fn send_all(remote: &Directory, file: &Path, artifact: &Artifact) -> u64 {
        let sent = AtomicU64::new(0);
        let (bad, cancel) = (BTreeSet::new(), Cancel::default());
        send(remote, file, artifact, &bad, &sent, &cancel).unwrap();
        sent.into_inner()
    }

    #[test]
    fn an_object_comes_back_as_it_was_and_sparse() {
        let directory = tempfile::tempdir().unwrap();
        let remote = Directory::new(directory.path().join("remote"));
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        let artifact = disk(&from);
        assert!(send_all(&remote, &from, &artifact) > 0);
        assert_eq!(send_all(&remote, &from, &artifact), 0, "it is there already");
        fetch(&remote, &artifact, &to, &Cancel::default(), &|_, _| ()).unwrap();
        assert_eq!(hash_object(&to, Hashing::Sparse).unwrap(), artifact.digest);
        assert!(to.metadata().unwrap().blocks() * 512 < 5 << 20, "the holes are filled");
        for name in names(&remote, &artifact) {
            assert!(remote.has(&name).unwrap());
        }
    }

    #[test]
    fn zeros_that_are_written_and_holes_are_cut_alike() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let artifact = disk(&path);
        let sparse = survey(&File::open(&path).unwrap()).unwrap();
        let full = directory.path().join("full");
        std::fs::write(&full, std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(survey(&File::open(&full).unwrap()).unwrap(), sparse);
        assert_eq!(sparse.len(), 3);
        assert_eq!(sparse[0], Run(4096, 3_002_368 / 4096 * 4096 + 4096 - 4096));
        assert!(artifact.size > 0);
    }

    #[test]
    fn what_is_not_as_it_was_is_told_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let remote = Directory::new(directory.path().join("remote"));
        let from = directory.path().join("a");
        let artifact = disk(&from);
        send_all(&remote, &from, &artifact);
        for (at, name) in names(&remote, &artifact).into_iter().enumerate() {
            let stored = remote.get(&name, u64::MAX - 1).unwrap().unwrap();
            let mut changed = stored.clone();
            changed[stored.len() / 2] ^= 1;
            remote.put(&name, &changed).unwrap();
            let to = directory.path().join(format!("to{at}"));
            let error = fetch(&remote, &artifact, &to, &Cancel::default(), &|_, _| ()).unwrap_err();
            // A manifest with another digest in it is sound, and names a chunk that is not there.
            let Damaged(told) = error.downcast_ref::<Damaged>().unwrap();
            assert!(*told == name || name.ends_with(".json"), "{told}");
            remote.put(&name, &stored).unwrap();
        }
    }
}
