//! VirtualBox's VDI 1.1 with dynamic allocation, as a [`Plan`]. It does not read them, and makes
//! no differencing images.
//!
//! Source: the structures VirtualBox writes (VDICore.h describes them); all little endian.

use super::blocks::{BlockMap, Plan};
use super::fields::put;
use super::{Fault, Guid};
use crate::units::{Bytes, SECTOR};

const FORMAT: &str = "vdi";
/// What a [`BlockMap`] for [`plan`] has to be in.
pub const BLOCK: Bytes = Bytes::MIB;
const TITLE: &[u8] = b"<<< Oracle VM VirtualBox Disk Image >>>\n";
const SIGNATURE: u32 = 0xbeda_107f;
const VERSION: u32 = 0x0001_0001;
/// The header's own size, which it tells; it begins at 72.
const HEADER_SIZE: u32 = 400;
const DYNAMIC: u32 = 1;
/// VirtualBox aligns the map and the data this far.
const ALIGN: u64 = 1 << 20;
/// In the map: a block that reads as zero.
const FREE: u32 = u32::MAX;

/// The two ids an image carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The image's own; VirtualBox registers media by it.
    pub image: Guid,
    /// Changes whenever the image does; differencing images remember it.
    pub modification: Guid,
}

/// A disk whose data is where `map` says; the rest stays free and reads as zero.
pub fn plan(map: &BlockMap, ids: Ids) -> Result<Plan, Fault> {
    map.require(FORMAT, BLOCK)?;
    let too_large = |_| Fault::new(FORMAT, format!("{} is too large", map.disk()));
    let count = u32::try_from(map.count()).map_err(too_large)?;
    let allocated = map.allocated() as u32;
    let map_at = ALIGN;
    let data_at = (map_at + u64::from(count) * 4).next_multiple_of(ALIGN);
    let data_at = u32::try_from(data_at).map_err(too_large)?;

    let mut header = vec![0; 512];
    put(&mut header, 0, TITLE);
    let numbers: [(usize, u32); 11] = [
        (64, SIGNATURE),
        (68, VERSION),
        (72, HEADER_SIZE),
        (76, DYNAMIC),
        (340, map_at as u32),
        (344, data_at),
        // The geometry stays 0, for VirtualBox to choose; only the sector's size is told.
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

    #[test]
    fn other_blocks_are_refused() {
        let map = BlockMap::new(Bytes::mib(5), Bytes(65536), []).unwrap();
        let ids = Ids { image: Guid::NIL, modification: Guid::NIL };
        assert_eq!(
            plan(&map, ids).unwrap_err().to_string(),
            "vdi: blocks of 64 KiB, it has blocks of 1 MiB"
        );
    }
}
