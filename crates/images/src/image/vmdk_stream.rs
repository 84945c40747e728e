//! Writes a streamOptimized VMDK: several threads read and compress grains, one writes and hashes
//! them in the order of the disk.

use std::fs::File;
use std::io::BufWriter;
use std::os::unix::fs::FileExt;

use super::in_order::in_order;
use super::scan;
use crate::cancel::Progress;
use crate::digest::{Digest, HashingWriter};
use crate::error::Result;
use crate::format::blocks::BlockMap;
use crate::format::vmdk::{Description, GRAIN, Level, Stream, compress_grain};
use crate::units::Bytes;

/// Grains compressed before a hand-over: 512 KiB.
const BATCH: usize = 8;
const _: () = assert!(scan::BLOCK.0 == GRAIN.0);

/// What to compress, and how.
pub(super) struct Work<'a> {
    /// The disk.
    pub source: &'a File,
    /// Its grains that are not zero.
    pub map: &'a BlockMap,
    /// How hard to try.
    pub level: Level,
    /// On how many threads.
    pub threads: usize,
}

/// Writes the image to `target`, from its current position; returns its SHA-256 and length.
pub(super) fn write(
    work: &Work<'_>,
    description: &Description,
    target: File,
    progress: Progress<'_>,
) -> Result<(Digest, Bytes)> {
    let out = BufWriter::with_capacity(1 << 18, HashingWriter::new(target));
    let mut stream = Stream::new(out, description)?;
    let indices: Vec<u64> = work.map.indices().collect();
    let batches: Vec<&[u64]> = indices.chunks(BATCH).collect();
    let total = indices.len() as u64 * GRAIN.0;
    let mut done = 0;
    in_order(
        batches.len(),
        work.threads,
        |batch| work.compress(batches[batch]),
        |batch| {
            for (index, grain) in batch {
                stream.push(index, &grain)?;
                done += GRAIN.0;
            }
            progress.advance(done, total)
        },
    )?;
    let out = stream.finish()?.into_inner().map_err(|error| error.into_error())?;
    let (_, digest, length) = out.finish();
    Ok((digest, Bytes(length)))
}

impl Work<'_> {
    /// Grains compressed, with their indices.
    fn compress(&self, batch: &[u64]) -> std::io::Result<Vec<(u64, Vec<u8>)>> {
        let mut buffer = vec![0; GRAIN.0 as usize];
        batch.iter().map(|index| Ok((*index, self.grain(*index, &mut buffer)?))).collect()
    }

    fn grain(&self, index: u64, buffer: &mut [u8]) -> std::io::Result<Vec<u8>> {
        let at = index * GRAIN.0;
        let length = GRAIN.0.min(self.map.disk().0 - at) as usize;
        let grain = &mut buffer[..length];
        self.source.read_exact_at(grain, at)?;
        Ok(compress_grain(grain, self.level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;
    use crate::format::Guid;
    use crate::format::vmdk::Adapter;
    use std::io::Read;
    use std::io::Seek;

    fn written(threads: usize) -> (Digest, Vec<u8>) {
        let source = tempfile::tempfile().unwrap();
        let size = Bytes((4 << 20) + 512);
        source.set_len(size.0).unwrap();
        let bytes: Vec<u8> = (0..2_500_000).map(|i: u32| i.wrapping_mul(i >> 9) as u8).collect();
        source.write_all_at(&bytes, 100_000).unwrap();
        source.write_all_at(b"end", size.0 - 3).unwrap();
        let progress = Progress { cancel: &Cancel::default(), report: &|_, _| () };
        let map = scan::data_blocks(&source, size, progress).unwrap();
        let work = Work { source: &source, map: &map, level: Level(6), threads };
        let description = Description {
            size,
            file_name: "x".into(),
            uuid: Guid::NIL,
            adapter: Adapter::LsiLogic,
        };
        let mut target = tempfile::tempfile().unwrap();
        let (digest, length) =
            write(&work, &description, target.try_clone().unwrap(), progress).unwrap();
        let mut image = Vec::new();
        target.rewind().unwrap();
        target.read_to_end(&mut image).unwrap();
        assert_eq!(length.0, image.len() as u64);
        (digest, image)
    }

    #[test]
    fn any_number_of_threads_writes_the_same() {
        let (digest, image) = written(1);
        assert_eq!(digest, Digest::of(&image));
        for threads in [0, 2, 3, 100] {
            assert!(written(threads) == (digest, image.clone()), "{threads} threads");
        }
    }

    #[test]
    fn cancelling_ends_every_thread() {
        let source = tempfile::tempfile().unwrap();
        source.set_len(64 << 20).unwrap();
        let disk = Bytes::mib(64);
        let map = BlockMap::new(disk, GRAIN, [(Bytes(0), disk)]).unwrap();
        let work = Work { source: &source, map: &map, level: Level(1), threads: 2 };
        let description = Description {
            size: disk,
            file_name: "x".into(),
            uuid: Guid::NIL,
            adapter: Adapter::Ide,
        };
        let cancel = Cancel::default();
        let progress = Progress {
            cancel: &cancel,
            report: &|done, _| {
                if done > 1 << 20 {
                    cancel.cancel()
                }
            },
        };
        let error =
            write(&work, &description, tempfile::tempfile().unwrap(), progress).unwrap_err();
        assert_eq!(error.to_string(), "interrupted");
    }
}
