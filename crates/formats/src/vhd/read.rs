//! What the footer and the dynamic header of a VHD say. It reads no data.
//!
//! Source: Microsoft's "Virtual Hard Disk Image Format Specification" 1.0; all big endian.

use super::{DYNAMIC_HEADER, FOOTER, FORMAT, FREE, checksum};
use crate::Fault;
use crate::fields::Fields;
use crate::units::{Bytes, SECTOR};

/// How long a footer is; it lies at the end of an image, and of most at their start too.
pub const FOOTER_LENGTH: usize = FOOTER;
/// How long a dynamic header is.
pub const HEADER_LENGTH: usize = DYNAMIC_HEADER;

/// What kind of image it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The disk as it is, the footer behind it.
    Fixed,
    /// Blocks where there is data; the dynamic header is at this byte.
    Dynamic(u64),
}

/// What a footer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The size of the disk.
    pub disk: Bytes,
    /// What kind of image it is.
    pub kind: Kind,
}

/// What a dynamic header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the table of blocks is.
    pub table: u64,
    /// How many entries it has.
    pub count: u64,
    /// The size of a block, without the bitmap before it.
    pub block: u64,
}

/// Fails unless the checksum at `at` is that of all other bytes.
fn sum(bytes: &[u8], at: usize, what: &str) -> Result<(), Fault> {
    let mut other = bytes.to_vec();
    other[at..at + 4].fill(0);
    Fault::unless(bytes[at..at + 4] == checksum(&other), FORMAT, || {
        format!("the checksum of the {what} is wrong")
    })
}

impl Footer {
    /// Reads the last [`FOOTER_LENGTH`] bytes of an image.
    pub fn read(bytes: &[u8]) -> Result<Footer, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        let footer = fields.slice(0, FOOTER)?;
        Fault::unless(footer.starts_with(b"conectix"), FORMAT, || "no footer".into())?;
        sum(footer, 64, "footer")?;
        let disk = Bytes(fields.be64(48)?);
        let kind = match fields.be32(60)? {
            2 => Kind::Fixed,
            3 => Kind::Dynamic(fields.be64(16)?),
            4 => {
                let why = "a differencing image: the disk is in two files";
                return Err(Fault::new(FORMAT, why));
            }
            kind => return Err(Fault::new(FORMAT, format!("an image of the unknown kind {kind}"))),
        };
        Ok(Footer { disk, kind })
    }
}

impl Header {
    /// Reads a dynamic header of [`HEADER_LENGTH`] bytes, of a disk of `disk`.
    pub fn read(bytes: &[u8], disk: Bytes) -> Result<Header, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        let whole = fields.slice(0, DYNAMIC_HEADER)?;
        Fault::unless(whole.starts_with(b"cxsparse"), FORMAT, || "no dynamic header".into())?;
        sum(whole, 36, "dynamic header")?;
        let header = Header {
            table: fields.be64(16)?,
            count: fields.be32(28)?.into(),
            block: fields.be32(32)?.into(),
        };
        let sane = header.block.is_power_of_two()
            && (SECTOR..=32 << 20).contains(&header.block)
            && header.count >= disk.0.div_ceil(header.block);
        Fault::unless(sane, FORMAT, || {
            format!("a disk of {disk} in {} blocks of {}", header.count, Bytes(header.block))
        })?;
        Ok(header)
    }

    /// The length of the bitmap before a block: a bit for each sector, in whole sectors.
    pub fn bitmap(&self) -> u64 {
        (self.block / SECTOR).div_ceil(8).next_multiple_of(SECTOR)
    }

    /// Where block `index` begins with its bitmap; `None` where there is none.
    pub fn find(&self, table: &[u8], index: u64) -> Result<Option<u64>, Fault> {
        let fields = Fields::of(FORMAT, table);
        let entry = fields.be32(index as usize * 4)?;
        Ok((entry != FREE).then(|| u64::from(entry) * SECTOR))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BLOCK, Identity, plan};
    use super::*;
    use crate::Guid;
    use crate::blocks::BlockMap;
    use crate::fields::put;

    #[test]
    fn what_was_written_is_read() {
        let disk = Bytes::mib(7);
        let map = BlockMap::new(disk, BLOCK, [(Bytes::mib(2), Bytes(1))]).unwrap();
        let identity = Identity { uuid: Guid([7; 16]), time: 1_767_225_600 };
        let plan = plan(&map, identity).unwrap();
        let mut bytes = plan.pieces[0].1.clone();
        let footer = Footer::read(&bytes).unwrap();
        assert_eq!(footer, Footer { disk, kind: Kind::Dynamic(512) });
        let header = Header::read(&plan.pieces[1].1, disk).unwrap();
        assert_eq!((header.table, header.count, header.block), (1536, 4, BLOCK.0));
        let table = &plan.pieces[2].1;
        assert_eq!(header.find(table, 0), Ok(None));
        assert_eq!(header.find(table, 1), Ok(Some(plan.copies[0].to.0 - header.bitmap())));
        assert!(Header::read(&plan.pieces[1].1, Bytes::mib(9)).is_err());
        put(&mut bytes, 60, &4u32.to_be_bytes());
        assert!(Footer::read(&bytes).unwrap_err().to_string().contains("checksum"));
        put(&mut bytes, 64, &[0; 4]);
        let right = checksum(&bytes);
        put(&mut bytes, 64, &right);
        assert!(Footer::read(&bytes).unwrap_err().to_string().contains("differencing"));
        assert!(Footer::read(&[0; 100]).is_err());
    }
}
