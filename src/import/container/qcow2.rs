//! The disk in a qcow2 image: tables of tables, compressed clusters, parts of clusters.

use std::io::Read;
use std::sync::Arc;

use flate2::{Decompress, FlushDecompress};

use crate::error::{Result, anyhow, ensure};
use crate::format::qcow2::read::{Cluster, Compression, HEAD, Head};
use crate::import::source::{Recent, Source, bytes, head, table};

use super::blocks::{Map, Place};

/// What tables and decompressed clusters may take in memory, each.
const MEMORY: usize = 16 << 20;
/// Into how many parts an extended entry divides a cluster.
const PARTS: u64 = 32;

/// Finds the blocks of an image: clusters, or their parts where entries are extended.
pub struct Qcow2 {
    head: Head,
    l1: Vec<u8>,
    tables: Recent,
    decompressed: Recent,
}

impl Qcow2 {
    /// Reads the head and the table of tables.
    pub fn open(file: &dyn Source) -> Result<Qcow2> {
        let head = Head::read(&self::head(file, HEAD)?)?;
        let l1 = table(file, head.l1, head.l1_entries * 8)?;
        let cluster = head.cluster() as usize;
        let (tables, decompressed) = (Recent::of(MEMORY, cluster), Recent::of(MEMORY, cluster));
        Ok(Qcow2 { head, l1, tables, decompressed })
    }

    /// What its head says.
    pub fn head(&self) -> &Head {
        &self.head
    }

    fn decompress(&self, file: &dyn Source, at: u64, length: u64) -> Result<Vec<u8>> {
        // The length is counted in sectors, the last of which may not be all there.
        let length = length.min(file.size().saturating_sub(at));
        let packed = bytes(file, at, length as usize)?;
        let mut cluster = vec![0; self.head.cluster() as usize];
        match self.head.compression {
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
        match self.head.extended {
            true => self.head.cluster() / PARTS,
            false => self.head.cluster(),
        }
    }

    fn find(&self, file: &dyn Source, index: u64) -> Result<Place> {
        let (index, part) = match self.head.extended {
            true => (index / PARTS, index % PARTS),
            false => (index, 0),
        };
        let (table, entry) = (index / self.head.table_entries(), index % self.head.table_entries());
        let Some(at) = self.head.table(&self.l1, table)? else { return Ok(Place::Below) };
        let table = self.tables.get(at, || bytes(file, at, self.head.cluster() as usize))?;
        let (cluster, parts) = self.head.cluster_at(&table, entry)?;
        if self.head.extended && !matches!(cluster, Cluster::Compressed(..)) {
            let (stored, zero) = (parts >> part & 1, parts >> (PARTS + part) & 1);
            return Ok(match (cluster, stored, zero) {
                (_, _, 1) => Place::Zero,
                (Cluster::At(at), 1, _) => Place::At(at + part * self.block()),
                _ => Place::Below,
            });
        }
        Ok(match cluster {
            Cluster::Absent => Place::Below,
            Cluster::Zero => Place::Zero,
            Cluster::At(at) => Place::At(at),
            Cluster::Compressed(at, length) => {
                let whole = self.decompressed.get(at, || self.decompress(file, at, length))?;
                match self.head.extended {
                    false => Place::Here(whole),
                    true => {
                        let start = (part * self.block()) as usize;
                        let end = start + self.block() as usize;
                        Place::Here(Arc::new(whole[start..end].to_vec()))
                    }
                }
            }
        })
    }
}
