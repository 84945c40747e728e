//! The disk in a qcow2 image: L1 and L2 tables, compressed clusters, subclusters.

use std::io::Read;
use std::sync::Arc;

use flate2::{Decompress, FlushDecompress};

use crate::error::{Result, anyhow, ensure};
use crate::format::qcow2::read::{Cluster, Compression, HEADER_LENGTH, Header};
use crate::image::source::{Recent, Source, bytes, head, table};

use super::blocks::{Location, Map};

/// What tables and decompressed clusters may take in memory, each.
const MEMORY: usize = 16 << 20;
/// The number of subclusters of a cluster whose L2 entry is extended.
const SUBCLUSTERS: u64 = 32;

/// Finds the blocks of an image: clusters, or subclusters where L2 entries are extended.
pub struct Qcow2 {
    header: Header,
    l1: Vec<u8>,
    tables: Recent,
    decompressed: Recent,
}

impl Qcow2 {
    /// Reads the header and the L1 table.
    pub fn open(file: &dyn Source) -> Result<Qcow2> {
        let header = Header::read(&head(file, HEADER_LENGTH)?)?;
        let l1 = table(file, header.l1_table_offset.0, u64::from(header.l1_size) * 8)?;
        let cluster = header.cluster_size().0 as usize;
        let (tables, decompressed) = (Recent::of(MEMORY, cluster), Recent::of(MEMORY, cluster));
        Ok(Qcow2 { header, l1, tables, decompressed })
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn decompress(&self, file: &dyn Source, at: u64, length: u64) -> Result<Vec<u8>> {
        // The length is counted in sectors, the last of which may not be all there.
        let length = length.min(file.size().saturating_sub(at));
        let packed = bytes(file, at, length as usize)?;
        let mut cluster = vec![0; self.header.cluster_size().0 as usize];
        match self.header.compression {
            Compression::Deflate => {
                let mut inflate = Decompress::new(false);
                inflate
                    .decompress(&packed, &mut cluster, FlushDecompress::Finish)
                    .map_err(|error| anyhow!("the data at {at} is damaged: {error}"))?;
                let made = inflate.total_out();
                ensure!(made == cluster.len() as u64, "the data at {at} gives {made} bytes");
            }
            Compression::Zstd => {
                let damaged = |error: &dyn std::fmt::Display| {
                    anyhow!("the Zstandard data at {at} is damaged: {error}")
                };
                // What follows the frame fills its last sector.
                let decoder = zstd::stream::read::Decoder::with_buffer(packed.as_slice());
                let mut decoder = decoder.map_err(|error| damaged(&error))?.single_frame();
                decoder.read_exact(&mut cluster).map_err(|error| damaged(&error))?;
            }
        }
        Ok(cluster)
    }
}

impl Map for Qcow2 {
    fn block(&self) -> u64 {
        match self.header.has_extended_l2 {
            true => self.header.cluster_size().0 / SUBCLUSTERS,
            false => self.header.cluster_size().0,
        }
    }

    fn find(&self, file: &dyn Source, index: u64) -> Result<Location> {
        let (index, part) = match self.header.has_extended_l2 {
            true => (index / SUBCLUSTERS, index % SUBCLUSTERS),
            false => (index, 0),
        };
        let (table, entry) = (index / self.header.l2_entries(), index % self.header.l2_entries());
        let Some(at) = self.header.l2_table_offset(&self.l1, table)? else {
            return Ok(Location::Backing);
        };
        let table =
            self.tables.get(at.0, || bytes(file, at.0, self.header.cluster_size().0 as usize))?;
        let (cluster, subclusters) = self.header.cluster(&table, entry)?;
        if self.header.has_extended_l2 && !matches!(cluster, Cluster::Compressed { .. }) {
            let (stored, zero) = (subclusters >> part & 1, subclusters >> (SUBCLUSTERS + part) & 1);
            return Ok(match (cluster, stored, zero) {
                (_, _, 1) => Location::Zero,
                (Cluster::Standard(at), 1, _) => Location::File(at.0 + part * self.block()),
                _ => Location::Backing,
            });
        }
        Ok(match cluster {
            Cluster::Unallocated => Location::Backing,
            Cluster::Zero => Location::Zero,
            Cluster::Standard(at) => Location::File(at.0),
            Cluster::Compressed { offset, length } => {
                let decompress = || self.decompress(file, offset.0, length.0);
                let whole = self.decompressed.get(offset.0, decompress)?;
                match self.header.has_extended_l2 {
                    false => Location::Memory(whole),
                    true => {
                        let start = (part * self.block()) as usize;
                        let end = start + self.block() as usize;
                        Location::Memory(Arc::new(whole[start..end].to_vec()))
                    }
                }
            }
        })
    }
}
