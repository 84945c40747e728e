//! Does what a `format::blocks::Plan` says: the pieces and the disk's data to one file, in the
//! order of the file, with its SHA-256 taken meanwhile by a second thread. Zeros become holes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;

use crate::cancel::Progress;
use crate::digest::{Digest, Hasher};
use crate::error::{Result, anyhow};
use crate::files::sparse::write_data;
use crate::format::blocks::Plan;
use crate::threads;
use crate::units::Bytes;

/// What is read and written at once.
const CHUNK: usize = 1 << 20;
/// Chunks on their way to the hasher.
const QUEUE: usize = 4;
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// Some of the file, for the hasher.
enum Part {
    Zeros(u64),
    /// So many bytes of a buffer.
    Data(Vec<u8>, usize),
}

/// A step of the plan.
#[derive(Clone, Copy)]
enum Step<'a> {
    Piece(&'a [u8]),
    /// From this place of the disk.
    Copy(u64),
}

/// Writes the image to the empty file `target`; gives its SHA-256 and length.
pub(super) fn write(
    plan: &Plan,
    disk: &File,
    target: &File,
    progress: Progress<'_>,
) -> Result<(Digest, Bytes)> {
    target.set_len(plan.length.0)?;
    let (parts, incoming) = mpsc::sync_channel(QUEUE);
    let (used, free) = mpsc::channel();
    let digest = std::thread::scope(|scope| {
        let hasher = threads::start(scope, move || hash(&incoming, &used))?;
        let writer = Writer { disk, target, progress, parts, free, at: 0 };
        writer.write(plan)?;
        hasher.join().map_err(|_| anyhow!("the hashing thread panicked"))
    })?;
    Ok((digest, plan.length))
}

/// Hashes what comes, and gives the buffers back.
fn hash(incoming: &mpsc::Receiver<Part>, used: &mpsc::Sender<Vec<u8>>) -> Digest {
    let mut hasher = Hasher::default();
    for part in incoming {
        match part {
            Part::Zeros(mut count) => {
                while count > 0 {
                    let n = count.min(ZEROS.len() as u64);
                    hasher.update(&ZEROS[..n as usize]);
                    count -= n;
                }
            }
            Part::Data(buffer, n) => {
                hasher.update(&buffer[..n]);
                // The writer may be done and gone.
                let _ = used.send(buffer);
            }
        }
    }
    hasher.finish()
}

struct Writer<'a> {
    disk: &'a File,
    target: &'a File,
    progress: Progress<'a>,
    parts: mpsc::SyncSender<Part>,
    /// Buffers to use again.
    free: mpsc::Receiver<Vec<u8>>,
    /// How much of the file is done.
    at: u64,
}

impl Writer<'_> {
    /// Consumes itself, so that the hasher sees the end.
    fn write(mut self, plan: &Plan) -> Result<()> {
        let total = plan.copies.iter().map(|copy| copy.length.0).sum();
        let mut done = 0;
        for (to, length, step) in steps(plan) {
            self.zeros_until(to)?;
            let mut offset = 0;
            while offset < length {
                let n = (length - offset).min(CHUNK as u64);
                // Always a whole chunk, whatever is in it.
                let mut buffer = self.free.try_recv().unwrap_or_else(|_| vec![0; CHUNK]);
                let bytes = &mut buffer[..n as usize];
                match step {
                    Step::Piece(piece) => {
                        bytes.copy_from_slice(&piece[offset as usize..][..n as usize]);
                    }
                    Step::Copy(from) => {
                        self.disk.read_exact_at(bytes, from + offset)?;
                        done += n;
                    }
                }
                write_data(self.target, bytes, self.at)?;
                self.at += n;
                self.send(Part::Data(buffer, n as usize))?;
                self.progress.advance(done, total)?;
                offset += n;
            }
        }
        self.zeros_until(plan.length.0)
    }

    fn zeros_until(&mut self, to: u64) -> Result<()> {
        let count = to.checked_sub(self.at).ok_or_else(|| anyhow!("the plan goes back to {to}"))?;
        self.at = to;
        self.send(Part::Zeros(count))
    }

    fn send(&self, part: Part) -> Result<()> {
        self.parts.send(part).map_err(|_| anyhow!("the hashing thread ended early"))
    }
}

/// Pieces and copies in the order of the file: where to, how much, what.
fn steps(plan: &Plan) -> Vec<(u64, u64, Step<'_>)> {
    let pieces =
        plan.pieces.iter().map(|(to, bytes)| (to.0, bytes.len() as u64, Step::Piece(bytes)));
    let copies = plan.copies.iter().map(|copy| (copy.to.0, copy.length.0, Step::Copy(copy.from.0)));
    let mut steps: Vec<_> = pieces.chain(copies).collect();
    steps.sort_by_key(|(to, ..)| *to);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;
    use crate::format::blocks::CopyRange;

    fn execute_plan(plan: &Plan, disk: &[u8]) -> Result<(Digest, Vec<u8>)> {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.write_all_at(disk, 0).unwrap();
        let progress = Progress { cancel: &Cancel::default(), report: &|_, _| () };
        let (digest, length) = write(plan, &from, &to, progress)?;
        let mut bytes = vec![0; length.0 as usize];
        to.read_exact_at(&mut bytes, 0).unwrap();
        Ok((digest, bytes))
    }

    fn plan(pieces: &[(u64, &[u8])], copies: &[(u64, u64, u64)], length: u64) -> Plan {
        Plan {
            pieces: pieces.iter().map(|(to, bytes)| (Bytes(*to), bytes.to_vec())).collect(),
            copies: copies
                .iter()
                .map(|(from, to, n)| CopyRange {
                    from: Bytes(*from),
                    to: Bytes(*to),
                    length: Bytes(*n),
                })
                .collect(),
            length: Bytes(length),
        }
    }

    #[test]
    fn the_file_and_its_digest_are_as_planned() {
        let disk: Vec<u8> = (0..3 << 20).map(|i: u32| (i >> 14) as u8).collect();
        let plan = plan(&[(0, b"head"), (9_000, b"mid")], &[(4096, 10_000, 2 << 20)], 2_200_000);
        let (digest, bytes) = execute_plan(&plan, &disk).unwrap();
        let mut expected = vec![0; 2_200_000];
        expected[..4].copy_from_slice(b"head");
        expected[9_000..9_003].copy_from_slice(b"mid");
        expected[10_000..10_000 + (2 << 20)].copy_from_slice(&disk[4096..4096 + (2 << 20)]);
        assert_eq!(digest, Digest::of(&expected));
        assert!(bytes == expected);
    }

    #[test]
    fn a_plan_that_overlaps_is_refused() {
        let plan = plan(&[(0, b"head"), (3, b"mid")], &[], 10);
        assert_eq!(execute_plan(&plan, &[]).unwrap_err().to_string(), "the plan goes back to 3");
    }
}
