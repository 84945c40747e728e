//! Which chunks are stored together. A chunk is small, so that results share many, and a request takes
//! its time however small it is; therefore chunks lie one after another in packs, and a reader asks for
//! whole parts of those. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::chunks::{Chunk, Manifest, Place, offsets};
use crate::digest::Digest;

/// A pack has at most this many bytes of chunks before compression.
const PACK_DATA: u64 = 24 << 20;

/// The limit for the size of a pack, in bytes: more than chunks of [`PACK_DATA`] can take.
pub const MAX_PACK: u64 = 32 << 20;

/// A request asks for at most this many bytes, so that several run at once.
const MAX_PART: u64 = 4 << 20;

/// A request asks for what lies between two chunks too if that is at most this many bytes.
const MAX_GAP: u64 = 128 << 10;

/// Where a chunk lies on the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The pack.
    pub pack: Digest,
    /// Offset in the pack in bytes.
    pub at: u32,
    /// Length in bytes, compressed.
    pub length: u32,
}

/// Deals `chunks`, which no pack has, out to new packs: which of them each gets, in order.
pub fn deal(chunks: &[Chunk]) -> Vec<Range<usize>> {
    let (mut packs, mut start, mut size) = (Vec::new(), 0, 0);
    for (at, chunk) in chunks.iter().enumerate() {
        size += u64::from(chunk.1);
        if size > PACK_DATA {
            packs.push(start..at);
            (start, size) = (at, u64::from(chunk.1));
        }
    }
    packs.push(start..chunks.len());
    packs.retain(|pack| !pack.is_empty());
    packs
}

/// Leaves out packs of which an object uses so little that a reader is better served by another copy of
/// those chunks: it reads at most twice as many packs as the object fills, and some.
pub fn keep_worthwhile(found: &mut BTreeMap<Chunk, Location>, data: u64) {
    let mut used: BTreeMap<Digest, u64> = BTreeMap::new();
    for location in found.values() {
        *used.entry(location.pack).or_default() += u64::from(location.length);
    }
    let mut packs: Vec<(u64, Digest)> = used.into_iter().map(|(pack, used)| (used, pack)).collect();
    packs.sort();
    let most = 16 + 2 * data.div_ceil(PACK_DATA) as usize;
    let little = packs.len().saturating_sub(most);
    let little: BTreeSet<Digest> = packs[..little].iter().map(|(_, pack)| *pack).collect();
    found.retain(|_, location| !little.contains(&location.pack));
}

/// A part of a pack, and the chunks in it.
#[derive(Debug)]
pub struct Part {
    /// The pack.
    pub pack: Digest,
    /// The bytes of the pack.
    pub range: Range<u64>,
    /// Each chunk, its bytes of the pack, and its offsets in the concatenated extents of the object.
    pub chunks: Vec<(Chunk, Range<u64>, Vec<u64>)>,
}

/// The parts of packs that hold the chunks of an object; each chunk is in one.
pub fn parts(manifest: &Manifest) -> Vec<Part> {
    let starts = offsets(manifest.chunks.iter().map(|(chunk, _)| chunk));
    let mut chunks: BTreeMap<Chunk, (Place, Vec<u64>)> = BTreeMap::new();
    for ((chunk, place), start) in manifest.chunks.iter().zip(starts) {
        chunks.entry(*chunk).or_insert_with(|| (*place, Vec::new())).1.push(start);
    }
    let mut chunks: Vec<(Place, Chunk, Vec<u64>)> =
        chunks.into_iter().map(|(chunk, (place, starts))| (place, chunk, starts)).collect();
    chunks.sort();
    let mut parts: Vec<Part> = Vec::new();
    for (Place(pack, at, length), chunk, starts) in chunks {
        let pack = manifest.packs[pack as usize];
        let range = u64::from(at)..u64::from(at) + u64::from(length);
        let fits = |part: &&mut Part| {
            part.pack == pack
                && range.start <= part.range.end + MAX_GAP
                && range.end - part.range.start <= MAX_PART
        };
        let chunk = (chunk, range.clone(), starts);
        match parts.last_mut().filter(fits) {
            Some(part) => {
                part.range.end = part.range.end.max(range.end);
                part.chunks.push(chunk);
            }
            None => parts.push(Part { pack, range, chunks: vec![chunk] }),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Hashing;

    fn chunk(number: u32, length: u32) -> Chunk {
        Chunk(Digest::of(number.to_string()), length)
    }

    #[test]
    fn every_chunk_is_in_one_pack_of_limited_size() {
        let chunks: Vec<Chunk> = (0..1000).map(|at| chunk(at, 100_000 + at)).collect();
        let packs = deal(&chunks);
        let all: Vec<usize> = packs.iter().cloned().flatten().collect();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
        assert_eq!(packs.len(), 4);
        for pack in packs {
            let stored = chunks[pack].iter().map(|chunk| u64::from(chunk.max_stored()));
            assert!(stored.sum::<u64>() <= MAX_PACK);
        }
        assert!(deal(&[]).is_empty());
    }

    #[test]
    fn packs_of_which_little_is_used_are_left_out() {
        let of =
            |pack: u32, length: u32| Location { pack: Digest::of(pack.to_string()), at: 0, length };
        let mut found: BTreeMap<Chunk, Location> =
            (0..100).map(|at| (chunk(at, 1), of(at, 1000 + at))).collect();
        keep_worthwhile(&mut found, PACK_DATA);
        let mut left: Vec<u32> = found.values().map(|location| location.length).collect();
        left.sort();
        assert_eq!(left, (1082..1100).collect::<Vec<_>>());
    }

    #[test]
    fn near_chunks_are_read_at_once_and_repeated_ones_once() {
        let packs = vec![Digest::of("p"), Digest::of("q")];
        let near = 1000 + MAX_GAP as u32;
        let far = near + 500 + MAX_GAP as u32 + 1;
        let chunks = vec![
            (chunk(1, 10), Place(0, 0, 1000)),
            (chunk(2, 20), Place(1, 0, 1000)),
            (chunk(3, 30), Place(0, near, 500)),
            (chunk(1, 10), Place(0, 0, 1000)),
            (chunk(4, 40), Place(0, far, 9)),
        ];
        let manifest =
            Manifest { hashing: Hashing::Plain, size: 110, extents: Vec::new(), packs, chunks };
        let found: Vec<_> = parts(&manifest)
            .into_iter()
            .map(|part| {
                let starts = part.chunks.into_iter().map(|(.., starts)| starts);
                (part.pack == manifest.packs[0], part.range, starts.collect::<Vec<_>>())
            })
            .collect();
        let (near, far) = (u64::from(near), u64::from(far));
        let expected = [
            (true, 0..near + 500, vec![vec![0, 60], vec![30]]),
            (true, far..far + 9, vec![vec![70]]),
            (false, 0..1000, vec![vec![10]]),
        ];
        assert_eq!(found, expected);
    }
}
