//! How an object is cut, purely: where its zeros are, what is left in chunks whose ends follow
//! the content (FastCDC, 2020), and the manifest that says how to put it together. Two objects
//! that differ by an insertion share every chunk before it, and nearly all behind it.
//!
//! The parameters below belong to the format `v1` of a remote: other ones find nothing that was
//! stored with these. DESIGN.md has the measurement that they come from.

use serde::{Deserialize, Serialize};

use crate::artifact::{Artifact, Hashing};
use crate::digest::Digest;
use crate::files::sparse::is_zero;

/// No chunk but the last is shorter.
pub const LEAST: usize = 16 << 10;
/// What chunks are on average.
pub const AVERAGE: usize = 64 << 10;
/// No chunk is longer.
pub const MOST: usize = 256 << 10;

/// Zeros are looked for in pieces of this many bytes, at multiples of it.
pub const GRAIN: usize = 4096;
/// So many zero pieces in a row are left out; fewer are cheaper inside a chunk.
const WORTH: u64 = 16;

/// A part of a file that is not left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run(
    /// Where it begins.
    pub u64,
    /// How long it is.
    pub u64,
);

/// A piece of what is left when the zeros are taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Chunk(
    /// Of its bytes.
    pub Digest,
    /// How many those are.
    pub u32,
);

/// How to put an object together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// How its digest was taken.
    pub hashing: Hashing,
    /// Its length.
    pub size: u64,
    /// What is not zero, in order.
    pub runs: Vec<Run>,
    /// All runs, one behind the other, cut.
    pub chunks: Vec<Chunk>,
}

impl Manifest {
    /// The bytes of a manifest.
    pub fn text(&self) -> Vec<u8> {
        // Numbers, digests and words alone: nothing that JSON could not say.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the manifest of `artifact`. `None` unless it is of that length, sound, and written as
    /// kuth writes it: a changed byte shows also where it would mean the same.
    pub fn read(text: &[u8], artifact: &Artifact) -> Option<Manifest> {
        let manifest: Manifest = serde_json::from_slice(text).ok()?;
        let same = manifest.hashing == artifact.hashing && manifest.size == artifact.size;
        (same && manifest.is_sound() && manifest.text() == text).then_some(manifest)
    }

    /// The most bytes that the manifest of an object of `size` bytes may have: it can have no more
    /// chunks and runs than fit into that.
    pub fn most(size: u64) -> u64 {
        // Two numbers of at most 20 digits; a digest and a number of at most 6.
        const OF_RUN: u64 = 44;
        const OF_CHUNK: u64 = 76;
        const REST: u64 = 256;
        let (chunks, runs) = (size / LEAST as u64 + 1, size / (WORTH * GRAIN as u64) + 1);
        REST + OF_CHUNK * chunks + OF_RUN * runs
    }

    fn is_sound(&self) -> bool {
        let mut end = 0;
        for Run(at, length) in &self.runs {
            let Some(next) = at.checked_add(*length) else { return false };
            if *at < end || *length == 0 || next > self.size {
                return false;
            }
            end = next;
        }
        let all_but_last = self.chunks.split_last().map_or(&[][..], |(_, before)| before);
        let legal = |chunk: &Chunk| (1..=MOST as u32).contains(&chunk.1);
        self.chunks.iter().all(legal)
            && all_but_last.iter().all(|chunk| chunk.1 >= LEAST as u32)
            && self.data() == self.runs.iter().map(|run| run.1).sum::<u64>()
    }

    /// Bytes in chunks.
    pub fn data(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.1)).sum()
    }

    /// Where each chunk begins in the runs, one behind the other.
    pub fn starts(&self) -> Vec<u64> {
        let mut at = 0;
        let start = |chunk: &Chunk| {
            at += u64::from(chunk.1);
            at - u64::from(chunk.1)
        };
        self.chunks.iter().map(start).collect()
    }
}

/// Finds the way from a place in the runs, one behind the other, to the place in the file.
pub struct Places {
    /// Each run: where it begins in the row, and the run.
    rows: Vec<(u64, Run)>,
}

impl Places {
    /// Of these runs.
    pub fn new(runs: &[Run]) -> Places {
        let mut at = 0;
        let row = |run: &Run| {
            at += run.1;
            (at - run.1, *run)
        };
        Places { rows: runs.iter().map(row).collect() }
    }

    /// The parts of the file that the `length` bytes from `start` are: offset and length each.
    pub fn of(&self, start: u64, length: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let first = self.rows.partition_point(|(at, run)| at + run.1 <= start);
        let end = start + length;
        self.rows[first..].iter().take_while(move |(at, _)| *at < end).map(move |(at, run)| {
            let (from, to) = (start.max(*at), end.min(at + run.1));
            (run.0 + (from - at), to - from)
        })
    }
}

/// Gathers the runs of a file from what it holds, fed in order.
#[derive(Debug, Default)]
pub struct Survey {
    runs: Vec<Run>,
}

impl Survey {
    /// Takes in `bytes`, which stand at `at`, a multiple of [`GRAIN`]; only the last may end
    /// elsewhere. What is never fed is zero.
    pub fn feed(&mut self, at: u64, bytes: &[u8]) {
        for (index, grain) in bytes.chunks(GRAIN).enumerate() {
            if is_zero(grain) {
                continue;
            }
            let at = at + (index * GRAIN) as u64;
            let end = at + grain.len() as u64;
            match self.runs.last_mut() {
                Some(last) if at - (last.0 + last.1) < WORTH * GRAIN as u64 => {
                    last.1 = end - last.0
                }
                _ => self.runs.push(Run(at, end - at)),
            }
        }
    }

    /// What is not zero.
    pub fn finish(self) -> Vec<Run> {
        self.runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::ArtifactKind;

    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let step = |_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u8 | 1
        };
        (0..length).map(step).collect()
    }

    fn cut(bytes: &[u8]) -> Vec<Chunk> {
        let cdc = fastcdc::v2020::FastCDC::new(bytes, LEAST, AVERAGE, MOST);
        let chunk = |it: fastcdc::v2020::Chunk| {
            Chunk(Digest::of(&bytes[it.offset..it.offset + it.length]), it.length as u32)
        };
        cdc.map(chunk).collect()
    }

    #[test]
    fn the_cuts_are_pinned() {
        let lengths: Vec<u32> = cut(&noise(2 << 20, 7)).iter().map(|chunk| chunk.1).collect();
        assert_eq!(lengths.iter().sum::<u32>(), 2 << 20);
        assert_eq!(lengths[..3], PINNED, "a change of the cuts needs another version");
    }

    const PINNED: [u32; 3] = [77817, 31226, 66063];

    #[test]
    fn an_insertion_changes_few_chunks() {
        let before = noise(8 << 20, 3);
        let mut after = before.clone();
        after.splice(3_000_000..3_000_000, noise(5000, 5));
        let (before, after) = (cut(&before), cut(&after));
        let news = after.iter().filter(|chunk| !before.contains(chunk)).count();
        assert!(news <= 4, "{news} of {}", after.len());
    }

    #[test]
    fn long_zeros_are_left_out_and_short_ones_are_not() {
        let mut bytes = vec![0; 1 << 20];
        bytes[5] = 1;
        bytes[GRAIN * 10] = 1;
        bytes[GRAIN * 100] = 1;
        bytes.truncate(GRAIN * 100 + 7);
        let mut survey = Survey::default();
        survey.feed(0, &bytes);
        let expected = [Run(0, 11 * GRAIN as u64), Run(100 * GRAIN as u64, 7)];
        assert_eq!(survey.finish(), expected);
    }

    #[test]
    fn a_place_in_the_row_is_found_in_the_file() {
        let places = Places::new(&[Run(100, 10), Run(200, 5), Run(300, 20)]);
        let of = |start, length| places.of(start, length).collect::<Vec<_>>();
        assert_eq!(of(0, 10), [(100, 10)]);
        assert_eq!(of(8, 10), [(108, 2), (200, 5), (300, 3)]);
        assert_eq!(of(10, 5), [(200, 5)]);
        assert_eq!(of(34, 1), [(319, 1)]);
    }

    #[test]
    fn a_manifest_is_no_longer_than_its_object_allows() {
        // As many chunks and runs as there can be.
        for count in [1, 2, 300] {
            let size = count * WORTH * 2 * GRAIN as u64;
            let run = |at| Run(u64::MAX - at, u64::MAX);
            let chunk = Chunk(Digest::of("x"), MOST as u32);
            let chunks = vec![chunk; (size / LEAST as u64) as usize];
            let runs = (0..count * 2).map(run).collect();
            let manifest = Manifest { hashing: Hashing::Sparse, size, runs, chunks };
            let (length, most) = (manifest.text().len() as u64, Manifest::most(size));
            assert!(length <= most && most < length + 1000, "{length} {most}");
        }
    }

    #[test]
    fn only_a_sound_manifest_of_the_artifact_is_read() {
        let chunk = Chunk(Digest::of("x"), 15);
        let good = Manifest {
            hashing: Hashing::Sparse,
            size: 400,
            runs: vec![Run(100, 10), Run(200, 5)],
            chunks: vec![chunk],
        };
        let artifact = Artifact {
            kind: ArtifactKind::Disk,
            hashing: Hashing::Sparse,
            digest: Digest::of("y"),
            size: 400,
            facts: Default::default(),
        };
        let reads = |manifest: &Manifest| Manifest::read(&manifest.text(), &artifact).is_some();
        assert!(reads(&good));
        let runs = |runs: &[Run]| Manifest { runs: runs.to_vec(), ..good.clone() };
        assert!(!reads(&Manifest { size: 401, ..good.clone() }));
        assert!(!reads(&Manifest { hashing: Hashing::Plain, ..good.clone() }));
        assert!(!reads(&runs(&[Run(200, 5), Run(100, 10)])));
        assert!(!reads(&runs(&[Run(100, 15), Run(110, 0)])));
        assert!(!reads(&runs(&[Run(390, 15)])));
        assert!(!reads(&runs(&[Run(u64::MAX, 15)])));
        assert!(!reads(&runs(&[Run(100, 14)])));
        // Many more chunks than there are bytes to cut: only the last may be short.
        let (short, whole) = (Chunk(chunk.0, 1), Chunk(chunk.0, LEAST as u32));
        let long = |chunks: &[Chunk]| {
            let length = chunks.iter().map(|chunk| u64::from(chunk.1)).sum();
            let (runs, chunks) = (vec![Run(0, length)], chunks.to_vec());
            let manifest = Manifest { size: length, runs, chunks, ..good.clone() };
            let artifact = Artifact { size: length, ..artifact.clone() };
            Manifest::read(&manifest.text(), &artifact).is_some()
        };
        assert!(long(&[whole, whole, short]) && !long(&[whole, short, whole]));
        assert!(!long(&[whole, Chunk(chunk.0, MOST as u32 + 1)]) && !long(&[Chunk(chunk.0, 0)]));
        // No digest leads elsewhere, and nothing is said besides.
        let text = String::from_utf8(good.text()).unwrap();
        let path = text.replace(&chunk.0.to_string(), &format!("{:/<64}", "../../../etc/passwd"));
        assert!(path != text && Manifest::read(path.as_bytes(), &artifact).is_none());
        let more = text.replacen('{', "{\"path\":\"x\",", 1);
        assert!(Manifest::read(more.as_bytes(), &artifact).is_none());
        let spaced = [&good.text()[..], b" "].concat();
        assert!(Manifest::read(&spaced, &artifact).is_none());
    }
}
