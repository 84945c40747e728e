//! Writes qcow2 version 3: a whole disk as a [`Plan`], or an empty overlay over a backing file.
//! Clusters have 64 KiB, none is compressed.

use super::{
    BACKING_FORMAT, CLUSTER, CLUSTER_BITS, FORMAT, LONGEST_BACKING_FILE, MAGIC, MAX_L1_SIZE,
};
use crate::blocks::{BlockMap, Plan};
use crate::fields::put;
use crate::units::Bytes;
use crate::{Fault, Pieces};

/// `header_length`: that of version 3 without the compression type.
const HEADER_LENGTH: usize = 104;
/// The number of 16-bit refcounts in a refcount block.
const REFCOUNTS: u64 = CLUSTER.0 / 2;
/// The number of entries in an L2 table, and in a cluster of the L1 or the refcount table.
const OFFSETS: u64 = CLUSTER.0 / 8;
/// The bit of a table entry that says that the refcount of its cluster is 1.
const COPIED: u64 = 1 << 63;
/// The format of a backing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackingFormat {
    /// A raw disk image.
    Raw,
    /// qcow2.
    Qcow2,
}

impl BackingFormat {
    /// The name that QEMU knows it by.
    pub fn name(self) -> &'static str {
        match self {
            BackingFormat::Raw => "raw",
            BackingFormat::Qcow2 => "qcow2",
        }
    }
}

/// An image without data over a backing file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// The virtual size, which may be larger than that of the backing file.
    pub size: Bytes,
    /// The backing file name: absolute, or relative to the directory of the overlay.
    pub backing: String,
    /// The backing file format.
    pub backing_format: BackingFormat,
}

impl Overlay {
    /// The whole file. Refuses a name that QEMU would take for a protocol, and one of more than 1023
    /// bytes.
    pub fn write(&self) -> Result<Vec<u8>, Fault> {
        let fits = !self.backing.is_empty()
            && self.backing.len() <= LONGEST_BACKING_FILE
            && !self.backing.contains('\0');
        // `a:b/c` would be the protocol `a`; a slash before the colon makes it a file.
        let slash_first = self.backing.split(':').next().is_some_and(|part| part.contains('/'));
        let file = !self.backing.contains(':') || slash_first;
        Fault::unless(fits && file, FORMAT, || {
            format!("`{}` cannot be a backing file", self.backing.escape_default())
        })?;
        let map = BlockMap::new(self.size, CLUSTER, [])?;
        let plan = assemble(&map, Some((&self.backing, self.backing_format)))?;
        let mut bytes = vec![0; plan.length.0 as usize];
        for (at, piece) in plan.pieces {
            put(&mut bytes, at.0 as usize, &piece);
        }
        Ok(bytes)
    }
}

/// A disk whose data is where `map` says, in blocks of [`CLUSTER`]; the rest stays unallocated and
/// reads as zero.
pub fn plan(map: &BlockMap) -> Result<Plan, Fault> {
    map.require(FORMAT, CLUSTER)?;
    assemble(map, None)
}

/// The number of clusters of each part of the file, in their order behind the header.
struct Clusters {
    refcount_table: u64,
    refcount_blocks: u64,
    l1: u64,
    l2: u64,
    data: u64,
}

impl Clusters {
    /// With as many refcount blocks as these and the refcounts themselves need.
    fn with(l1: u64, l2: u64, data: u64) -> Clusters {
        let mut clusters = Clusters { refcount_table: 1, refcount_blocks: 1, l1, l2, data };
        // The refcounts count themselves too, so this settles in a few rounds.
        loop {
            let blocks = clusters.total().div_ceil(REFCOUNTS);
            let table = blocks.div_ceil(OFFSETS);
            if (blocks, table) == (clusters.refcount_blocks, clusters.refcount_table) {
                return clusters;
            }
            (clusters.refcount_blocks, clusters.refcount_table) = (blocks, table);
        }
    }

    fn total(&self) -> u64 {
        1 + self.refcount_table + self.refcount_blocks + self.l1 + self.l2 + self.data
    }
}

fn assemble(map: &BlockMap, backing: Option<(&str, BackingFormat)>) -> Result<Plan, Fault> {
    let l1_entries = map.count().div_ceil(OFFSETS);
    Fault::unless(l1_entries <= MAX_L1_SIZE, FORMAT, || format!("{} is too large", map.disk()))?;
    let mut l2s: Vec<u64> = map.indices().map(|index| index / OFFSETS).collect();
    l2s.dedup();
    let clusters = Clusters::with(l1_entries.div_ceil(OFFSETS), l2s.len() as u64, map.allocated());
    let offset = |cluster: u64| cluster << CLUSTER_BITS;
    let refcount_block = 1 + clusters.refcount_table;
    let l1 = refcount_block + clusters.refcount_blocks;
    let l2 = l1 + clusters.l1;
    let data = l2 + clusters.l2;

    let mut refcount_table = Vec::new();
    for block in 0..clusters.refcount_blocks {
        refcount_table.extend(offset(refcount_block + block).to_be_bytes());
    }
    let refcounts = 1u16.to_be_bytes().repeat(clusters.total() as usize);
    let mut level1 = vec![0; (l1_entries * 8) as usize];
    for (i, index) in l2s.iter().enumerate() {
        let entry = offset(l2 + i as u64) | COPIED;
        put(&mut level1, (index * 8) as usize, &entry.to_be_bytes());
    }
    let mut level2 = vec![0; offset(clusters.l2) as usize];
    let mut table = 0;
    for (i, index) in map.indices().enumerate() {
        while l2s[table] < index / OFFSETS {
            table += 1;
        }
        let at = table as u64 * CLUSTER.0 + index % OFFSETS * 8;
        let entry = offset(data + i as u64) | COPIED;
        put(&mut level2, at as usize, &entry.to_be_bytes());
    }
    let header = header(map.disk(), &clusters, l1_entries, backing);
    let at = |cluster: u64| Bytes(offset(cluster));
    let pieces: Pieces = vec![
        (Bytes(0), header),
        (at(1), refcount_table),
        (at(refcount_block), refcounts),
        (at(l1), level1),
        (at(l2), level2),
    ];
    let pieces = pieces.into_iter().filter(|(_, piece)| !piece.is_empty()).collect();
    Ok(Plan { pieces, copies: map.copies_from(at(data)), length: at(clusters.total()) })
}

fn header(
    size: Bytes,
    clusters: &Clusters,
    l1_entries: u64,
    backing: Option<(&str, BackingFormat)>,
) -> Vec<u8> {
    let l1 = 1 + clusters.refcount_table + clusters.refcount_blocks;
    let mut header = vec![0; HEADER_LENGTH];
    put(&mut header, 0, MAGIC);
    put(&mut header, 4, &3u32.to_be_bytes());
    put(&mut header, 20, &CLUSTER_BITS.to_be_bytes());
    put(&mut header, 24, &size.0.to_be_bytes());
    put(&mut header, 36, &(l1_entries as u32).to_be_bytes());
    put(&mut header, 40, &(l1 << CLUSTER_BITS).to_be_bytes());
    put(&mut header, 48, &CLUSTER.0.to_be_bytes());
    put(&mut header, 56, &(clusters.refcount_table as u32).to_be_bytes());
    // Refcounts of 2^4 bits; no features of any kind.
    put(&mut header, 96, &4u32.to_be_bytes());
    put(&mut header, 100, &(HEADER_LENGTH as u32).to_be_bytes());
    if let Some((name, format)) = backing {
        let format = format.name().as_bytes();
        header.extend(BACKING_FORMAT.to_be_bytes());
        header.extend((format.len() as u32).to_be_bytes());
        header.extend(format);
        header.resize(header.len().next_multiple_of(8), 0);
        // The end of the extensions, then the name.
        header.extend([0; 8]);
        let at = header.len() as u64;
        put(&mut header, 8, &at.to_be_bytes());
        put(&mut header, 16, &(name.len() as u32).to_be_bytes());
        header.extend(name.as_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn an_overlay_has_four_clusters_and_pinned_bytes() {
        let overlay = Overlay {
            size: Bytes::gib(10),
            backing: "../base.raw".into(),
            backing_format: BackingFormat::Raw,
        };
        let bytes = overlay.write().unwrap();
        assert_eq!(bytes.len() as u64, 4 * CLUSTER.0);
        assert_eq!(bytes[104..131], *b"\xe2\x79\x2a\xca\0\0\0\x03raw\0\0\0\0\0\0\0\0\0\0\0\0\0../");
        assert_eq!(Digest::of(&bytes).short(), "ef924b9623b8");
        for backing in ["", "nbd:x", &"x".repeat(1024)] {
            assert!(Overlay { backing: backing.into(), ..overlay.clone() }.write().is_err());
        }
    }

    #[test]
    fn data_follows_the_tables() {
        let extents =
            [(Bytes(0), Bytes(1)), (Bytes::gib(1), CLUSTER), (Bytes(5 << 29), Bytes::MIB)];
        let map = BlockMap::new(Bytes::gib(3), CLUSTER, extents).unwrap();
        let plan = plan(&map).unwrap();
        // Header, refcount table, refcount block, L1, three L2s, then 18 clusters of data.
        assert_eq!(plan.length, Bytes(25 << 16));
        let starts: Vec<u64> = plan.pieces.iter().map(|(at, _)| at.0 >> 16).collect();
        assert_eq!(starts, [0, 1, 2, 3, 4]);
        let to: Vec<u64> = plan.copies.iter().map(|copy| copy.to.0 >> 16).collect();
        assert_eq!(to, [7, 8, 9]);
        assert_eq!(plan.pieces[3].1[16..24], (COPIED | 5 << 16).to_be_bytes());
        assert!(super::plan(&map.in_blocks_of(Bytes::MIB).unwrap()).is_err());
    }

    /// The refcount table gets its second cluster at 16 TiB, too much for a test that writes.
    #[test]
    fn refcount_blocks_suffice_at_every_size() {
        let table = REFCOUNTS * OFFSETS;
        for boundary in [REFCOUNTS, 2 * REFCOUNTS, 100 * REFCOUNTS, table, 2 * table] {
            let below = 2 * (boundary / REFCOUNTS + boundary / table + 10);
            for data in boundary - below.min(boundary)..boundary + 10 {
                let clusters = Clusters::with(1, data.div_ceil(OFFSETS), data);
                let (total, blocks) = (clusters.total(), clusters.refcount_blocks);
                assert!(blocks * REFCOUNTS >= total && clusters.refcount_table * OFFSETS >= blocks);
                // And no more than needed.
                assert!((blocks - 1) * REFCOUNTS < total, "{data}");
                assert!((clusters.refcount_table - 1) * OFFSETS < blocks, "{data}");
            }
        }
    }

    #[test]
    fn refcounts_cover_themselves() {
        let size = Bytes::gib(8);
        let map = BlockMap::new(size, CLUSTER, [(Bytes(0), size)]).unwrap();
        let plan = plan(&map).unwrap();
        let clusters = plan.length.0 >> 16;
        assert_eq!(clusters, 1 + 1 + 5 + 1 + 16 + (8 << 14));
        assert_eq!(plan.pieces[2].1.len() as u64, clusters * 2);
        assert_eq!(plan.pieces[1].1.len(), 5 * 8);
    }
}
