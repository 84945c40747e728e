//! The disk in a sparse VMDK: a directory of tables of grains, which may be compressed.

use std::io::Read;

use flate2::read::ZlibDecoder;

use crate::error::{Context, Result, anyhow, ensure};
use crate::format::fields::Fields;
use crate::format::vmdk::read::{HEAD, Head};
use crate::import::source::{Recent, Source, bytes, table};
use crate::units::SECTOR;

use super::blocks::{Map, Place};

/// What tables and decompressed grains may take in memory, each.
const MEMORY: usize = 16 << 20;
/// Before the data of a compressed grain: the sector of the disk it is of, and its length.
const MARKER: usize = 12;

/// Finds the grains of a sparse file.
pub struct Vmdk {
    head: Head,
    directory: Vec<u8>,
    tables: Recent,
    decompressed: Recent,
}

impl Vmdk {
    /// Reads the header, the footer where that says more, and the directory.
    pub fn open(file: &dyn Source) -> Result<Vmdk> {
        let mut head = Head::read(&bytes(file, 0, HEAD)?)?;
        if head.directory.is_none() {
            // Behind the footer is the marker of the end.
            let at = file.size().checked_sub(2 * SECTOR).context("it has no footer")?;
            head = Head::read(&bytes(file, at, HEAD)?)
                .with_context(|| format!("reading the footer at {at}"))?;
        }
        let at = head.directory.context("the footer does not say where the directory is")?;
        let directory = table(file, at, head.tables() * 4)?;
        let tables = Recent::of(MEMORY, head.table_entries as usize * 4);
        let decompressed = Recent::of(MEMORY, head.grain as usize);
        Ok(Vmdk { head, directory, tables, decompressed })
    }

    /// What its header says.
    pub fn head(&self) -> &Head {
        &self.head
    }

    fn decompress(&self, file: &dyn Source, at: u64, index: u64) -> Result<Vec<u8>> {
        let marker = bytes(file, at, MARKER)?;
        let fields = Fields::of("vmdk", &marker);
        let (sector, length) = (fields.le64(0)?, fields.le32(8)? as usize);
        let grain = self.head.grain;
        let here = sector.checked_mul(SECTOR) == Some(index * grain);
        ensure!(here, "the grain at {at} is of sector {sector}, not of {}", index * grain / SECTOR);
        // Data that does not compress grows a little.
        ensure!(length <= grain as usize * 2, "the grain at {at} has {length} bytes");
        let packed = bytes(file, at + MARKER as u64, length)?;
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
        self.head.grain
    }

    fn find(&self, file: &dyn Source, index: u64) -> Result<Place> {
        let entries = self.head.table_entries;
        let at = self.head.entry(&self.directory, index / entries)?;
        if at == 0 {
            return Ok(Place::Zero);
        }
        let table = self.tables.get(at, || bytes(file, at, entries as usize * 4))?;
        match self.head.entry(&table, index % entries)? {
            0 => Ok(Place::Zero),
            SECTOR if self.head.zero_grains => Ok(Place::Zero),
            at if self.head.compressed => {
                let whole = self.decompressed.get(at, || self.decompress(file, at, index))?;
                Ok(Place::Here(whole))
            }
            at => Ok(Place::At(at)),
        }
    }
}
