//! VirtualBox's VDI 1.1 as a [`Plan`]: a dynamically allocated image to write, or the disk in an image
//! that is read. Differencing images are refused.
//!
//! Source: the structures VirtualBox writes (VDICore.h describes them); all little endian.

use super::blocks::{BlockMap, CopyRange, Plan};
use super::fields::{Fields, put};
use super::{Fault, Guid};
use crate::units::{Bytes, SECTOR};

const FORMAT: &str = "vdi";
/// The size of the blocks that [`plan`] writes.
pub const BLOCK: Bytes = Bytes::MIB;
const TITLE: &[u8] = b"<<< Oracle VM VirtualBox Disk Image >>>\n";
const SIGNATURE: u32 = 0xbeda_107f;
const VERSION: u32 = 0x0001_0001;
/// `cbHeader`: the length of the header, which begins at 72.
const HEADER_SIZE: u32 = 400;
/// `u32Type`.
const DYNAMIC: u32 = 1;
const FIXED: u32 = 2;
const DIFFERENCING: u32 = 4;
/// VirtualBox aligns the map and the data this far.
const ALIGN: u64 = 1 << 20;
/// The entry of the block map of an unallocated block.
const FREE: u32 = u32::MAX;
/// The entry of a block of zeros.
const ZERO: u32 = u32::MAX - 1;
/// How much of an image [`Header::read`] needs: pre-header and header.
pub const HEADER_LENGTH: usize = 512;

/// The UUIDs of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// `uuidCreate`, by which VirtualBox registers the medium.
    pub image: Guid,
    /// `uuidModify`, which changes with the image; differencing images refer to it.
    pub modification: Guid,
}

/// A disk whose data is where `map` says, in blocks of [`BLOCK`]; the rest stays unallocated and reads
/// as zero.
pub fn plan(map: &BlockMap, ids: Ids) -> Result<Plan, Fault> {
    map.require(FORMAT, BLOCK)?;
    let too_large = |_| Fault::new(FORMAT, format!("{} is too large", map.disk()));
    let count = u32::try_from(map.count()).map_err(too_large)?;
    let allocated = map.allocated() as u32;
    let map_at = ALIGN;
    let data_at = (map_at + u64::from(count) * 4).next_multiple_of(ALIGN);
    let data_at = u32::try_from(data_at).map_err(too_large)?;

    let mut header = vec![0; HEADER_LENGTH];
    put(&mut header, 0, TITLE);
    let numbers: [(usize, u32); 11] = [
        (64, SIGNATURE),
        (68, VERSION),
        (72, HEADER_SIZE),
        (76, DYNAMIC),
        (340, map_at as u32),
        (344, data_at),
        // The geometry stays 0, for VirtualBox to choose; only the sector size is set.
        (360, SECTOR as u32),
        (376, BLOCK.0 as u32),
        (384, count),
        (388, allocated),
        (468, SECTOR as u32),
    ];
    for (at, number) in numbers {
        put(&mut header, at, &number.to_le_bytes());
    }
    put(&mut header, 368, &map.disk().0.to_le_bytes());
    put(&mut header, 392, &ids.image.mixed_endian());
    put(&mut header, 408, &ids.modification.mixed_endian());

    let mut blocks = FREE.to_le_bytes().repeat(count as usize);
    for (i, index) in map.indices().enumerate() {
        put(&mut blocks, index as usize * 4, &(i as u32).to_le_bytes());
    }
    Ok(Plan {
        pieces: vec![(Bytes(0), header), (Bytes(map_at), blocks)],
        copies: map.copies_from(Bytes(data_at.into())),
        length: Bytes(u64::from(data_at) + u64::from(allocated) * BLOCK.0),
    })
}

/// The fields of the header that a reader needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// `cbDisk`.
    disk: Bytes,
    /// `offBlocks`.
    map_at: u64,
    /// `offData`.
    data_at: u64,
    /// `cbBlock`.
    block: u64,
    /// `cbBlockExtra`: bytes before the data of each block, which are skipped.
    extra: u64,
    /// `cBlocks`.
    count: u64,
}

impl Header {
    /// Reads the first [`HEADER_LENGTH`] bytes of an image.
    pub fn read(bytes: &[u8]) -> Result<Header, Fault> {
        let fault = |why: String| Fault::new(FORMAT, why);
        let fields = Fields::of(FORMAT, bytes);
        if fields.le32(64)? != SIGNATURE {
            return Err(fault("not an image of this format".into()));
        }
        match (fields.le32(68)?, fields.le32(76)?) {
            (version, _) if version >> 16 != 1 => {
                let (major, minor) = (version >> 16, version & 0xffff);
                return Err(fault(format!("version {major}.{minor}, and only 1 is known")));
            }
            (_, DYNAMIC | FIXED) => {}
            (_, DIFFERENCING) => {
                return Err(fault("a differencing image: the disk is in two files".into()));
            }
            (_, kind) => return Err(fault(format!("an image of the unknown kind {kind}"))),
        }
        let header = Header {
            disk: Bytes(fields.le64(368)?),
            map_at: fields.le32(340)?.into(),
            data_at: fields.le32(344)?.into(),
            block: fields.le32(376)?.into(),
            extra: fields.le32(380)?.into(),
            count: fields.le32(384)?.into(),
        };
        let sane = header.block.is_power_of_two()
            && header.block >= SECTOR
            && header.disk.0.is_multiple_of(SECTOR)
            && header.count == header.disk.0.div_ceil(header.block);
        Fault::unless(sane, FORMAT, || {
            let (disk, count, block) = (header.disk, header.count, Bytes(header.block));
            format!("a disk of {disk} in {count} blocks of {block}")
        })?;
        Ok(header)
    }

    /// Offset and length of the block map, which [`Header::contents`] needs.
    pub fn block_map(&self) -> (Bytes, Bytes) {
        (Bytes(self.map_at), Bytes(self.count * 4))
    }

    /// The disk: what to copy out of an image file of the length `file`.
    pub fn contents(&self, map: &[u8], file: Bytes) -> Result<Plan, Fault> {
        let fields = Fields::of(FORMAT, map);
        let mut copies: Vec<CopyRange> = Vec::new();
        for index in 0..self.count {
            let place = fields.le32(index as usize * 4)?;
            if matches!(place, FREE | ZERO) {
                continue;
            }
            let to = index * self.block;
            let length = self.block.min(self.disk.0 - to);
            let whole = self.block + self.extra;
            let from = self.data_at + u64::from(place) * whole + self.extra;
            Fault::unless(from + length <= file.0, FORMAT, || {
                format!("cut short: block {index} at {from} of {file}")
            })?;
            match copies
                .last_mut()
                .filter(|it| it.from.0 + it.length.0 == from && it.to.0 + it.length.0 == to)
            {
                Some(last) => last.length.0 += length,
                None => copies.push(CopyRange {
                    from: Bytes(from),
                    to: Bytes(to),
                    length: Bytes(length),
                }),
            }
        }
        Ok(Plan { pieces: Vec::new(), copies, length: self.disk })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn bytes_are_pinned() {
        let map = BlockMap::new(Bytes::mib(5), BLOCK, [(Bytes(3 << 20), Bytes(1 << 21))]).unwrap();
        let ids = Ids { image: Guid([1; 16]), modification: Guid([2; 16]) };
        let plan = plan(&map, ids).unwrap();
        assert_eq!(plan.length, Bytes::mib(4));
        assert_eq!((plan.copies[0].from, plan.copies[0].to), (Bytes::mib(3), Bytes::mib(2)));
        let map = [[0xff; 12].as_slice(), &[0, 0, 0, 0, 1, 0, 0, 0]].concat();
        assert_eq!(plan.pieces[1], (Bytes::MIB, map));
        assert_eq!(Digest::of(&plan.pieces[0].1).short(), "e001cb3a5581");
    }

    /// The header and the block map of an image of 5 MiB whose blocks 3 and 4 hold data.
    fn image() -> (Vec<u8>, Vec<u8>, u64) {
        let map = BlockMap::new(Bytes::mib(5), BLOCK, [(Bytes(3 << 20), Bytes(1 << 21))]).unwrap();
        let plan = plan(&map, Ids { image: Guid([1; 16]), modification: Guid::NIL }).unwrap();
        (plan.pieces[0].1.clone(), plan.pieces[1].1.clone(), plan.length.0)
    }

    #[test]
    fn written_images_are_read() {
        let (header, map, length) = image();
        let header = Header::read(&header).unwrap();
        assert_eq!(header.block_map(), (Bytes::MIB, Bytes(20)));
        let disk = header.contents(&map, Bytes(length)).unwrap();
        let copy = CopyRange { from: Bytes::mib(2), to: Bytes::mib(3), length: Bytes::mib(2) };
        assert_eq!((disk.length, disk.copies), (Bytes::mib(5), vec![copy]));
        let cut = header.contents(&map, Bytes(length - 1)).unwrap_err();
        assert_eq!(cut.to_string(), "vdi: cut short: block 4 at 3145728 of 4194303 B");
        assert!(header.contents(&map[..12], Bytes(length)).is_err());
    }

    #[test]
    fn unsupported_images_are_refused() {
        for (at, number, why) in [
            (64, 0_u32, "not an image"),
            (68, 0x0002_0000, "version 2.0"),
            (76, 4, "a differencing image"),
            (76, 9, "unknown kind 9"),
            (376, 1000, "blocks of 1000 B"),
            (384, 6, "in 6 blocks"),
        ] {
            let (mut header, ..) = image();
            put(&mut header, at, &number.to_le_bytes());
            let fault = Header::read(&header).unwrap_err().to_string();
            assert!(fault.contains(why), "{fault}");
        }
        assert!(Header::read(&[0; 20]).is_err());
    }

    #[test]
    fn other_block_sizes_are_refused() {
        let map = BlockMap::new(Bytes::mib(5), Bytes(65536), []).unwrap();
        let ids = Ids { image: Guid::NIL, modification: Guid::NIL };
        assert_eq!(
            plan(&map, ids).unwrap_err().to_string(),
            "vdi: blocks of 64 KiB, it has blocks of 1 MiB"
        );
    }
}
