//! Uploads an object to a remote, split into compressed chunks, and fetches and assembles it again;
//! several chunks at once. Knows no record and no signature: fetched data is verified by digest.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

use fastcdc::v2020::StreamCDC;

use super::chunks::{
    AVERAGE_CHUNK, BLOCK, Chunk, Extent, ExtentFinder, ExtentMap, MAX_CHUNK, MIN_CHUNK, Manifest,
};
use super::{Remote, name};
use crate::artifact::Artifact;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Context, Error, Result, caused_by};
use crate::files::sparse::{data_extents, is_zero};
use crate::http::TooLong;
use crate::threads;

/// The compression level of Zstandard, its default.
const LEVEL: i32 = 3;

/// The number of parallel requests.
const WORKERS: usize = 16;

/// The limit for the length of a manifest, in bytes: enough for 100 GiB of data.
const MAX_MANIFEST: u64 = 512 << 20;

/// The maximum size of a compressed chunk: more than Zstandard's own bound.
fn max_stored(chunk: &Chunk) -> u64 {
    let length = u64::from(chunk.1);
    length + length / 128 + 1024
}

/// The manifest of `artifact` on the remote, if it has a consistent one.
fn manifest_of(remote: &dyn Remote, artifact: &Artifact) -> Result<Option<Manifest>> {
    let most = Manifest::max_length(artifact.size).min(MAX_MANIFEST);
    let text = stored(remote, &manifest_name(artifact), most)?;
    Ok(text.and_then(|text| Manifest::read(&text, artifact)))
}

/// The file `name` on the remote. One that is longer than it can be is damaged, as good as none, and
/// no sign of a remote that fails.
fn stored(remote: &dyn Remote, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
    match remote.get(name, most) {
        Err(error) if caused_by::<TooLong>(&error).is_some() => Ok(None),
        outcome => outcome,
    }
}

/// The name of an object's manifest.
pub(super) fn manifest_name(artifact: &Artifact) -> String {
    name("objects", artifact.digest, "json")
}

fn chunk_name(chunk: &Chunk) -> String {
    name("chunks", chunk.0, "zst")
}

/// A file on the remote is missing or not what was stored; its name.
#[derive(Debug)]
pub(super) struct Damaged(pub String);

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is missing or damaged", self.0)
    }
}

impl std::error::Error for Damaged {}

/// Uploads the object in `file`. Files that the remote has are not sent again, unless their names are
/// in `damaged`. The number of bytes sent is added to `sent`.
pub(super) fn send(
    remote: &dyn Remote,
    file: &Path,
    artifact: &Artifact,
    damaged: &BTreeSet<String>,
    sent: &AtomicU64,
    cancel: &Cancel,
) -> Result<()> {
    let manifest_name = manifest_name(artifact);
    if damaged.is_empty() && remote.has(&manifest_name)? {
        return Ok(());
    }
    let what = || format!("reading {}", file.display());
    let file = File::open(file).with_context(what)?;
    let extents = find_extents(&file).with_context(what)?;
    let stop = AtomicBool::new(false);
    let (sender, receiver) = mpsc::sync_channel::<(Chunk, Vec<u8>)>(WORKERS);
    let receiver = Mutex::new(receiver);
    let failed = Mutex::new(None);
    let store = |chunk: &Chunk, bytes: &[u8]| -> Result<()> {
        let name = chunk_name(chunk);
        if damaged.contains(&name) || !remote.has(&name)? {
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
            // After a failure the channel is still emptied, or the producer would block.
            if !stop.load(Ordering::Relaxed)
                && let Err(error) = store(&chunk, &bytes)
            {
                stop.store(true, Ordering::Relaxed);
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    let chunks = std::thread::scope(|scope| {
        threads::start(scope, work).context(what())?;
        (1..WORKERS).map_while(|_| threads::start(scope, work).ok()).for_each(drop);
        let chunks = split(&file, &extents, |chunk, bytes| {
            let goes_on = !stop.load(Ordering::Relaxed) && !cancel.is_set();
            Ok(goes_on && sender.send((chunk, bytes)).is_ok())
        });
        drop(sender);
        chunks.with_context(what)
    })?;
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    cancel.check()?;
    let manifest = Manifest { hashing: artifact.hashing, size: artifact.size, extents, chunks };
    let text = manifest.text();
    remote.put(&manifest_name, &text)?;
    sent.fetch_add(text.len() as u64, Ordering::Relaxed);
    Ok(())
}

/// The extents of a file with data.
fn find_extents(file: &File) -> io::Result<Vec<Extent>> {
    let length = file.metadata()?.len();
    let block = BLOCK as u64;
    let mut finder = ExtentFinder::default();
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    for (start, count) in data_extents(file)? {
        // Whole blocks: the result must depend on content, not on the file system's extents.
        let mut at = (start / block * block).max(done);
        let end = (start + count).next_multiple_of(block).min(length);
        while at < end {
            let n = (buffer.len() as u64).min(end - at) as usize;
            file.read_exact_at(&mut buffer[..n], at)?;
            finder.add(at, &buffer[..n]);
            at += n as u64;
        }
        done = at.max(done);
    }
    Ok(finder.finish())
}

/// Splits the extents of a file into chunks. Passes each new chunk to `take`, until that returns
/// `false`. Returns all chunks, in order.
fn split(
    file: &File,
    extents: &[Extent],
    mut take: impl FnMut(Chunk, Vec<u8>) -> Result<bool>,
) -> Result<Vec<Chunk>> {
    let reader = ExtentReader { file, extents, done: 0 };
    let mut seen = BTreeSet::new();
    let mut chunks = Vec::new();
    for cut in StreamCDC::new(reader, MIN_CHUNK, AVERAGE_CHUNK, MAX_CHUNK) {
        let bytes = cut.map_err(io::Error::from)?.data;
        let chunk = Chunk(Digest::of(&bytes), bytes.len() as u32);
        chunks.push(chunk);
        if seen.insert(chunk) && !take(chunk, bytes)? {
            break;
        }
    }
    Ok(chunks)
}

/// Reads the concatenated extents of a file.
struct ExtentReader<'a> {
    file: &'a File,
    extents: &'a [Extent],
    /// The number of bytes read of the first extent.
    done: u64,
}

impl Read for ExtentReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(Extent(at, length)) = self.extents.first() else { return Ok(0) };
        let wanted = (length - self.done).min(buffer.len() as u64) as usize;
        self.file.read_exact_at(&mut buffer[..wanted], at + self.done)?;
        self.done += wanted as u64;
        if self.done == *length {
            (self.extents, self.done) = (&self.extents[1..], 0);
        }
        Ok(wanted)
    }
}

/// Fetches the object of `artifact` into the new file `path`. The error is [`Damaged`] if a file of
/// the remote is missing or damaged. The caller compares the object with the artifact's digest.
pub(super) fn fetch(
    remote: &dyn Remote,
    artifact: &Artifact,
    path: &Path,
    cancel: &Cancel,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<()> {
    let manifest = manifest_of(remote, artifact)?
        .ok_or_else(|| Error::new(Damaged(manifest_name(artifact))))?;
    let what = || format!("writing {}", path.display());
    let file = File::options().write(true).create_new(true).open(path).with_context(what)?;
    file.set_len(artifact.size).with_context(what)?;
    let map = ExtentMap::new(&manifest.extents);
    let (offsets, total) = (manifest.chunk_offsets(), manifest.data_length());
    let done = AtomicU64::new(0);
    progress(0, total);
    let one = |chunk: &Chunk, start: u64| -> Result<()> {
        cancel.check()?;
        let name = chunk_name(chunk);
        let bytes = stored(remote, &name, max_stored(chunk))?
            .and_then(|stored| decompressed(&stored, chunk))
            .ok_or_else(|| Error::new(Damaged(name)))?;
        let mut rest = &bytes[..];
        for (at, length) in map.parts(start, u64::from(chunk.1)) {
            let (piece, more) = rest.split_at(length as usize);
            write_sparse(&file, piece, at).with_context(what)?;
            rest = more;
        }
        let length = u64::from(chunk.1);
        progress(done.fetch_add(length, Ordering::Relaxed) + length, total);
        Ok(())
    };
    let chunks: Vec<(&Chunk, u64)> = manifest.chunks.iter().zip(offsets).collect();
    threads::for_each(&chunks, WORKERS, |&(chunk, start)| one(chunk, start))
}

/// The names of all files of an object on the remote.
pub(super) fn names(remote: &dyn Remote, artifact: &Artifact) -> Vec<String> {
    let manifest = manifest_of(remote, artifact).ok().flatten();
    let chunks = manifest.map(|manifest| manifest.chunks).unwrap_or_default();
    std::iter::once(manifest_name(artifact)).chain(chunks.iter().map(chunk_name)).collect()
}

/// The bytes of a chunk, if they have its digest.
fn decompressed(stored: &[u8], chunk: &Chunk) -> Option<Vec<u8>> {
    let bytes = zstd::bulk::decompress(stored, chunk.1 as usize).ok()?;
    (bytes.len() == chunk.1 as usize && Digest::of(&bytes) == chunk.0).then_some(bytes)
}

/// Writes `bytes` unless they are all zeros, which stay a hole.
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
        let (damaged, cancel) = (BTreeSet::new(), Cancel::default());
        send(remote, file, artifact, &damaged, &sent, &cancel).unwrap();
        sent.into_inner()
    }

    #[test]
    fn an_object_is_restored_and_sparse() {
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
    fn written_zeros_and_holes_give_the_same_extents() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let artifact = disk(&path);
        let sparse = find_extents(&File::open(&path).unwrap()).unwrap();
        let full = directory.path().join("full");
        std::fs::write(&full, std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(find_extents(&File::open(&full).unwrap()).unwrap(), sparse);
        assert_eq!(sparse.len(), 3);
        assert_eq!(sparse[0], Extent(4096, 3_002_368 / 4096 * 4096 + 4096 - 4096));
        assert!(artifact.size > 0);
    }

    #[test]
    fn a_damaged_file_is_named() {
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
            // A manifest with another digest in it is consistent, and names a missing chunk.
            let Damaged(named) = error.downcast_ref::<Damaged>().unwrap();
            assert!(*named == name || name.ends_with(".json"), "{named}");
            remote.put(&name, &stored).unwrap();
        }
    }
}
