//! The disk in a VHD with dynamic allocation: a table of blocks, each behind a bitmap of the sectors
//! that were written.

use std::sync::Arc;

use crate::error::Result;
use crate::format::vhd::read::{HEADER_LENGTH, Header};
use crate::import::source::{Recent, Source, bytes, table};
use crate::units::{Bytes, SECTOR};

use super::blocks::{Map, Place};

/// What blocks that are not wholly written may take in memory.
const MEMORY: usize = 16 << 20;

/// Finds the blocks of an image.
pub struct Vhd {
    header: Header,
    table: Vec<u8>,
    /// Blocks as their bitmaps make them; those wholly written are not among them.
    sifted: Recent,
    bitmaps: Recent,
}

impl Vhd {
    /// Reads the dynamic header at `at` and the table.
    pub fn open(file: &dyn Source, at: u64, disk: Bytes) -> Result<Vhd> {
        let header = Header::read(&bytes(file, at, HEADER_LENGTH)?, disk)?;
        let table = table(file, header.table, header.count * 4)?;
        let sifted = Recent::of(MEMORY, header.block as usize);
        let bitmaps = Recent::of(1 << 20, header.bitmap() as usize);
        Ok(Vhd { header, table, sifted, bitmaps })
    }
}

impl Map for Vhd {
    fn block(&self) -> u64 {
        self.header.block
    }

    fn find(&self, file: &dyn Source, index: u64) -> Result<Place> {
        let Some(at) = self.header.find(&self.table, index)? else { return Ok(Place::Zero) };
        let data = at + self.header.bitmap();
        let bitmap = self.bitmaps.get(index, || bytes(file, at, self.header.bitmap() as usize))?;
        let sectors = (self.header.block / SECTOR) as usize;
        let written = |sector: usize| bitmap[sector / 8] & 0x80 >> (sector % 8) != 0;
        if (0..sectors).all(written) {
            return Ok(Place::At(data));
        }
        let block = self.sifted.get(index, || {
            // The last block of a disk need not be there to its end.
            let length = self.header.block.min(file.size().saturating_sub(data)) as usize;
            let mut block = bytes(file, data, length)?;
            block.resize(self.header.block as usize, 0);
            for (sector, bytes) in block.chunks_mut(SECTOR as usize).enumerate() {
                if !written(sector) {
                    bytes.fill(0);
                }
            }
            Ok(block)
        })?;
        Ok(Place::Here(Arc::clone(&block)))
    }
}
