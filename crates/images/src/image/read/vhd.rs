//! The disk in a dynamic VHD: a block allocation table, and blocks that begin with a bitmap of the
//! sectors that were written.

use std::sync::Arc;

use crate::error::Result;
use crate::format::vhd::HEADER_LENGTH;
use crate::format::vhd::read::Header;
use crate::image::source::{Recent, Source, bytes, table};
use crate::units::{Bytes, SECTOR};

use super::blocks::{Location, Map};

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
        let table = table(file, header.table_offset.0, u64::from(header.max_table_entries) * 4)?;
        let sifted = Recent::of(MEMORY, header.block_size.0 as usize);
        let bitmaps = Recent::of(1 << 20, header.bitmap_length().0 as usize);
        Ok(Vhd { header, table, sifted, bitmaps })
    }
}

impl Map for Vhd {
    fn block(&self) -> u64 {
        self.header.block_size.0
    }

    fn find(&self, file: &dyn Source, index: u64) -> Result<Location> {
        let Some(at) = self.header.block_offset(&self.table, index)? else {
            return Ok(Location::Zero);
        };
        let length = self.header.bitmap_length();
        let data = (at + length).0;
        let bitmap = self.bitmaps.get(index, || bytes(file, at.0, length.0 as usize))?;
        let sectors = self.header.block_size.sectors().0 as usize;
        let written = |sector: usize| bitmap[sector / 8] & 0x80 >> (sector % 8) != 0;
        if (0..sectors).all(written) {
            return Ok(Location::File(data));
        }
        let block = self.sifted.get(index, || {
            // The last block of a disk need not be there to its end.
            let length = self.header.block_size.0.min(file.size().saturating_sub(data)) as usize;
            let mut block = bytes(file, data, length)?;
            block.resize(self.header.block_size.0 as usize, 0);
            for (sector, bytes) in block.chunks_mut(SECTOR as usize).enumerate() {
                if !written(sector) {
                    bytes.fill(0);
                }
            }
            Ok(block)
        })?;
        Ok(Location::Memory(Arc::clone(&block)))
    }
}
