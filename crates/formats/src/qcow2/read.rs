//! Reads the header and the entries of the L1 and L2 tables. It reads no data.

use super::{BACKING_FORMAT, FORMAT, LONGEST_BACKING_FILE, MAGIC, MAX_L1_SIZE};
use crate::Fault;
use crate::fields::Fields;
use crate::units::{Bytes, SECTOR};

/// How much of an image [`Header::read`] needs: the header and its extensions are in the first
/// cluster; readers look no further than this.
pub const HEADER_LENGTH: usize = 64 << 10;
/// The bits of an L1 or L2 entry that are an offset in the file.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;

/// `compression_type`: how compressed clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Raw deflate.
    Deflate,
    /// Zstandard.
    Zstd,
}

/// The backing file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackingFile {
    /// Its name as the image has it.
    pub name: String,
    /// Its format, where the header extension is there: `raw`, `qcow2`.
    pub format: Option<String>,
}

/// The fields of the header that a reader needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// `size`: the virtual size of the disk.
    pub size: Bytes,
    /// `cluster_bits`: the binary logarithm of the cluster size, from 9 to 21.
    cluster_bits: u32,
    /// `l1_table_offset`.
    pub l1_table_offset: Bytes,
    /// `l1_size`: the number of entries of the L1 table, at most 4 Mi.
    pub l1_size: u32,
    /// `compression_type`.
    pub compression: Compression,
    /// Whether L2 entries are extended: they have a bitmap of 32 subclusters.
    pub has_extended_l2: bool,
    /// The backing file.
    pub backing_file: Option<BackingFile>,
}

/// An L2 entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cluster {
    /// Not allocated in this image.
    Unallocated,
    /// Reads as zeros.
    Zero,
    /// At this offset of the file.
    Standard(Bytes),
    /// Compressed.
    Compressed {
        /// Where the compressed data begins in the file.
        offset: Bytes,
        /// Its greatest length; the last sector may not be all of it.
        length: Bytes,
    },
}

/// Bits of `incompatible_features`.
const DIRTY: u64 = 1;
const CORRUPT: u64 = 2;
const EXTERNAL_DATA_FILE: u64 = 4;
const COMPRESSION: u64 = 8;
const EXTENDED_L2: u64 = 16;

impl Header {
    /// Reads the first [`HEADER_LENGTH`] bytes of an image, or all there are. Refuses encrypted and
    /// corrupt images, external data files, and features that this reader does not know.
    pub fn read(bytes: &[u8]) -> Result<Header, Fault> {
        let refuse = |why: String| Err(Fault::new(FORMAT, why));
        let fields = Fields::of(FORMAT, bytes);
        if !bytes.starts_with(MAGIC) {
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
        if features & EXTERNAL_DATA_FILE != 0 {
            return refuse("its data is in a file of its own".into());
        }
        let unknown =
            features & !(DIRTY | CORRUPT | EXTERNAL_DATA_FILE | COMPRESSION | EXTENDED_L2);
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
        let header = Header {
            size: Bytes(fields.be64(24)?),
            cluster_bits: fields.be32(20)?,
            l1_table_offset: Bytes(fields.be64(40)?),
            l1_size: fields.be32(36)?,
            compression,
            has_extended_l2: features & EXTENDED_L2 != 0,
            backing_file: backing_file(bytes, length as usize)?,
        };
        let least = if header.has_extended_l2 { 14 } else { 9 };
        if !(least..=21).contains(&header.cluster_bits) {
            return refuse(format!("clusters of 2^{} bytes", header.cluster_bits));
        }
        let needed = header.size.0.div_ceil(header.l2_entries() << header.cluster_bits);
        let entries = u64::from(header.l1_size);
        if entries > MAX_L1_SIZE || entries < needed {
            let size = header.size;
            return refuse(format!("a disk of {size} in {entries} tables, it needs {needed}"));
        }
        Ok(header)
    }

    /// The size of a cluster, from 512 B to 2 MiB.
    pub fn cluster_size(&self) -> Bytes {
        Bytes(1 << self.cluster_bits)
    }

    /// The length of an L2 entry.
    fn l2_entry_length(&self) -> u64 {
        if self.has_extended_l2 { 16 } else { 8 }
    }

    /// The number of entries of an L2 table, which fills a cluster.
    pub fn l2_entries(&self) -> u64 {
        self.cluster_size().0 / self.l2_entry_length()
    }

    /// The offset of the L2 table in entry `index` of the L1 table; `None` where it is unallocated.
    pub fn l2_table_offset(&self, l1: &[u8], index: u64) -> Result<Option<Bytes>, Fault> {
        let offset = Fields::of(FORMAT, l1).be64(index as usize * 8)? & OFFSET_MASK;
        self.check_alignment(offset, || format!("table {index}"))?;
        Ok((offset != 0).then_some(Bytes(offset)))
    }

    /// Entry `index` of an L2 table, and its subcluster bitmap: 32 bits for allocated subclusters,
    /// and above them 32 bits for those that read as zeros. The bitmap is 0 without extended entries.
    pub fn cluster(&self, l2: &[u8], index: u64) -> Result<(Cluster, u64), Fault> {
        let at = (index * self.l2_entry_length()) as usize;
        let fields = Fields::of(FORMAT, l2);
        let entry = fields.be64(at)?;
        let subclusters = if self.has_extended_l2 { fields.be64(at + 8)? } else { 0 };
        if entry & 1 << 62 != 0 {
            let bits = 62 - (self.cluster_bits - 8);
            let offset = entry & ((1 << bits) - 1);
            let sectors = (entry & !(3 << 62)) >> bits;
            let length = Bytes((sectors + 1) * SECTOR - offset % SECTOR);
            return Ok((Cluster::Compressed { offset: Bytes(offset), length }, 0));
        }
        let offset = entry & OFFSET_MASK;
        self.check_alignment(offset, || format!("cluster {index} of a table"))?;
        let cluster = match (entry & 1, offset) {
            (1, _) if !self.has_extended_l2 => Cluster::Zero,
            (_, 0) => Cluster::Unallocated,
            _ => Cluster::Standard(Bytes(offset)),
        };
        Ok((cluster, subclusters))
    }

    fn check_alignment(&self, offset: u64, what: impl FnOnce() -> String) -> Result<(), Fault> {
        Fault::unless(offset.is_multiple_of(self.cluster_size().0), FORMAT, || {
            format!("{} lies at {offset}, which is not the start of a cluster", what())
        })
    }
}

/// The backing file, and its format out of the header extensions, which begin at `extensions`.
fn backing_file(bytes: &[u8], extensions: usize) -> Result<Option<BackingFile>, Fault> {
    let fields = Fields::of(FORMAT, bytes);
    let (at, length) = (fields.be64(8)?, fields.be32(16)? as usize);
    if at == 0 || length == 0 {
        return Ok(None);
    }
    let name = usize::try_from(at).ok().filter(|_| length <= LONGEST_BACKING_FILE);
    let name = name.and_then(|at| bytes.get(at..)?.get(..length));
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    let name = name.ok_or_else(|| {
        Fault::new(FORMAT, format!("the name of the backing file, {length} bytes at {at}"))
    })?;
    let mut format = None;
    let mut next = extensions;
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
    Ok(Some(BackingFile { name: name.into(), format }))
}

#[cfg(test)]
mod tests {
    use super::super::{BackingFormat, CLUSTER, Overlay, plan};
    use super::*;
    use crate::blocks::BlockMap;
    use crate::fields::put;
    use proptest::prelude::*;

    #[test]
    fn written_images_are_read() {
        let size = Bytes::gib(3);
        let map = BlockMap::new(size, CLUSTER, [(Bytes::gib(1), Bytes(1))]).unwrap();
        let plan = plan(&map).unwrap();
        let header = Header::read(&plan.pieces[0].1).unwrap();
        assert_eq!(
            (header.size, header.cluster_size(), header.backing_file.as_ref()),
            (size, CLUSTER, None)
        );
        let (l1, l2) = (&plan.pieces[3].1, &plan.pieces[4].1);
        assert_eq!(header.l2_table_offset(l1, 0), Ok(None));
        assert_eq!(header.l2_table_offset(l1, 2), Ok(Some(plan.pieces[4].0)));
        assert_eq!(header.cluster(l2, 1), Ok((Cluster::Unallocated, 0)));
        assert_eq!(header.cluster(l2, 0), Ok((Cluster::Standard(plan.copies[0].to), 0)));
        let overlay =
            Overlay { size, backing: "base.raw".into(), backing_format: BackingFormat::Raw };
        let header = Header::read(&overlay.write().unwrap()).unwrap();
        let backing = BackingFile { name: "base.raw".into(), format: Some("raw".into()) };
        assert_eq!(header.backing_file, Some(backing));
    }

    #[test]
    fn compressed_clusters_end_at_a_sector_boundary() {
        let map = BlockMap::new(Bytes::gib(1), CLUSTER, []).unwrap();
        let header = Header::read(&plan(&map).unwrap().pieces[0].1).unwrap();
        let entry: u64 = 1 << 62 | 2 << 54 | 0x1_0203;
        let (cluster, _) = header.cluster(&entry.to_be_bytes(), 0).unwrap();
        let (offset, length) = (Bytes(0x1_0203), Bytes(3 * 512 - 3));
        assert_eq!(cluster, Cluster::Compressed { offset, length });
        assert!(header.cluster(&[0; 7], 0).is_err());
        assert!(header.cluster(&512u64.to_be_bytes(), 0).is_err());
    }

    #[test]
    fn unsupported_images_are_refused() {
        let map = BlockMap::new(Bytes::gib(1), CLUSTER, []).unwrap();
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
            let fault = Header::read(&bytes).unwrap_err().to_string();
            assert!(fault.contains(why), "{fault}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 112..400)) {
            put(&mut bytes, 0, b"QFI\xfb\0\0\0\x03");
            let _ = Header::read(&bytes);
        }
    }
}
