//! Sparse files: finding their data, copying without filling holes, and the tree hash that names
//! a disk. In the hash a hole and written zeros are the same, and both cost next to nothing, so a
//! 28 GiB disk with 1 GiB of data is hashed in the time of 1 GiB.
//!
//! Tree hash: the file is cut into leaves of 4 MiB (the last may be shorter); the digest is the
//! SHA-256 of `kuth-sparse-1\n`, the length as 8 bytes little endian, and for each leaf 32 bytes:
//! its SHA-256, or 32 zero bytes when all of it is zero.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::SeekFrom;

use crate::digest::{Digest, Hasher};
use crate::error::{Context, Result};
use crate::threads;

/// The unit of the tree hash, in bytes.
const LEAF: u64 = 4 << 20;
/// Zeros of this many bytes are left out of what is written.
const HOLE: usize = 4096;

/// The parts of `file` that may hold data, as (offset, length) in bytes, in order. Holes lie
/// between them; a file system without holes gives the whole file.
pub fn data_extents(file: &File) -> io::Result<Vec<(u64, u64)>> {
    let length = file.metadata()?.len();
    let mut extents = Vec::new();
    let mut at = 0;
    while at < length {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(rustix::io::Errno::INVAL) => return Ok(vec![(0, length)]),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
        extents.push((start, end - start));
        at = end;
    }
    Ok(extents)
}

/// The tree hash of a file's content; see the top of this file.
pub fn tree_hash(file: &File) -> io::Result<Digest> {
    let length = file.metadata()?.len();
    let extents = data_extents(file)?;
    let mut busy: Vec<u64> = extents
        .iter()
        .flat_map(|(start, count)| start / LEAF..(start + count).div_ceil(LEAF))
        .collect();
    busy.dedup();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(4);
    let next = AtomicU64::new(0);
    let work = || -> io::Result<Vec<(u64, Digest)>> {
        let mut buffer = vec![0; LEAF as usize];
        let mut hashed = Vec::new();
        while let Some(&leaf) = busy.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            let start = leaf * LEAF;
            let bytes = &mut buffer[..LEAF.min(length - start) as usize];
            file.read_exact_at(bytes, start)?;
            if !is_zero(bytes) {
                hashed.push((leaf, Digest::of(bytes)));
            }
        }
        Ok(hashed)
    };
    let mut hashed = std::thread::scope(|scope| -> io::Result<Vec<(u64, Digest)>> {
        let others: Vec<_> = (1..threads).map_while(|_| threads::start(scope, work).ok()).collect();
        let mut all = work()?;
        for worker in others {
            all.extend(worker.join().map_err(|_| io::Error::other("a hashing thread panicked"))??);
        }
        Ok(all)
    })?;
    hashed.sort();
    let mut hasher = Hasher::default();
    hasher.update(b"kuth-sparse-1\n");
    hasher.update(&length.to_le_bytes());
    let mut leaves = hashed.into_iter().peekable();
    for leaf in 0..length.div_ceil(LEAF) {
        match leaves.next_if(|(at, _)| *at == leaf) {
            Some((_, digest)) => hasher.update(&digest.0),
            None => hasher.update(&[0; 32]),
        }
    }
    Ok(hasher.finish())
}

/// Whether every byte is zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (head, words, tail) = (bytes.chunks_exact(8), 0u64, bytes.chunks_exact(8).remainder());
    head.fold(words, |all, word| all | u64::from_ne_bytes(word.try_into().unwrap_or([1; 8]))) == 0
        && tail.iter().all(|byte| *byte == 0)
}

/// [`is_zero`], quick to see that it is not so.
pub fn is_blank(bytes: &[u8]) -> bool {
    is_zero(&bytes[..bytes.len().min(64)]) && is_zero(bytes)
}

/// Writes `bytes` at byte `offset` of a file that is zero there. Blocks of 4 KiB of zeros are left
/// out; each run of other blocks is one write. The length of the file is the caller's.
pub fn write_data(target: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut start = None;
    for (at, block) in (0..).step_by(HOLE).zip(bytes.chunks(HOLE)) {
        match (is_blank(block), start) {
            (false, None) => start = Some(at),
            (true, Some(from)) => {
                target.write_all_at(&bytes[from..at], offset + from as u64)?;
                start = None;
            }
            _ => {}
        }
    }
    match start {
        Some(from) => target.write_all_at(&bytes[from..], offset + from as u64),
        None => Ok(()),
    }
}

/// Writes to a file that is empty, and leaves blocks of zeros out. The caller sets the length when it
/// is complete.
pub struct HoleWriter {
    file: File,
    at: u64,
}

impl HoleWriter {
    /// Writes to the empty `file` from its beginning.
    pub fn new(file: File) -> HoleWriter {
        HoleWriter { file, at: 0 }
    }

    /// The file.
    pub fn into_inner(self) -> File {
        self.file
    }
}

impl Write for HoleWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_data(&self.file, bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies the data of `from` into `to` at `offset`; holes are left out, so `to` must be zero there.
pub fn copy_data(from: &File, to: &File, offset: u64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for (start, count) in data_extents(from)? {
        let mut at = start;
        while at < start + count {
            let n = (buffer.len() as u64).min(start + count - at) as usize;
            from.read_exact_at(&mut buffer[..n], at)?;
            // Zeros that were written become holes in the copy.
            write_data(to, &buffer[..n], offset + at)?;
            at += n as u64;
        }
    }
    Ok(())
}

/// Makes `to` a copy of `from` that shares its blocks where the file system can, else its data
/// without its holes. `to` must not exist.
pub fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("copying {} to {}", from.display(), to.display());
    let source = File::open(from).with_context(what)?;
    let target = File::options().write(true).create_new(true).open(to).with_context(what)?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return Ok(());
    }
    let length = source.metadata().with_context(what)?.len();
    target.set_len(length).with_context(what)?;
    copy_data(&source, &target, 0).with_context(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(length: u64, data: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(length).unwrap();
        for (offset, bytes) in data {
            file.write_all_at(bytes, *offset).unwrap();
        }
        file
    }

    #[test]
    fn holes_and_written_zeros_hash_alike() {
        let length = 3 * LEAF + 5;
        let holes = file(length, &[(LEAF + 7, b"data")]);
        let zeros = file(length, &[(0, &[0; 9000]), (LEAF + 7, b"data"), (3 * LEAF, &[0; 5])]);
        assert_eq!(tree_hash(&holes).unwrap(), tree_hash(&zeros).unwrap());
    }

    #[test]
    fn content_place_and_length_all_count() {
        let base = tree_hash(&file(2 * LEAF, &[(1, b"a")])).unwrap();
        assert_ne!(base, tree_hash(&file(2 * LEAF, &[(1, b"b")])).unwrap());
        assert_ne!(base, tree_hash(&file(2 * LEAF, &[(2, b"a")])).unwrap());
        assert_ne!(base, tree_hash(&file(2 * LEAF, &[(LEAF + 1, b"a")])).unwrap());
        assert_ne!(base, tree_hash(&file(2 * LEAF + 1, &[(1, b"a")])).unwrap());
    }

    #[test]
    fn the_hash_is_pinned() {
        // By Python, from the rule at the top of this file:
        // h = lambda b: hashlib.sha256(b).digest(); leaf = 4 << 20
        // h(b"kuth-sparse-1\n" + struct.pack("<Q", leaf + 1) + bytes(32) + h(b"x")).hex()
        let pinned = "96d2ecbef13a10029f7c4f4202bbf45461a49db1faec1df16e1bb0ffffbfc32f";
        let digest = tree_hash(&file(LEAF + 1, &[(LEAF, b"x")])).unwrap();
        assert_eq!(digest.to_string(), pinned);
    }

    #[test]
    fn a_copy_has_the_content_and_not_the_holes() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        let source = File::create(&from).unwrap();
        source.set_len(64 << 20).unwrap();
        source.write_all_at(b"data", 33 << 20).unwrap();
        copy_file(&from, &to).unwrap();
        let copy = File::open(&to).unwrap();
        assert_eq!(tree_hash(&copy).unwrap(), tree_hash(&File::open(&from).unwrap()).unwrap());
        assert!(copy.metadata().unwrap().blocks() * 512 < 1 << 20);
    }

    #[test]
    fn blocks_of_zeros_are_not_written() {
        use std::os::unix::fs::MetadataExt;
        let file = tempfile::tempfile().unwrap();
        let mut bytes = vec![0; 1 << 20];
        bytes[500_000] = 1;
        bytes[1_048_575] = 2;
        write_data(&file, &bytes, 8192).unwrap();
        let mut read = vec![1; 1 << 20];
        file.read_exact_at(&mut read, 8192).unwrap();
        assert!(read == bytes);
        assert!(file.metadata().unwrap().blocks() * 512 <= 64 << 10);
    }
}
