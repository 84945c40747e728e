//! What the header of a sparse VMDK says, and its descriptor. It reads no data.
//!
//! Source: VMware's "Virtual Disk Format 5.0"; all little endian.

use super::{DIRECTORY_AT_END, FORMAT};
use crate::Fault;
use crate::fields::Fields;
use crate::units::{Bytes, SECTOR, Sectors};

/// How long a header is, and the footer that has the same form.
pub const HEAD: usize = SECTOR as usize;
/// No descriptor is longer.
pub const LONGEST_DESCRIPTOR: u64 = 1 << 20;
/// No descriptor names more files; at 2 GiB a file that is 8 TiB.
const MOST_EXTENTS: usize = 4096;

/// What the header of a sparse file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The size of its part of the disk.
    pub size: Bytes,
    /// What that is cut into.
    pub grain: u64,
    /// Where the descriptor is and how long; nothing in a file that another one describes.
    pub descriptor: Option<(u64, u64)>,
    /// How many grains a table tells the places of.
    pub table_entries: u64,
    /// Where the directory of tables is; `None`: the footer says.
    pub directory: Option<u64>,
    /// Whether grains are compressed.
    pub compressed: bool,
    /// Whether the place 1 means zeros.
    pub zero_grains: bool,
}

impl Head {
    /// Reads the first sector of a sparse file, or the footer.
    pub fn read(bytes: &[u8]) -> Result<Head, Fault> {
        let refuse = |why: String| Err(Fault::new(FORMAT, why));
        let fields = Fields::of(FORMAT, bytes);
        match fields.slice(0, 4)? {
            b"KDMV" => {}
            b"COWD" => return refuse("an ESX 3 image (COWD), which kuth cannot read".into()),
            _ => return refuse("not an image of this format".into()),
        }
        let version = fields.le32(4)?;
        if !(1..=3).contains(&version) {
            return refuse(format!("version {version}, and only 1 to 3 are known"));
        }
        let flags = fields.le32(8)?;
        if flags & 1 != 0 && fields.slice(73, 4)? != b"\n \r\n" {
            return refuse("its line ends were changed: it was copied as a text".into());
        }
        let sectors = |at: usize| -> Result<u64, Fault> {
            let number = fields.le64(at)?;
            number.checked_mul(SECTOR).ok_or_else(|| {
                Fault::new(FORMAT, format!("{number} sectors at {at} of the header"))
            })
        };
        let compressed = flags & 1 << 16 != 0;
        match (compressed, fields.le16(77)?) {
            (true, 1) | (false, _) => {}
            (true, kind) => return refuse(format!("compression of the unknown kind {kind}")),
        }
        if compressed && flags & 1 << 17 == 0 {
            return refuse("compressed grains without markers".into());
        }
        let directory = match fields.le64(56)? {
            DIRECTORY_AT_END => None,
            _ => Some(sectors(56)?),
        };
        let descriptor = match (fields.le64(28)?, fields.le64(36)?) {
            (0, _) | (_, 0) => None,
            _ => Some((sectors(28)?, sectors(36)?)),
        };
        let head = Head {
            size: Bytes(sectors(12)?),
            grain: sectors(20)?,
            descriptor,
            table_entries: fields.le32(44)?.into(),
            directory,
            compressed,
            zero_grains: flags & 4 != 0,
        };
        let sane = head.grain.is_power_of_two()
            && (4096..=16 << 20).contains(&head.grain)
            && (1..=4096).contains(&head.table_entries)
            && head.size <= Bytes::gib(64 << 10);
        Fault::unless(sane, FORMAT, || {
            let (size, grain) = (head.size, Bytes(head.grain));
            format!("a disk of {size} in tables of {} grains of {grain}", head.table_entries)
        })?;
        Ok(head)
    }

    /// How many tables there are.
    pub fn tables(&self) -> u64 {
        self.size.0.div_ceil(self.grain).div_ceil(self.table_entries)
    }

    /// The place that entry `index` of the directory or of a table tells, in bytes.
    pub fn entry(&self, table: &[u8], index: u64) -> Result<u64, Fault> {
        let sector = Fields::of(FORMAT, table).le32(index as usize * 4)?;
        Ok(u64::from(sector) * SECTOR)
    }
}

/// Where a part of a disk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// In a sparse file.
    Sparse(String),
    /// In a file as it is, from this byte on.
    Flat(String, u64),
    /// Nowhere: it is zero.
    Zero,
}

/// What a descriptor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The word of `createType`.
    pub kind: String,
    /// The parts of the disk in order, with their sizes.
    pub extents: Vec<(Bytes, Extent)>,
}

impl Descriptor {
    /// Reads the text.
    pub fn read(bytes: &[u8]) -> Result<Descriptor, Fault> {
        let refuse = |why: String| Fault::new(FORMAT, why);
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let text = String::from_utf8_lossy(&bytes[..end]);
        let mut descriptor = Descriptor { kind: String::new(), extents: Vec::new() };
        for line in text.lines().map(str::trim) {
            if let Some((key, value)) = line.split_once('=') {
                let value = value.trim().trim_matches('"');
                match key.trim().to_ascii_lowercase().as_str() {
                    "createtype" => descriptor.kind = value.into(),
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
                Fault::unless(descriptor.extents.len() <= MOST_EXTENTS, FORMAT, || {
                    format!("more than {MOST_EXTENTS} files")
                })?;
            }
        }
        Ok(descriptor)
    }
}

/// Such as `RW 4192256 FLAT "disk-f001.vmdk" 0`.
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
    let size = Sectors(count).0.checked_mul(SECTOR).map(Bytes).ok_or_else(refuse)?;
    let offset = match after.split_whitespace().next() {
        None => 0,
        Some(word) => {
            let sectors: u64 = word.parse().map_err(|_| refuse())?;
            sectors.checked_mul(SECTOR).ok_or_else(refuse)?
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
    use super::super::{Adapter, Description, Stream};
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
    fn what_was_written_is_read() {
        let image = image();
        let head = Head::read(&image).unwrap();
        assert_eq!((head.size, head.grain, head.directory), (Bytes::mib(100), 65_536, None));
        assert!(head.compressed && head.tables() == 4);
        let (at, length) = head.descriptor.unwrap();
        let text = &image[at as usize..(at + length) as usize];
        let descriptor = Descriptor::read(text).unwrap();
        assert_eq!(descriptor.kind, "streamOptimized");
        let sparse = Extent::Sparse("disk.vmdk".into());
        assert_eq!(descriptor.extents, [(Bytes::mib(100), sparse)]);
    }

    #[test]
    fn descriptors_of_others_are_read() {
        let text = "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\r\n\
            createType=\"twoGbMaxExtentFlat\"\nRW 8 FLAT \"a \"b.vmdk\" 3\nRW 2 ZERO\n\
            RW 9 VMFS \"c.vmdk\"\n";
        let read = Descriptor::read(text.as_bytes()).unwrap();
        let flat = |name: &str, at| Extent::Flat(name.into(), at);
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
    fn images_that_cannot_be_read_are_refused() {
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
            let fault = Head::read(&image).unwrap_err().to_string();
            assert!(fault.contains(why), "{at}: {fault}");
        }
    }

    proptest! {
        #[test]
        fn reading_anything_ends(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = (Head::read(&bytes), Descriptor::read(&bytes));
        }
    }
}
