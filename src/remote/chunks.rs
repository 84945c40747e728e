//! The manifest of an object: its data extents, the chunks of their content, and where those lie. Chunk
//! boundaries depend on the content (FastCDC, 2020), so two objects that differ by an insertion share
//! every chunk before it and nearly all after it. No I/O.
//!
//! The parameters below are part of the format `v2` of a remote: with others, chunks that are stored
//! would not be found. DESIGN.md has the measurement that they are based on.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::packs::MAX_PACK;
use crate::artifact::Hashing;
use crate::digest::Digest;
use crate::files::sparse::is_zero;

/// The shortest chunk in bytes, except the last.
pub const MIN_CHUNK: usize = 16 << 10;
/// The average length of a chunk in bytes.
pub const AVERAGE_CHUNK: usize = 64 << 10;
/// The longest chunk in bytes.
pub const MAX_CHUNK: usize = 256 << 10;

/// The size of the blocks that are searched for zeros, in bytes.
pub const BLOCK: usize = 4096;
/// The number of consecutive zero blocks that are left out; fewer are cheaper inside a chunk.
const MIN_ZERO_BLOCKS: u64 = 16;

/// A part of a file with data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent(
    /// Offset in bytes.
    pub u64,
    /// Length in bytes.
    pub u64,
);

/// A chunk of the data of all extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Chunk(
    /// The SHA-256 of its bytes.
    pub Digest,
    /// Its length in bytes.
    pub u32,
);

impl Chunk {
    /// The maximum size of it compressed, in bytes: more than Zstandard's own bound.
    pub fn max_stored(&self) -> u32 {
        self.1 + self.1 / 128 + 1024
    }
}

/// Where a chunk lies compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place(
    /// The pack, as its index in [`Manifest::packs`].
    pub u32,
    /// Offset in the pack in bytes.
    pub u32,
    /// Length in bytes, compressed.
    pub u32,
);

/// How an object is assembled from chunks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// How the object's digest is computed.
    pub hashing: Hashing,
    /// The object's length in bytes.
    pub size: u64,
    /// The extents with data, in order; the rest is zeros.
    #[serde(rename = "runs")]
    pub extents: Vec<Extent>,
    /// The packs that hold its chunks, each named by the SHA-256 of its bytes.
    pub packs: Vec<Digest>,
    /// The chunks of the concatenated extents, in order.
    pub chunks: Vec<(Chunk, Place)>,
}

impl Manifest {
    /// The manifest as JSON.
    pub fn text(&self) -> Vec<u8> {
        // Numbers, digests and words only: serialisation cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the manifest of an object of `size` bytes. `None` unless it has that length, is consistent,
    /// and is written exactly as kuth writes it, so that every changed byte is noticed.
    pub fn read(text: &[u8], hashing: Hashing, size: u64) -> Option<Manifest> {
        let manifest: Manifest = serde_json::from_slice(text).ok()?;
        let same = manifest.hashing == hashing && manifest.size == size;
        (same && manifest.is_consistent() && manifest.text() == text).then_some(manifest)
    }

    /// The maximum length of a manifest, in bytes, of an object of `size` bytes, from the maximum
    /// numbers of chunks and extents.
    pub fn max_length(size: u64) -> u64 {
        // Two numbers of at most 20 digits; a digest, a number of at most 6 and three of at most 8, and a
        // pack for each.
        const EXTENT: u64 = 44;
        const CHUNK: u64 = 107 + 67;
        const REST: u64 = 256;
        let (chunks, extents) =
            (size / MIN_CHUNK as u64 + 1, size / (MIN_ZERO_BLOCKS * BLOCK as u64) + 1);
        REST + CHUNK * chunks + EXTENT * extents
    }

    fn is_consistent(&self) -> bool {
        let mut end = 0;
        for Extent(at, length) in &self.extents {
            let Some(next) = at.checked_add(*length) else { return false };
            if *at < end || *length == 0 || next > self.size {
                return false;
            }
            end = next;
        }
        let all_but_last = self.chunks.split_last().map_or(&[][..], |(_, before)| before);
        let legal = |(chunk, place): &(Chunk, Place)| {
            (1..=MAX_CHUNK as u32).contains(&chunk.1)
                && (1..=chunk.max_stored()).contains(&place.2)
                && (place.0 as usize) < self.packs.len()
                && u64::from(place.1) + u64::from(place.2) <= MAX_PACK
        };
        let packs: BTreeSet<&Digest> = self.packs.iter().collect();
        packs.len() == self.packs.len()
            && self.packs.len() <= self.chunks.len()
            && self.chunks.iter().all(legal)
            && all_but_last.iter().all(|(chunk, _)| chunk.1 >= MIN_CHUNK as u32)
            && self.data_length() == self.extents.iter().map(|run| run.1).sum::<u64>()
    }

    /// The length of the data in bytes.
    pub fn data_length(&self) -> u64 {
        self.chunks.iter().map(|(chunk, _)| u64::from(chunk.1)).sum()
    }
}

/// The offset of each of these chunks in their concatenation, in bytes.
pub fn offsets<'c>(chunks: impl Iterator<Item = &'c Chunk>) -> impl Iterator<Item = u64> {
    chunks.scan(0, |at, chunk| {
        *at += u64::from(chunk.1);
        Some(*at - u64::from(chunk.1))
    })
}

/// Maps offsets in the concatenated extents to offsets in the file.
pub struct ExtentMap {
    /// Each extent, with its offset in the concatenation.
    rows: Vec<(u64, Extent)>,
}

impl ExtentMap {
    /// The map of these extents.
    pub fn new(extents: &[Extent]) -> ExtentMap {
        let mut at = 0;
        let row = |run: &Extent| {
            at += run.1;
            (at - run.1, *run)
        };
        ExtentMap { rows: extents.iter().map(row).collect() }
    }

    /// The parts of the file (offset and length) that hold `length` bytes from `start`.
    pub fn parts(&self, start: u64, length: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let first = self.rows.partition_point(|(at, run)| at + run.1 <= start);
        let end = start + length;
        self.rows[first..].iter().take_while(move |(at, _)| *at < end).map(move |(at, run)| {
            let (from, to) = (start.max(*at), end.min(at + run.1));
            (run.0 + (from - at), to - from)
        })
    }
}

/// Finds the extents of a file from its content.
#[derive(Debug, Default)]
pub struct ExtentFinder {
    extents: Vec<Extent>,
}

impl ExtentFinder {
    /// Adds `bytes` at the offset `at`, a multiple of [`BLOCK`], in order; only the last may end
    /// elsewhere. What is not added is zero.
    pub fn add(&mut self, at: u64, bytes: &[u8]) {
        for (index, block) in bytes.chunks(BLOCK).enumerate() {
            if is_zero(block) {
                continue;
            }
            let at = at + (index * BLOCK) as u64;
            let end = at + block.len() as u64;
            match self.extents.last_mut() {
                Some(last) if at - (last.0 + last.1) < MIN_ZERO_BLOCKS * BLOCK as u64 => {
                    last.1 = end - last.0
                }
                _ => self.extents.push(Extent(at, end - at)),
            }
        }
    }

    /// The extents with data.
    pub fn finish(self) -> Vec<Extent> {
        self.extents
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let step = |_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u8 | 1
        };
        (0..length).map(step).collect()
    }

    fn cut(bytes: &[u8]) -> Vec<Chunk> {
        let cdc = fastcdc::v2020::FastCDC::new(bytes, MIN_CHUNK, AVERAGE_CHUNK, MAX_CHUNK);
        let chunk = |it: fastcdc::v2020::Chunk| {
            Chunk(Digest::of(&bytes[it.offset..it.offset + it.length]), it.length as u32)
        };
        cdc.map(chunk).collect()
    }

    #[test]
    fn chunk_boundaries_are_pinned() {
        let lengths: Vec<u32> = cut(&noise(2 << 20, 7)).iter().map(|chunk| chunk.1).collect();
        assert_eq!(lengths.iter().sum::<u32>(), 2 << 20);
        assert_eq!(lengths[..3], PINNED, "other boundaries need a new version of the format");
    }

    const PINNED: [u32; 3] = [77817, 31226, 66063];

    #[test]
    fn an_insertion_changes_few_chunks() {
        let before = noise(8 << 20, 3);
        let mut after = before.clone();
        after.splice(3_000_000..3_000_000, noise(5000, 5));
        let (before, after) = (cut(&before), cut(&after));
        let changed = after.iter().filter(|chunk| !before.contains(chunk)).count();
        assert!(changed <= 4, "{changed} of {}", after.len());
    }

    #[test]
    fn long_runs_of_zeros_are_left_out_and_short_ones_are_not() {
        let mut bytes = vec![0; 1 << 20];
        bytes[5] = 1;
        bytes[BLOCK * 10] = 1;
        bytes[BLOCK * 100] = 1;
        bytes.truncate(BLOCK * 100 + 7);
        let mut finder = ExtentFinder::default();
        finder.add(0, &bytes);
        let expected = [Extent(0, 11 * BLOCK as u64), Extent(100 * BLOCK as u64, 7)];
        assert_eq!(finder.finish(), expected);
    }

    #[test]
    fn offsets_are_mapped_to_the_file() {
        let map = ExtentMap::new(&[Extent(100, 10), Extent(200, 5), Extent(300, 20)]);
        let of = |start, length| map.parts(start, length).collect::<Vec<_>>();
        assert_eq!(of(0, 10), [(100, 10)]);
        assert_eq!(of(8, 10), [(108, 2), (200, 5), (300, 3)]);
        assert_eq!(of(10, 5), [(200, 5)]);
        assert_eq!(of(34, 1), [(319, 1)]);
    }

    #[test]
    fn a_manifest_is_within_its_maximum_length() {
        // As many chunks and extents as possible.
        for count in [1, 2, 300] {
            let size = count * MIN_ZERO_BLOCKS * 2 * BLOCK as u64;
            let run = |at| Extent(u64::MAX - at, u64::MAX);
            let most = MAX_PACK as u32;
            let chunk = (Chunk(Digest::of("x"), MAX_CHUNK as u32), Place(most, most, most));
            let chunks = vec![chunk; (size / MIN_CHUNK as u64) as usize];
            let extents = (0..count * 2).map(run).collect();
            let packs = vec![Digest::of("x"); chunks.len()];
            let manifest = Manifest { hashing: Hashing::Sparse, size, extents, packs, chunks };
            let (length, most) = (manifest.text().len() as u64, Manifest::max_length(size));
            assert!(length <= most && most < length + 2000, "{length} {most}");
        }
    }

    #[test]
    fn only_a_consistent_manifest_of_the_artifact_is_read() {
        let (chunk, place) = (Chunk(Digest::of("x"), 15), Place(0, 7, 15));
        let good = Manifest {
            hashing: Hashing::Sparse,
            size: 400,
            extents: vec![Extent(100, 10), Extent(200, 5)],
            packs: vec![Digest::of("p")],
            chunks: vec![(chunk, place)],
        };
        let read = |text: &[u8]| Manifest::read(text, Hashing::Sparse, 400);
        let reads = |manifest: &Manifest| read(&manifest.text()).is_some();
        assert!(reads(&good));
        let extents = |extents: &[Extent]| Manifest { extents: extents.to_vec(), ..good.clone() };
        assert!(!reads(&Manifest { size: 401, ..good.clone() }));
        assert!(!reads(&Manifest { hashing: Hashing::Plain, ..good.clone() }));
        assert!(!reads(&extents(&[Extent(200, 5), Extent(100, 10)])));
        assert!(!reads(&extents(&[Extent(100, 15), Extent(110, 0)])));
        assert!(!reads(&extents(&[Extent(390, 15)])));
        assert!(!reads(&extents(&[Extent(u64::MAX, 15)])));
        assert!(!reads(&extents(&[Extent(100, 14)])));
        let lies = |packs: &[&str], place: Place| {
            let packs = packs.iter().map(Digest::of).collect();
            Manifest { packs, chunks: vec![(chunk, place)], ..good.clone() }
        };
        assert!(reads(&lies(&["q"], Place(0, MAX_PACK as u32 - 15, 15))));
        assert!(!reads(&lies(&["q"], Place(0, MAX_PACK as u32 - 14, 15))));
        assert!(!reads(&lies(&["q"], Place(0, u32::MAX, u32::MAX))));
        assert!(!reads(&lies(&["q"], Place(1, 0, 15))));
        assert!(!reads(&lies(&["q"], Place(0, 0, 0))));
        assert!(!reads(&lies(&["q"], Place(0, 0, chunk.max_stored() + 1))));
        assert!(!reads(&lies(&["q", "r"], Place(1, 0, 15))));
        assert!(!reads(&lies(&[], Place(0, 0, 15))));
        // Many more chunks than there are bytes to cut: only the last may be short.
        let (short, whole) = (Chunk(chunk.0, 1), Chunk(chunk.0, MIN_CHUNK as u32));
        let long = |chunks: &[Chunk]| {
            let length = chunks.iter().map(|chunk| u64::from(chunk.1)).sum();
            let chunks = chunks.iter().map(|chunk| (*chunk, Place(0, 0, 1))).collect();
            let extents = vec![Extent(0, length)];
            let manifest = Manifest { size: length, extents, chunks, ..good.clone() };
            Manifest::read(&manifest.text(), Hashing::Sparse, length).is_some()
        };
        assert!(long(&[whole, whole, short]) && !long(&[whole, short, whole]));
        assert!(
            !long(&[whole, Chunk(chunk.0, MAX_CHUNK as u32 + 1)]) && !long(&[Chunk(chunk.0, 0)])
        );
        // No path in place of a digest, and no additional field.
        let text = String::from_utf8(good.text()).unwrap();
        let path = text.replace(&chunk.0.to_string(), &format!("{:/<64}", "../../../etc/passwd"));
        assert!(path != text && read(path.as_bytes()).is_none());
        let more = text.replacen('{', "{\"path\":\"x\",", 1);
        assert!(read(more.as_bytes()).is_none());
        let spaced = [&good.text()[..], b" "].concat();
        assert!(read(&spaced).is_none());
    }
}
