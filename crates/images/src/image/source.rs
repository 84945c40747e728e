//! Random access to bytes: what an image, a partition, a volume and a file system each read from, and
//! are in turn. A read past the end is an error that says where.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Context, Result, ensure};
use crate::units::Bytes;

/// Something of a certain length, any part of which can be read.
pub trait Source: Send + Sync {
    /// Its length.
    fn size(&self) -> u64;

    /// Fills `bytes` with what is at `at`; all of it, or it fails.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()>;

    /// How many bytes from `at` on are known to be zero without reading them; 0 where none are.
    fn hole_at(&self, _at: u64) -> Result<u64> {
        Ok(0)
    }
}

/// A source that many share.
pub type Shared = Arc<dyn Source>;

/// `length` bytes at `at`, which the caller has bounded.
pub fn bytes(source: &dyn Source, at: u64, length: usize) -> Result<Vec<u8>> {
    check(source, at, length as u64)?;
    let mut bytes = vec![0; length];
    source.read_at(&mut bytes, at)?;
    Ok(bytes)
}

/// No table of a container is longer: of a VDI this one is about 16 TiB.
const LARGEST_TABLE: u64 = 64 << 20;

/// The table of `length` bytes at `at`; refuses one that would take too much memory.
pub fn table(source: &dyn Source, at: u64, length: u64) -> Result<Vec<u8>> {
    ensure!(length <= LARGEST_TABLE, "a table of {}", Bytes(length));
    bytes(source, at, length as usize).with_context(|| format!("reading the table at {at}"))
}

/// The first `length` bytes, or all there are.
pub fn head(source: &dyn Source, length: usize) -> Result<Vec<u8>> {
    bytes(source, 0, source.size().min(length as u64) as usize)
}

/// An error where `length` bytes at `at` are not all there.
pub fn check(source: &dyn Source, at: u64, length: u64) -> Result<()> {
    let size = source.size();
    let inside = at.checked_add(length).is_some_and(|end| end <= size);
    ensure!(inside, "cut short: {length} bytes at {at} of {}", Bytes(size));
    Ok(())
}

/// A file as it is.
pub struct Plain {
    file: File,
    size: u64,
}

impl Plain {
    /// All of `file`.
    pub fn new(file: File) -> Result<Plain> {
        let size = file.metadata()?.len();
        Ok(Plain { file, size })
    }
}

impl Source for Plain {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        check(self, at, bytes.len() as u64)?;
        self.file.read_exact_at(bytes, at).with_context(|| format!("reading at {at}"))
    }

    fn hole_at(&self, at: u64) -> Result<u64> {
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => Ok(data.min(self.size).saturating_sub(at)),
            Err(rustix::io::Errno::NXIO) => Ok(self.size.saturating_sub(at)),
            // A file system without holes.
            Err(_) => Ok(0),
        }
    }
}

/// Bytes in memory.
pub struct Memory(pub Vec<u8>);

impl Source for Memory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        check(self, at, bytes.len() as u64)?;
        bytes.copy_from_slice(&self.0[at as usize..][..bytes.len()]);
        Ok(())
    }
}

/// A part of another source.
pub struct Part {
    below: Shared,
    start: u64,
    size: u64,
}

impl Part {
    /// `size` bytes of `below` from `start` on. Refuses what is not all there.
    pub fn new(below: Shared, start: u64, size: u64) -> Result<Part> {
        check(&*below, start, size)?;
        Ok(Part { below, start, size })
    }
}

impl Source for Part {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        check(self, at, bytes.len() as u64)?;
        self.below.read_at(bytes, self.start + at)
    }

    fn hole_at(&self, at: u64) -> Result<u64> {
        Ok(self.below.hole_at(self.start + at)?.min(self.size.saturating_sub(at)))
    }
}

/// Sources laid one behind the other.
pub struct Joined {
    parts: Vec<(u64, Shared)>,
    size: u64,
}

impl Joined {
    /// In this order.
    pub fn new(sources: Vec<Shared>) -> Joined {
        let mut size = 0u64;
        let mut parts = Vec::new();
        for source in sources.into_iter().filter(|source| source.size() > 0) {
            let start = size;
            size = size.saturating_add(source.size());
            parts.push((start, source));
        }
        Joined { parts, size }
    }
}

impl Source for Joined {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        check(self, at, bytes.len() as u64)?;
        let (mut done, mut at) = (0, at);
        let mut index = self.parts.partition_point(|(start, _)| *start <= at).saturating_sub(1);
        while done < bytes.len() {
            let (start, source) = &self.parts[index];
            let within = at - start;
            let n = (bytes.len() - done).min((source.size() - within) as usize);
            source.read_at(&mut bytes[done..done + n], within)?;
            (done, at, index) = (done + n, at + n as u64, index + 1);
        }
        Ok(())
    }

    fn hole_at(&self, at: u64) -> Result<u64> {
        let index = self.parts.partition_point(|(start, _)| *start <= at).saturating_sub(1);
        let Some((start, source)) = self.parts.get(index) else { return Ok(0) };
        let within = at - start;
        Ok(source.hole_at(within)?.min(source.size().saturating_sub(within)))
    }
}

/// Nothing but zeros.
pub struct Zeros(pub u64);

impl Source for Zeros {
    fn size(&self) -> u64 {
        self.0
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        check(self, at, bytes.len() as u64)?;
        bytes.fill(0);
        Ok(())
    }

    fn hole_at(&self, at: u64) -> Result<u64> {
        Ok(self.0.saturating_sub(at))
    }
}

/// Pieces by their index, the last used first.
type Pieces = VecDeque<(u64, Arc<Vec<u8>>)>;

/// The last few pieces that were read or decompressed.
pub struct Recent {
    pieces: Mutex<Pieces>,
    room: usize,
}

impl Recent {
    /// Keeps the last ones, together about `bytes` long, but at least two.
    pub fn of(bytes: usize, each: usize) -> Recent {
        Recent { pieces: Mutex::default(), room: (bytes / each.max(1)).max(2) }
    }

    /// The piece `index`, made by `make` if it is not there.
    pub fn get(&self, index: u64, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Arc<Vec<u8>>> {
        let mut pieces = self.pieces();
        if let Some(piece) = find(&mut pieces, index) {
            return Ok(piece);
        }
        let piece = make()?;
        Ok(self.keep(&mut pieces, index, piece))
    }

    /// The piece `index`, if it is there.
    pub fn find(&self, index: u64) -> Option<Arc<Vec<u8>>> {
        find(&mut self.pieces(), index)
    }

    /// Keeps the piece `index`, which is not there.
    pub fn put(&self, index: u64, piece: Vec<u8>) -> Arc<Vec<u8>> {
        self.keep(&mut self.pieces(), index, piece)
    }

    fn keep(&self, pieces: &mut Pieces, index: u64, piece: Vec<u8>) -> Arc<Vec<u8>> {
        let piece = Arc::new(piece);
        pieces.push_front((index, piece.clone()));
        pieces.truncate(self.room);
        piece
    }

    /// How many pieces it keeps.
    pub fn room(&self) -> usize {
        self.room
    }

    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds a piece, which becomes the last that was used.
fn find(pieces: &mut Pieces, index: u64) -> Option<Arc<Vec<u8>>> {
    let at = pieces.iter().position(|(other, _)| *other == index)?;
    if at > 0
        && let Some(piece) = pieces.remove(at)
    {
        pieces.push_front(piece);
    }
    pieces.front().map(|(_, piece)| piece.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_joints_are_where_they_should_be() {
        let memory = |text: &str| -> Shared { Arc::new(Memory(text.as_bytes().to_vec())) };
        let part: Shared = Arc::new(Part::new(memory("abcdef"), 2, 3).unwrap());
        let joined = Joined::new(vec![part, Arc::new(Zeros(0)), memory("xyz")]);
        assert_eq!(bytes(&joined, 0, 6).unwrap(), b"cdexyz");
        assert_eq!(bytes(&joined, 3, 3).unwrap(), b"xyz");
        assert_eq!(bytes(&joined, 1, 3).unwrap(), b"dex");
        let error = bytes(&joined, 4, 3).unwrap_err().to_string();
        assert_eq!(error, "cut short: 3 bytes at 4 of 6 B");
        assert!(Part::new(memory("abc"), u64::MAX, 2).is_err());
        assert!(Part::new(memory("abc"), 2, 2).is_err());
    }
}
