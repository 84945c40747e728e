//! Reads the header of a hosted sparse extent, its grain directory and grain tables, and the text
//! descriptor. It reads no data.

use super::{FORMAT, GD_AT_END, MAGIC, NEW_LINE_TEST};
use crate::Fault;
use crate::fields::Fields;
use crate::units::{Bytes, SECTOR, Sectors};

/// The length of a header, and of a footer, which has the same form.
pub const HEADER_LENGTH: usize = SECTOR as usize;
/// The longest descriptor that is read.
pub const LONGEST_DESCRIPTOR: Bytes = Bytes::MIB;
/// The most extents of a descriptor; at 2 GiB each they are 8 TiB.
const MAX_EXTENTS: usize = 4096;

/// The fields of a `SparseExtentHeader` that a reader needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `capacity`: the size of the extent.
    pub capacity: Bytes,
    /// `grainSize`: a power of 2 from 4 KiB to 16 MiB.
    pub grain_size: Bytes,
    /// Offset and length of the embedded descriptor, where there is one.
    pub descriptor: Option<(Bytes, Bytes)>,
    /// `numGTEsPerGT`: the number of entries of a grain table, from 1 to 4096.
    pub entries_per_gt: u64,
    /// `gdOffset`: where the grain directory begins; `None` if the footer says.
    pub gd_offset: Option<Bytes>,
    /// Whether grains are compressed by deflate.
    pub is_compressed: bool,
    /// Whether sector 1 in a grain table entry means a grain of zeros.
    pub has_zero_grains: bool,
}

impl Header {
    /// Reads the first sector of a sparse extent, or its footer.
    pub fn read(bytes: &[u8]) -> Result<Header, Fault> {
        let refuse = |why: String| Err(Fault::new(FORMAT, why));
        let fields = Fields::of(FORMAT, bytes);
        match fields.slice(0, 4)? {
            magic if magic == MAGIC => {}
            b"COWD" => return refuse("an ESX 3 image (COWD), which kuth cannot read".into()),
            _ => return refuse("not an image of this format".into()),
        }
        let version = fields.le32(4)?;
        if !(1..=3).contains(&version) {
            return refuse(format!("version {version}, and only 1 to 3 are known"));
        }
        let flags = fields.le32(8)?;
        if flags & 1 != 0 && fields.slice(73, 4)? != NEW_LINE_TEST {
            return refuse("its line ends were changed: it was copied as a text".into());
        }
        let sectors = |at: usize| -> Result<Bytes, Fault> {
            let number = fields.le64(at)?;
            number.checked_mul(SECTOR).map(Bytes).ok_or_else(|| {
                Fault::new(FORMAT, format!("{number} sectors at {at} of the header"))
            })
        };
        let is_compressed = flags & 1 << 16 != 0;
        match (is_compressed, fields.le16(77)?) {
            (true, 1) | (false, _) => {}
            (true, kind) => return refuse(format!("compression of the unknown kind {kind}")),
        }
        if is_compressed && flags & 1 << 17 == 0 {
            return refuse("compressed grains without markers".into());
        }
        let gd_offset = match fields.le64(56)? {
            GD_AT_END => None,
            _ => Some(sectors(56)?),
        };
        let descriptor = match (fields.le64(28)?, fields.le64(36)?) {
            (0, _) | (_, 0) => None,
            _ => Some((sectors(28)?, sectors(36)?)),
        };
        let header = Header {
            capacity: sectors(12)?,
            grain_size: sectors(20)?,
            descriptor,
            entries_per_gt: fields.le32(44)?.into(),
            gd_offset,
            is_compressed,
            has_zero_grains: flags & 4 != 0,
        };
        let Header { capacity, grain_size, entries_per_gt, .. } = header;
        let sane = grain_size.0.is_power_of_two()
            && (4096..=16 << 20).contains(&grain_size.0)
            && (1..=4096).contains(&entries_per_gt)
            && capacity <= Bytes::gib(64 << 10);
        Fault::unless(sane, FORMAT, || {
            format!("a disk of {capacity} in tables of {entries_per_gt} grains of {grain_size}")
        })?;
        Ok(header)
    }

    /// The number of grain tables, which is that of entries in the grain directory.
    pub fn grain_tables(&self) -> u64 {
        self.capacity.0.div_ceil(self.grain_size.0).div_ceil(self.entries_per_gt)
    }
}

/// The offset in entry `index` of a grain directory or a grain table; 0 for an unallocated one.
pub fn entry(table: &[u8], index: u64) -> Result<Bytes, Fault> {
    let sector = Fields::of(FORMAT, table).le32(index as usize * 4)?;
    Ok(Sectors(sector.into()).bytes())
}

/// The marker before a compressed grain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrainMarker {
    /// `lba`: the sector of the disk that the grain begins with.
    pub lba: Sectors,
    /// The length of the compressed data, which follows.
    pub length: Bytes,
}

impl GrainMarker {
    /// The length of a marker in bytes.
    pub const LENGTH: usize = 12;

    /// Reads a marker.
    pub fn read(bytes: &[u8]) -> Result<GrainMarker, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        Ok(GrainMarker { lba: Sectors(fields.le64(0)?), length: Bytes(fields.le32(8)?.into()) })
    }
}

/// An extent line of a descriptor: where a part of the disk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// `SPARSE`: in a sparse extent with this file name.
    Sparse(String),
    /// `FLAT` or `VMFS`: raw in the file of this name, from this offset on.
    Flat(String, Bytes),
    /// `ZERO`: it reads as zeros.
    Zero,
}

/// The fields of a descriptor that a reader needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// `createType`.
    pub create_type: String,
    /// The extents in the order of the disk, with their sizes.
    pub extents: Vec<(Bytes, Extent)>,
}

impl Descriptor {
    /// Reads the text up to its first NUL. Refuses images with a parent.
    pub fn read(bytes: &[u8]) -> Result<Descriptor, Fault> {
        let refuse = |why: String| Fault::new(FORMAT, why);
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let text = String::from_utf8_lossy(&bytes[..end]);
        let mut descriptor = Descriptor { create_type: String::new(), extents: Vec::new() };
        for line in text.lines().map(str::trim) {
            if let Some((key, value)) = line.split_once('=') {
                let value = value.trim().trim_matches('"');
                match key.trim().to_ascii_lowercase().as_str() {
                    "createtype" => descriptor.create_type = value.into(),
                    "parentcid" if !value.eq_ignore_ascii_case("ffffffff") => {
                        let why = "a differencing image: the disk is in two files";
                        return Err(refuse(why.into()));
                    }
                    _ => {}
                }
                continue;
            }
            let access = line.split_whitespace().next().unwrap_or("");
            if matches!(access, "RW" | "RDONLY" | "NOACCESS") {
                descriptor.extents.push(extent(line)?);
                Fault::unless(descriptor.extents.len() <= MAX_EXTENTS, FORMAT, || {
                    format!("more than {MAX_EXTENTS} files")
                })?;
            }
        }
        Ok(descriptor)
    }
}

/// Reads an extent line such as `RW 4192256 FLAT "disk-f001.vmdk" 0`.
fn extent(line: &str) -> Result<(Bytes, Extent), Fault> {
    let refuse = || Fault::new(FORMAT, format!("the extent `{}`", line.escape_default()));
    let (before, name, after) = match line.split_once('"') {
        Some((before, rest)) => {
            let (name, after) = rest.rsplit_once('"').ok_or_else(refuse)?;
            (before, Some(name.to_string()), after)
        }
        None => (line, None, ""),
    };
    let words: Vec<&str> = before.split_whitespace().collect();
    let [_, count, kind] = words[..] else { return Err(refuse()) };
    let count: u64 = count.parse().map_err(|_| refuse())?;
    let size = count.checked_mul(SECTOR).map(Bytes).ok_or_else(refuse)?;
    let offset = match after.split_whitespace().next() {
        None => Bytes(0),
        Some(word) => {
            let sectors: u64 = word.parse().map_err(|_| refuse())?;
            sectors.checked_mul(SECTOR).map(Bytes).ok_or_else(refuse)?
        }
    };
    let extent = match (kind, name) {
        ("SPARSE", Some(name)) => Extent::Sparse(name),
        ("FLAT" | "VMFS", Some(name)) => Extent::Flat(name, offset),
        ("ZERO", None) => Extent::Zero,
        (kind, _) => {
            let why = format!("an extent of the kind {}, which kuth cannot read", kind);
            return Err(Fault::new(FORMAT, why));
        }
    };
    Ok((size, extent))
}

#[cfg(test)]
mod tests {
    use super::super::{Adapter, Description, GRAIN, Stream};
    use super::*;
    use crate::Guid;
    use crate::fields::put;
    use proptest::prelude::*;

    fn image() -> Vec<u8> {
        let description = Description {
            size: Bytes::mib(100),
            file_name: "disk.vmdk".into(),
            uuid: Guid::derived("test", "vmdk"),
            adapter: Adapter::LsiLogic,
        };
        Stream::new(Vec::new(), &description).unwrap().finish().unwrap()
    }

    #[test]
    fn written_images_are_read() {
        let image = image();
        let header = Header::read(&image).unwrap();
        assert_eq!((header.capacity, header.grain_size), (Bytes::mib(100), GRAIN));
        assert!(header.gd_offset.is_none() && header.is_compressed);
        assert_eq!(header.grain_tables(), 4);
        let (at, length) = header.descriptor.unwrap();
        let text = &image[at.0 as usize..(at + length).0 as usize];
        let descriptor = Descriptor::read(text).unwrap();
        assert_eq!(descriptor.create_type, "streamOptimized");
        let sparse = Extent::Sparse("disk.vmdk".into());
        assert_eq!(descriptor.extents, [(Bytes::mib(100), sparse)]);
    }

    #[test]
    fn descriptors_of_others_are_read() {
        let text = "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\r\n\
            createType=\"twoGbMaxExtentFlat\"\nRW 8 FLAT \"a \"b.vmdk\" 3\nRW 2 ZERO\n\
            RW 9 VMFS \"c.vmdk\"\n";
        let read = Descriptor::read(text.as_bytes()).unwrap();
        let flat = |name: &str, at| Extent::Flat(name.into(), Bytes(at));
        assert_eq!(
            read.extents,
            [
                (Bytes(4096), flat("a \"b.vmdk", 1536)),
                (Bytes(1024), Extent::Zero),
                (Bytes(4608), flat("c.vmdk", 0)),
            ]
        );
        for (text, why) in [
            ("parentCID=12345678", "differencing"),
            ("RW 1 VMFSRDM \"x\"", "VMFSRDM"),
            ("RW x FLAT \"x\"", "the extent"),
            ("RW 1 FLAT \"x", "the extent"),
            ("RW 99999999999999999999 ZERO", "the extent"),
        ] {
            let fault = Descriptor::read(text.as_bytes()).unwrap_err().to_string();
            assert!(fault.contains(why), "{fault}");
        }
    }

    #[test]
    fn unsupported_images_are_refused() {
        for (at, value, why) in [
            (0, b'C', "not an image"),
            (4, 4, "version 4"),
            (74, b'\n', "copied as a text"),
            (77, 2, "the unknown kind 2"),
            (10, 1, "without markers"),
            (21, 9, "grains of"),
        ] {
            let mut image = image();
            put(&mut image, at, &[value]);
            let fault = Header::read(&image).unwrap_err().to_string();
            assert!(fault.contains(why), "{at}: {fault}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = (Header::read(&bytes), Descriptor::read(&bytes));
        }
    }
}
