//! The disk in a VDI: a map of its blocks, by `format::vdi`.

use std::sync::Arc;

use crate::error::Result;
use crate::format::vdi::{HEADER_LENGTH, Header};
use crate::image::source::{Shared, Source, check, table};
use crate::units::Bytes;

/// Stretches of the disk that are somewhere in the file; the rest is zero.
struct Stretches {
    file: Shared,
    size: u64,
    /// Start on the disk, length, start in the file; ascending.
    stretches: Vec<(u64, u64, u64)>,
}

/// The disk in `file`, which begins with `start`.
pub fn open(file: Shared, start: &[u8]) -> Result<Shared> {
    let header = Header::read(&start[..start.len().min(HEADER_LENGTH)])?;
    let (at, length) = header.block_map();
    let map = table(&*file, at.0, length.0)?;
    let plan = header.contents(&map, Bytes(file.size()))?;
    let mut stretches: Vec<(u64, u64, u64)> =
        plan.copies.iter().map(|copy| (copy.to.0, copy.length.0, copy.from.0)).collect();
    stretches.sort();
    Ok(Arc::new(Stretches { file, size: plan.length.0, stretches }))
}

impl Source for Stretches {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        check(self, at, bytes.len() as u64)?;
        bytes.fill(0);
        let end = at + bytes.len() as u64;
        let first = self.stretches.partition_point(|(start, length, _)| start + length <= at);
        for (start, length, file) in &self.stretches[first..] {
            if *start >= end {
                break;
            }
            let (from, to) = ((*start).max(at), (start + length).min(end));
            let part = &mut bytes[(from - at) as usize..(to - at) as usize];
            self.file.read_at(part, file + (from - start))?;
        }
        Ok(())
    }

    fn hole_at(&self, at: u64) -> Result<u64> {
        let next = self.stretches.partition_point(|(start, length, _)| start + length <= at);
        let start = self.stretches.get(next).map_or(self.size, |(start, ..)| *start);
        Ok(start.saturating_sub(at))
    }
}
