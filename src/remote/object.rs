//! Uploads an object to a remote, as compressed chunks in packs, and fetches and assembles it again;
//! several packs and parts of packs at once. Knows no record and no signature: fetched data is verified
//! by digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use fastcdc::v2020::StreamCDC;

use super::chunks::{
    AVERAGE_CHUNK, BLOCK, Chunk, Extent, ExtentFinder, ExtentMap, MAX_CHUNK, MIN_CHUNK, Manifest,
    Place, offsets,
};
use super::known::{self, Known};
use super::packs::{self, Location};
use super::{Remote, name};
use crate::artifact::{Artifact, Hashing};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Context, Error, Result, caused_by, ensure};
use crate::files::sparse::{data_extents, is_zero};
use crate::http::TooLong;
use crate::threads;

/// The compression level of Zstandard, its default.
const LEVEL: i32 = 3;

/// The number of parallel requests for parts of packs.
const READERS: usize = 16;

/// The number of packs that are compressed and uploaded at once; each is in memory.
const WRITERS: usize = 4;

/// An object with less data, in bytes, shares no chunks with others: looking for them takes longer.
const SMALL: u64 = 256 << 10;

/// The limit for the length of a manifest, in bytes: enough for 50 GiB of data.
const MAX_MANIFEST: u64 = 512 << 20;

/// The manifest of an object on the remote, if it has a consistent one.
pub(super) fn stored_manifest(
    remote: &dyn Remote,
    digest: Digest,
    hashing: Hashing,
    size: u64,
) -> Result<Option<Manifest>> {
    let most = Manifest::max_length(size).min(MAX_MANIFEST);
    let text = stored(remote, &name("objects", digest, "json"), most)?;
    Ok(text.and_then(|text| Manifest::read(&text, hashing, size)))
}

/// The manifest of `artifact` on the remote, if it has a consistent one.
pub(super) fn manifest_of(remote: &dyn Remote, artifact: &Artifact) -> Result<Option<Manifest>> {
    stored_manifest(remote, artifact.digest, artifact.hashing, artifact.size)
}

/// The file `name` on the remote. One that is longer than it can be is damaged, as good as none, and
/// no sign of a remote that fails.
pub(super) fn stored(remote: &dyn Remote, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
    not_too_long(remote.get(name, most))
}

fn not_too_long(outcome: Result<Option<Vec<u8>>>) -> Result<Option<Vec<u8>>> {
    match outcome {
        Err(error) if caused_by::<TooLong>(&error).is_some() => Ok(None),
        outcome => outcome,
    }
}

/// The name of an object's manifest.
pub(super) fn manifest_name(artifact: &Artifact) -> String {
    name("objects", artifact.digest, "json")
}

/// The name of a pack.
pub(super) fn pack_name(pack: &Digest) -> String {
    name("packs", pack, "pack")
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

/// Where objects are uploaded to.
pub(super) struct Target<'a> {
    pub remote: &'a dyn Remote,
    /// The names of files that are uploaded even if the remote has them.
    pub damaged: BTreeSet<String>,
    pub known: &'a Known,
    /// The pipeline and stage that the object is the result of, if that is known.
    pub stage: Option<String>,
    /// The bytes sent so far.
    pub sent: &'a AtomicU64,
    pub cancel: &'a Cancel,
}

/// Uploads the object in `file`. Chunks that the remote has are not sent again, unless their pack is
/// damaged.
pub(super) fn send(to: &Target<'_>, file: &Path, artifact: &Artifact) -> Result<()> {
    let manifest_name = manifest_name(artifact);
    if to.damaged.is_empty() && to.remote.has(&manifest_name)? {
        return Ok(());
    }
    let what = || format!("reading {}", file.display());
    let file = File::open(file).with_context(what)?;
    let extents = find_extents(&file).with_context(what)?;
    let chunks = split(&file, &extents, to.cancel).with_context(what)?;
    let data = chunks.iter().map(|chunk| u64::from(chunk.1)).sum();
    let recent = to.stage.as_ref().filter(|_| data >= SMALL);
    if let Some(stage) = recent {
        to.known.learn_recent(to.remote, stage)?;
    }
    let mut places = to.shared(&chunks, data)?;
    let mut seen = BTreeSet::new();
    let (new, starts): (Vec<Chunk>, Vec<u64>) = chunks
        .iter()
        .zip(offsets(chunks.iter()))
        .filter(|(chunk, _)| !places.contains_key(chunk) && seen.insert(**chunk))
        .unzip();
    let map = ExtentMap::new(&extents);
    let uploaded = Mutex::new(Vec::new());
    threads::for_each(&packs::deal(&new), WRITERS, |pack| -> Result<()> {
        to.cancel.check()?;
        let chunks = new[pack.clone()].iter().zip(&starts[pack.clone()]);
        let locations = to.send_pack(&file, &map, chunks)?;
        uploaded.lock().unwrap_or_else(PoisonError::into_inner).extend(locations);
        Ok(())
    })?;
    places.extend(uploaded.into_inner().unwrap_or_else(PoisonError::into_inner));
    let manifest = manifest(artifact, extents, &chunks, &places);
    to.cancel.check()?;
    to.put(&manifest_name, &manifest.text())?;
    if let Some(stage) = recent {
        let sent = known::note_recent(to.remote, stage, artifact)?;
        to.sent.fetch_add(sent, Ordering::Relaxed);
    }
    to.known.learn(&manifest);
    Ok(())
}

impl Target<'_> {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.remote.put(name, bytes)?;
        self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Where those of `chunks` lie that the remote has.
    fn shared(&self, chunks: &[Chunk], data: u64) -> Result<BTreeMap<Chunk, Location>> {
        let mut found = self.known.find(chunks.iter());
        found.retain(|_, location| !self.damaged.contains(&pack_name(&location.pack)));
        packs::keep_worthwhile(&mut found, data);
        let packs: BTreeSet<Digest> = found.values().map(|location| location.pack).collect();
        let packs: Vec<Digest> = packs.into_iter().collect();
        let there = Mutex::new(BTreeSet::new());
        threads::for_each(&packs, READERS, |pack| -> Result<()> {
            self.cancel.check()?;
            if self.remote.has(&pack_name(pack))? {
                there.lock().unwrap_or_else(PoisonError::into_inner).insert(*pack);
            }
            Ok(())
        })?;
        let there = there.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.retain(|_, location| there.contains(&location.pack));
        Ok(found)
    }

    /// Uploads a pack of `chunks`, which begin at these offsets in the concatenated extents. An upload
    /// that was interrupted deals the same packs out, so what it has sent is not sent again.
    fn send_pack<'c>(
        &self,
        file: &File,
        map: &ExtentMap,
        chunks: impl Iterator<Item = (&'c Chunk, &'c u64)>,
    ) -> Result<Vec<(Chunk, Location)>> {
        let (mut pack, mut places) = (Vec::new(), Vec::new());
        let mut compressor = zstd::bulk::Compressor::new(LEVEL).context("compressing a chunk")?;
        for (chunk, start) in chunks {
            let bytes = read_chunk(file, map, chunk, *start)?;
            let small = compressor.compress(&bytes).context("compressing a chunk")?;
            places.push((*chunk, pack.len() as u32, small.len() as u32));
            pack.extend_from_slice(&small);
        }
        let digest = Digest::of(&pack);
        let name = pack_name(&digest);
        if self.damaged.contains(&name) || !self.remote.has(&name)? {
            self.put(&name, &pack)?;
        }
        let location = |(chunk, at, length)| (chunk, Location { pack: digest, at, length });
        Ok(places.into_iter().map(location).collect())
    }
}

/// The manifest of an object whose chunks all have a place.
fn manifest(
    artifact: &Artifact,
    extents: Vec<Extent>,
    chunks: &[Chunk],
    places: &BTreeMap<Chunk, Location>,
) -> Manifest {
    let (mut packs, mut indexes) = (Vec::new(), BTreeMap::new());
    let place = |chunk: &Chunk| {
        let location = places[chunk];
        let index = *indexes.entry(location.pack).or_insert_with(|| {
            packs.push(location.pack);
            packs.len() as u32 - 1
        });
        (*chunk, Place(index, location.at, location.length))
    };
    let chunks = chunks.iter().map(place).collect();
    Manifest { hashing: artifact.hashing, size: artifact.size, extents, packs, chunks }
}

/// The bytes of a chunk of a file. They are what they were when it was split, or the file was changed.
fn read_chunk(file: &File, map: &ExtentMap, chunk: &Chunk, start: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; chunk.1 as usize];
    let mut done = 0;
    for (at, length) in map.parts(start, u64::from(chunk.1)) {
        let end = done + length as usize;
        file.read_exact_at(&mut bytes[done..end], at).context("reading a chunk")?;
        done = end;
    }
    ensure!(Digest::of(&bytes) == chunk.0, "the object changed while it was read");
    Ok(bytes)
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

/// Splits the extents of a file into chunks, in order.
fn split(file: &File, extents: &[Extent], cancel: &Cancel) -> Result<Vec<Chunk>> {
    let reader = ExtentReader { file, extents, done: 0 };
    let mut chunks = Vec::new();
    for cut in StreamCDC::new(reader, MIN_CHUNK, AVERAGE_CHUNK, MAX_CHUNK) {
        cancel.check()?;
        let bytes = cut.map_err(io::Error::from)?.data;
        chunks.push(Chunk(Digest::of(&bytes), bytes.len() as u32));
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

/// Fetches the object of `artifact` into the new file `path`; returns its manifest. The error is
/// [`Damaged`] if a file of the remote is missing or damaged. The caller compares the object with the
/// artifact's digest.
pub(super) fn fetch(
    remote: &dyn Remote,
    artifact: &Artifact,
    path: &Path,
    cancel: &Cancel,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Manifest> {
    let manifest = manifest_of(remote, artifact)?
        .ok_or_else(|| Error::new(Damaged(manifest_name(artifact))))?;
    let what = || format!("writing {}", path.display());
    let file = File::options().write(true).create_new(true).open(path).with_context(what)?;
    file.set_len(artifact.size).with_context(what)?;
    let map = ExtentMap::new(&manifest.extents);
    let (done, total) = (AtomicU64::new(0), manifest.data_length());
    progress(0, total);
    let write = |bytes: &[u8], start: u64| -> Result<()> {
        let mut rest = bytes;
        for (at, length) in map.parts(start, bytes.len() as u64) {
            let (piece, more) = rest.split_at(length as usize);
            write_sparse(&file, piece, at).with_context(what)?;
            rest = more;
        }
        let length = bytes.len() as u64;
        progress(done.fetch_add(length, Ordering::Relaxed) + length, total);
        Ok(())
    };
    threads::for_each(&packs::parts(&manifest), READERS, |part| -> Result<()> {
        cancel.check()?;
        let name = pack_name(&part.pack);
        let length = part.range.end - part.range.start;
        let stored = not_too_long(remote.part(&name, part.range.start, length))?;
        let stored = stored.ok_or_else(|| Error::new(Damaged(name.clone())))?;
        for (chunk, range, starts) in &part.chunks {
            let [start, end] = [range.start, range.end].map(|at| (at - part.range.start) as usize);
            let bytes = stored.get(start..end).and_then(|stored| decompressed(stored, chunk));
            let bytes = bytes.ok_or_else(|| Error::new(Damaged(name.clone())))?;
            starts.iter().try_for_each(|start| write(&bytes, *start))?;
        }
        Ok(())
    })?;
    Ok(manifest)
}

/// The names of all files of an object on the remote.
pub(super) fn names(remote: &dyn Remote, artifact: &Artifact) -> Vec<String> {
    let manifest = manifest_of(remote, artifact).ok().flatten();
    let packs = manifest.map(|manifest| manifest.packs).unwrap_or_default();
    std::iter::once(manifest_name(artifact)).chain(packs.iter().map(pack_name)).collect()
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
        send_of(remote, file, artifact, None)
    }

    fn send_of(remote: &Directory, file: &Path, artifact: &Artifact, stage: Option<&str>) -> u64 {
        let (sent, cancel) = (AtomicU64::new(0), Cancel::default());
        let target = Target {
            remote,
            damaged: BTreeSet::new(),
            known: &Known::default(),
            stage: stage.map(str::to_string),
            sent: &sent,
            cancel: &cancel,
        };
        send(&target, file, artifact).unwrap();
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
    fn of_a_changed_object_little_is_sent_and_little_is_read_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let remote = Directory::new(directory.path().join("remote"));
        let from = directory.path().join("a");
        let mut artifact = disk(&from);
        let whole = send_of(&remote, &from, &artifact, Some("p/disk"));
        let file = File::options().write(true).open(&from).unwrap();
        file.write_all_at(b"changed", 1_000_000).unwrap();
        artifact.digest = hash_object(&from, Hashing::Sparse).unwrap();
        // By a process that knows nothing yet, of another stage, and of the same.
        assert!(send_of(&remote, &from, &artifact, Some("p/other")) > whole / 2);
        file.write_all_at(b"changed", 2_000_000).unwrap();
        artifact.digest = hash_object(&from, Hashing::Sparse).unwrap();
        assert!(send_of(&remote, &from, &artifact, Some("p/disk")) < whole / 5);
        let to = directory.path().join("b");
        let manifest = fetch(&remote, &artifact, &to, &Cancel::default(), &|_, _| ()).unwrap();
        assert_eq!(hash_object(&to, Hashing::Sparse).unwrap(), artifact.digest);
        assert_eq!(manifest.packs.len(), 2);
        // Where the packs of the first have gone, all is sent again.
        std::fs::remove_file(directory.path().join("remote").join(pack_name(&manifest.packs[0])))
            .unwrap();
        file.write_all_at(b"changed", 3_000_000 - 7).unwrap();
        artifact.digest = hash_object(&from, Hashing::Sparse).unwrap();
        assert!(send_of(&remote, &from, &artifact, Some("p/disk")) > whole / 2);
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
            // A manifest with another digest in it is consistent, and names a missing pack.
            let Damaged(named) = error.downcast_ref::<Damaged>().unwrap();
            assert!(*named == name || name.ends_with(".json"), "{named}");
            remote.put(&name, &stored).unwrap();
        }
    }
}
