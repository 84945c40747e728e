//! Reads the footer, the dynamic disk header and the block allocation table. It reads no data.

use super::{COOKIE, FOOTER_LENGTH, FORMAT, HEADER_COOKIE, HEADER_LENGTH, UNALLOCATED, checksum};
use crate::Fault;
use crate::fields::Fields;
use crate::units::{Bytes, SECTOR, Sectors};

/// `Disk Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskType {
    /// The raw disk, followed by the footer.
    Fixed,
    /// Allocated blocks; the dynamic disk header is at this offset.
    Dynamic(Bytes),
}

/// The fields of the footer that a reader needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// `Current Size`: the size of the disk.
    pub current_size: Bytes,
    /// `Disk Type`.
    pub disk_type: DiskType,
}

/// The fields of the dynamic disk header that a reader needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `Table Offset`: where the block allocation table begins.
    pub table_offset: Bytes,
    /// `Max Table Entries`.
    pub max_table_entries: u32,
    /// `Block Size` without the sector bitmap: a power of 2 from 512 B to 32 MiB.
    pub block_size: Bytes,
}

/// Fails unless the checksum at `at` is right. `what` names the structure in the fault.
fn check_checksum(bytes: &[u8], at: usize, what: &str) -> Result<(), Fault> {
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
        let footer = fields.slice(0, FOOTER_LENGTH)?;
        Fault::unless(footer.starts_with(COOKIE), FORMAT, || "no footer".into())?;
        check_checksum(footer, 64, "footer")?;
        let disk_type = match fields.be32(60)? {
            2 => DiskType::Fixed,
            3 => DiskType::Dynamic(Bytes(fields.be64(16)?)),
            4 => {
                let why = "a differencing image: the disk is in two files";
                return Err(Fault::new(FORMAT, why));
            }
            kind => return Err(Fault::new(FORMAT, format!("an image of the unknown kind {kind}"))),
        };
        Ok(Footer { current_size: Bytes(fields.be64(48)?), disk_type })
    }
}

impl Header {
    /// Reads the [`HEADER_LENGTH`] bytes of a dynamic disk header; `disk` is the size of the disk.
    pub fn read(bytes: &[u8], disk: Bytes) -> Result<Header, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        let whole = fields.slice(0, HEADER_LENGTH)?;
        Fault::unless(whole.starts_with(HEADER_COOKIE), FORMAT, || "no dynamic header".into())?;
        check_checksum(whole, 36, "dynamic header")?;
        let header = Header {
            table_offset: Bytes(fields.be64(16)?),
            max_table_entries: fields.be32(28)?,
            block_size: Bytes(fields.be32(32)?.into()),
        };
        let Header { max_table_entries, block_size, .. } = header;
        let sane = block_size.0.is_power_of_two()
            && (SECTOR..=32 << 20).contains(&block_size.0)
            && u64::from(max_table_entries) >= disk.0.div_ceil(block_size.0);
        Fault::unless(sane, FORMAT, || {
            format!("a disk of {disk} in {max_table_entries} blocks of {block_size}")
        })?;
        Ok(header)
    }

    /// The length of the sector bitmap before a block: a bit for each sector, in whole sectors.
    pub fn bitmap_length(&self) -> Bytes {
        Bytes(self.block_size.sectors().0.div_ceil(8).next_multiple_of(SECTOR))
    }

    /// Where block `index` begins, with its sector bitmap, by the block allocation table; `None`
    /// for an unallocated block.
    pub fn block_offset(&self, table: &[u8], index: u64) -> Result<Option<Bytes>, Fault> {
        let entry = Fields::of(FORMAT, table).be32(index as usize * 4)?;
        Ok((entry != UNALLOCATED).then(|| Sectors(entry.into()).bytes()))
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
    fn written_images_are_read() {
        let disk = Bytes::mib(7);
        let map = BlockMap::new(disk, BLOCK, [(Bytes::mib(2), Bytes(1))]).unwrap();
        let identity = Identity { uuid: Guid([7; 16]), time: 1_767_225_600 };
        let plan = plan(&map, identity).unwrap();
        let mut bytes = plan.pieces[0].1.clone();
        let footer = Footer::read(&bytes).unwrap();
        assert_eq!(footer, Footer { current_size: disk, disk_type: DiskType::Dynamic(Bytes(512)) });
        let header = Header::read(&plan.pieces[1].1, disk).unwrap();
        assert_eq!((header.table_offset, header.max_table_entries), (Bytes(1536), 4));
        assert_eq!(header.block_size, BLOCK);
        let table = &plan.pieces[2].1;
        assert_eq!(header.block_offset(table, 0), Ok(None));
        assert_eq!(
            header.block_offset(table, 1),
            Ok(Some(plan.copies[0].to - header.bitmap_length()))
        );
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
