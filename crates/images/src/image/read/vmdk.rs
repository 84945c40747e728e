//! The disk in a sparse VMDK: a grain directory, grain tables, and grains, which may be compressed.

use std::io::Read;

use flate2::read::ZlibDecoder;

use crate::error::{Context, Result, anyhow, ensure};
use crate::format::vmdk::read::{GrainMarker, HEADER_LENGTH, Header, entry};
use crate::image::source::{Recent, Source, bytes, table};
use crate::units::{Bytes, SECTOR};

use super::blocks::{Location, Map};

/// What tables and decompressed grains may take in memory, each.
const MEMORY: usize = 16 << 20;

/// Finds the grains of a sparse file.
pub struct Vmdk {
    header: Header,
    directory: Vec<u8>,
    tables: Recent,
    decompressed: Recent,
}

impl Vmdk {
    /// Reads the header, the footer where that says more, and the directory.
    pub fn open(file: &dyn Source) -> Result<Vmdk> {
        let mut header = Header::read(&bytes(file, 0, HEADER_LENGTH)?)?;
        if header.gd_offset.is_none() {
            // Behind the footer is the marker of the end.
            let at = file.size().checked_sub(2 * SECTOR).context("it has no footer")?;
            header = Header::read(&bytes(file, at, HEADER_LENGTH)?)
                .with_context(|| format!("reading the footer at {at}"))?;
        }
        let at = header.gd_offset.context("the footer does not say where the directory is")?;
        let directory = table(file, at.0, header.grain_tables() * 4)?;
        let tables = Recent::of(MEMORY, header.entries_per_gt as usize * 4);
        let decompressed = Recent::of(MEMORY, header.grain_size.0 as usize);
        Ok(Vmdk { header, directory, tables, decompressed })
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn decompress(&self, file: &dyn Source, at: u64, index: u64) -> Result<Vec<u8>> {
        let marker = GrainMarker::read(&bytes(file, at, GrainMarker::LENGTH)?)?;
        let (sector, length) = (marker.lba.0, marker.length.0 as usize);
        let grain = self.header.grain_size.0;
        let here = sector.checked_mul(SECTOR) == Some(index * grain);
        ensure!(here, "the grain at {at} is of sector {sector}, not of {}", index * grain / SECTOR);
        // Data that does not compress grows a little.
        ensure!(length <= grain as usize * 2, "the grain at {at} has {length} bytes");
        let packed = bytes(file, at + GrainMarker::LENGTH as u64, length)?;
        let mut whole = Vec::with_capacity(grain as usize);
        ZlibDecoder::new(packed.as_slice())
            .take(grain)
            .read_to_end(&mut whole)
            .map_err(|error| anyhow!("the grain at {at} is damaged: {error}"))?;
        // The last grain of a disk may be short.
        whole.resize(grain as usize, 0);
        Ok(whole)
    }
}

impl Map for Vmdk {
    fn block(&self) -> u64 {
        self.header.grain_size.0
    }

    fn find(&self, file: &dyn Source, index: u64) -> Result<Location> {
        let entries = self.header.entries_per_gt;
        let at = entry(&self.directory, index / entries)?.0;
        if at == 0 {
            return Ok(Location::Zero);
        }
        let table = self.tables.get(at, || bytes(file, at, entries as usize * 4))?;
        match entry(&table, index % entries)? {
            Bytes(0) => Ok(Location::Zero),
            Bytes(SECTOR) if self.header.has_zero_grains => Ok(Location::Zero),
            Bytes(at) if self.header.is_compressed => {
                let whole = self.decompressed.get(at, || self.decompress(file, at, index))?;
                Ok(Location::Memory(whole))
            }
            Bytes(at) => Ok(Location::File(at)),
        }
    }
}
