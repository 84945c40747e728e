//! What the head and the tables of a qcow2 image say, of version 2 or 3. It reads no data.
//!
//! Source: QEMU's docs/interop/qcow2.txt; all big endian.

use crate::Fault;
use crate::fields::Fields;
use crate::units::Bytes;

use super::{BACKING_FORMAT, FORMAT, LONGEST_BACKING, MOST_L1, OFFSETS_AT};

/// How much of an image [`Head::read`] needs: the header and its extensions lie in the first
/// cluster, of 512 bytes at least.
pub const HEAD: usize = 64 << 10;

/// How clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Deflate without a header.
    Deflate,
    /// Zstandard.
    Zstd,
}

/// The name of the image below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backing {
    /// As it was written.
    pub name: String,
    /// Its format, where the image says: `raw`, `qcow2`.
    pub format: Option<String>,
}

/// What the head of an image says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The size of the disk.
    pub size: Bytes,
    /// A cluster has 2 to the power of so many bytes.
    pub cluster_bits: u32,
    /// Where the table of tables is.
    pub l1: u64,
    /// How many entries it has.
    pub l1_entries: u64,
    /// How clusters are compressed that are.
    pub compression: Compression,
    /// Whether an entry of a table has 32 pairs of bits for the parts of a cluster behind it.
    pub extended: bool,
    /// The image below.
    pub backing: Option<Backing>,
}

/// Where a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cluster {
    /// Nowhere in this image.
    Absent,
    /// It reads as zero.
    Zero,
    /// In the file, from this byte on.
    At(u64),
    /// Compressed: where, and how many bytes at most.
    Compressed(u64, u64),
}

/// Features that a reader must know, by bit.
const DIRTY: u64 = 1;
const CORRUPT: u64 = 2;
const DATA_FILE: u64 = 4;
const COMPRESSION: u64 = 8;
const EXTENDED: u64 = 16;

impl Head {
    /// Reads the first [`HEAD`] bytes of an image, or all there are.
    pub fn read(bytes: &[u8]) -> Result<Head, Fault> {
        let refuse = |why: String| Err(Fault::new(FORMAT, why));
        let fields = Fields::of(FORMAT, bytes);
        if !bytes.starts_with(b"QFI\xfb") {
            return refuse("not an image of this format".into());
        }
        let version = fields.be32(4)?;
        if !(2..=3).contains(&version) {
            return refuse(format!("version {version}, and only 2 and 3 are known"));
        }
        let (features, length) = match version {
            2 => (0, 72),
            _ => (fields.be64(72)?, fields.be32(100)?),
        };
        if features & CORRUPT != 0 {
            return refuse("it is marked as corrupt".into());
        }
        if features & DATA_FILE != 0 {
            return refuse("its data is in a file of its own".into());
        }
        let unknown = features & !(DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED);
        if unknown != 0 {
            return refuse(format!("features that nobody knew in 2026: {unknown:#x}"));
        }
        if fields.be32(32)? != 0 {
            return refuse("it is encrypted".into());
        }
        let compression = match features & COMPRESSION {
            0 => Compression::Deflate,
            _ => match bytes.get(104) {
                Some(0) => Compression::Deflate,
                Some(1) => Compression::Zstd,
                other => return refuse(format!("compression of the unknown kind {other:?}")),
            },
        };
        let head = Head {
            size: Bytes(fields.be64(24)?),
            cluster_bits: fields.be32(20)?,
            l1: fields.be64(40)?,
            l1_entries: fields.be32(36)?.into(),
            compression,
            extended: features & EXTENDED != 0,
            backing: backing(bytes, length as usize)?,
        };
        let least = if head.extended { 14 } else { 9 };
        if !(least..=21).contains(&head.cluster_bits) {
            return refuse(format!("clusters of 2^{} bytes", head.cluster_bits));
        }
        let needed = head.size.0.div_ceil(head.table_covers());
        if head.l1_entries > MOST_L1 || head.l1_entries < needed {
            let (size, entries) = (head.size, head.l1_entries);
            return refuse(format!("a disk of {size} in {entries} tables, it needs {needed}"));
        }
        Ok(head)
    }

    /// The size of a cluster.
    pub fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// The size of an entry of a table.
    fn entry(&self) -> u64 {
        if self.extended { 16 } else { 8 }
    }

    /// How many clusters a table tells the places of.
    pub fn table_entries(&self) -> u64 {
        self.cluster() / self.entry()
    }

    /// How much of the disk that is.
    fn table_covers(&self) -> u64 {
        self.table_entries() << self.cluster_bits
    }

    /// Where the table is that has the entry `table` of the table of tables; `None` where there is
    /// none.
    pub fn table(&self, l1: &[u8], table: u64) -> Result<Option<u64>, Fault> {
        let at = Fields::of(FORMAT, l1).be64(table as usize * 8)? & OFFSETS_AT;
        self.aligned(at, || format!("table {table}"))?;
        Ok((at != 0).then_some(at))
    }

    /// Where the cluster is that has the entry `index` of a table, and the bits for its parts.
    pub fn cluster_at(&self, table: &[u8], index: u64) -> Result<(Cluster, u64), Fault> {
        let place = (index * self.entry()) as usize;
        let fields = Fields::of(FORMAT, table);
        let entry = fields.be64(place)?;
        let parts = if self.extended { fields.be64(place + 8)? } else { 0 };
        if entry & 1 << 62 != 0 {
            let bits = 62 - (self.cluster_bits - 8);
            let at = entry & ((1 << bits) - 1);
            let sectors = (entry & !(3 << 62)) >> bits;
            let length = (sectors + 1) * 512 - at % 512;
            return Ok((Cluster::Compressed(at, length), 0));
        }
        let at = entry & OFFSETS_AT;
        self.aligned(at, || format!("cluster {index} of a table"))?;
        let cluster = match (entry & 1, at) {
            (1, _) if !self.extended => Cluster::Zero,
            (_, 0) => Cluster::Absent,
            _ => Cluster::At(at),
        };
        Ok((cluster, parts))
    }

    fn aligned(&self, at: u64, what: impl FnOnce() -> String) -> Result<(), Fault> {
        Fault::unless(at.is_multiple_of(self.cluster()), FORMAT, || {
            format!("{} lies at {at}, which is no start of a cluster", what())
        })
    }
}

/// The name of the image below, and its format out of the extensions behind the header.
fn backing(bytes: &[u8], header: usize) -> Result<Option<Backing>, Fault> {
    let fields = Fields::of(FORMAT, bytes);
    let (at, length) = (fields.be64(8)?, fields.be32(16)? as usize);
    if at == 0 || length == 0 {
        return Ok(None);
    }
    let name = usize::try_from(at).ok().filter(|_| length <= LONGEST_BACKING);
    let name = name.and_then(|at| bytes.get(at..)?.get(..length));
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    let name = name.ok_or_else(|| {
        Fault::new(FORMAT, format!("the name of the image below, {length} bytes at {at}"))
    })?;
    let mut format = None;
    let mut next = header;
    while next + 8 <= at as usize {
        let (kind, length) = (fields.be32(next)?, fields.be32(next + 4)? as usize);
        if kind == 0 {
            break;
        }
        if kind == BACKING_FORMAT {
            let text = bytes.get(next + 8..).and_then(|rest| rest.get(..length));
            format = text.map(|text| String::from_utf8_lossy(text).into_owned());
        }
        next = next.saturating_add(8).saturating_add(length).next_multiple_of(8);
    }
    Ok(Some(Backing { name: name.into(), format }))
}

#[cfg(test)]
mod tests {
    use super::super::{BackingFormat, Overlay, plan};
    use super::*;
    use crate::blocks::BlockMap;
    use crate::fields::put;
    use proptest::prelude::*;

    #[test]
    fn what_was_written_is_read() {
        let size = Bytes::gib(3);
        let map = BlockMap::new(size, super::super::CLUSTER, [(Bytes::gib(1), Bytes(1))]).unwrap();
        let plan = plan(&map).unwrap();
        let head = Head::read(&plan.pieces[0].1).unwrap();
        assert_eq!((head.size, head.cluster(), head.backing.as_ref()), (size, 65_536, None));
        let (l1, l2) = (&plan.pieces[3].1, &plan.pieces[4].1);
        assert_eq!(head.table(l1, 0), Ok(None));
        assert_eq!(head.table(l1, 2), Ok(Some(plan.pieces[4].0.0)));
        assert_eq!(head.cluster_at(l2, 1), Ok((Cluster::Absent, 0)));
        assert_eq!(head.cluster_at(l2, 0), Ok((Cluster::At(plan.copies[0].to.0), 0)));
        let overlay =
            Overlay { size, backing: "base.raw".into(), backing_format: BackingFormat::Raw };
        let head = Head::read(&overlay.write().unwrap()).unwrap();
        let backing = Backing { name: "base.raw".into(), format: Some("raw".into()) };
        assert_eq!(head.backing, Some(backing));
    }

    #[test]
    fn compressed_clusters_end_at_a_sector() {
        let map = BlockMap::new(Bytes::gib(1), super::super::CLUSTER, []).unwrap();
        let head = Head::read(&plan(&map).unwrap().pieces[0].1).unwrap();
        let entry: u64 = 1 << 62 | 2 << 54 | 0x1_0203;
        let (cluster, _) = head.cluster_at(&entry.to_be_bytes(), 0).unwrap();
        assert_eq!(cluster, Cluster::Compressed(0x1_0203, 3 * 512 - 3));
        assert!(head.cluster_at(&[0; 7], 0).is_err());
        assert!(head.cluster_at(&512u64.to_be_bytes(), 0).is_err());
    }

    #[test]
    fn images_that_cannot_be_read_are_refused() {
        let map = BlockMap::new(Bytes::gib(1), super::super::CLUSTER, []).unwrap();
        let good = plan(&map).unwrap().pieces.remove(0).1;
        for (at, value, why) in [
            (3, 0, "not an image"),
            (7, 4, "version 4"),
            (35, 1, "encrypted"),
            (79, 2, "corrupt"),
            (79, 4, "a file of its own"),
            (78, 1, "features"),
            (23, 40, "clusters of 2^40"),
            (24, 1, "it needs"),
        ] {
            let mut bytes = good.clone();
            put(&mut bytes, at, &[value]);
            let fault = Head::read(&bytes).unwrap_err().to_string();
            assert!(fault.contains(why), "{fault}");
        }
    }

    proptest! {
        #[test]
        fn reading_anything_ends(mut bytes in prop::collection::vec(any::<u8>(), 112..400)) {
            put(&mut bytes, 0, b"QFI\xfb\0\0\0\x03");
            let _ = Head::read(&bytes);
        }
    }
}
