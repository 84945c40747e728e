//! Microsoft's VHD with dynamic allocation, as a [`Plan`]. It makes no differencing images. [`read`]
//! has what an image of any writer says.
//!
//! Source: Microsoft's "Virtual Hard Disk Image Format Specification" 1.0; all big endian.

pub mod read;

use super::blocks::{BlockMap, Copy, Plan};
use super::fields::put;
use super::{Fault, Guid, Pieces};
use crate::units::{Bytes, SECTOR};

const FORMAT: &str = "vhd";
/// What a [`BlockMap`] for [`plan`] has to be in.
pub const BLOCK: Bytes = Bytes::mib(2);
/// The format's limit.
const LARGEST: Bytes = Bytes::gib(2040);
/// Each block begins with a bit for each of its sectors.
const BITMAP: u64 = BLOCK.0 / SECTOR / 8;
const FOOTER: usize = 512;
const DYNAMIC_HEADER: usize = 1024;
/// In the table: a block that reads as zero.
const FREE: u32 = u32::MAX;
/// Seconds between 1970 and 2000, where VHD's time begins.
const YEAR_2000: u64 = 946_684_800;

/// What tells one image from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The image's id.
    pub uuid: Guid,
    /// When it was made, seconds since 1970; 2000 at the earliest.
    pub time: u64,
}

/// A disk whose data is where `map` says; the rest stays free and reads as zero.
pub fn plan(map: &BlockMap, identity: Identity) -> Result<Plan, Fault> {
    map.require(FORMAT, BLOCK)?;
    Fault::unless(map.disk() <= LARGEST, FORMAT, || format!("{} is too large", map.disk()))?;
    let footer = footer(map.disk(), identity)?;
    let table_at = (FOOTER + DYNAMIC_HEADER) as u64;
    let data_at = (table_at + map.count() * 4).next_multiple_of(SECTOR);
    let stored = BITMAP + BLOCK.0;
    let end = data_at + map.allocated() * stored;

    let mut table = FREE.to_be_bytes().repeat(map.count() as usize);
    // Unused places of the last sector are free too.
    table.resize((data_at - table_at) as usize, 0xff);
    let mut bitmaps = Pieces::new();
    let mut copies = Vec::new();
    for (i, index) in map.indices().enumerate() {
        let at = data_at + i as u64 * stored;
        put(&mut table, index as usize * 4, &((at / SECTOR) as u32).to_be_bytes());
        bitmaps.push((Bytes(at), vec![0xff; BITMAP as usize]));
        let from = index * BLOCK.0;
        let length = Bytes(BLOCK.0.min(map.disk().0 - from));
        copies.push(Copy { from: Bytes(from), to: Bytes(at + BITMAP), length });
    }
    let mut pieces = vec![
        (Bytes(0), footer.clone()),
        (Bytes(FOOTER as u64), dynamic_header(table_at, map.count())),
        (Bytes(table_at), table),
    ];
    pieces.extend(bitmaps);
    pieces.push((Bytes(end), footer));
    Ok(Plan { pieces, copies, length: Bytes(end + FOOTER as u64) })
}

fn footer(disk: Bytes, Identity { uuid, time }: Identity) -> Result<Vec<u8>, Fault> {
    let time = time.checked_sub(YEAR_2000).and_then(|time| u32::try_from(time).ok());
    let time = time.ok_or_else(|| Fault::new(FORMAT, "its time begins in 2000"))?;
    let mut footer = vec![0; FOOTER];
    put(&mut footer, 0, b"conectix");
    // Features: the bit that is always set. Version 1.0. The dynamic header follows at once.
    put(&mut footer, 8, &2u32.to_be_bytes());
    put(&mut footer, 12, &0x0001_0000u32.to_be_bytes());
    put(&mut footer, 16, &(FOOTER as u64).to_be_bytes());
    put(&mut footer, 24, &time.to_be_bytes());
    // QEMU takes the size from the geometry unless it knows the maker for one that does not.
    put(&mut footer, 28, b"win ");
    put(&mut footer, 32, &0x000a_0000u32.to_be_bytes());
    put(&mut footer, 36, b"Wi2k");
    put(&mut footer, 40, &disk.0.to_be_bytes());
    put(&mut footer, 48, &disk.0.to_be_bytes());
    put(&mut footer, 56, &geometry(disk.0 / SECTOR));
    put(&mut footer, 60, &3u32.to_be_bytes());
    put(&mut footer, 68, &uuid.0);
    let sum = checksum(&footer);
    put(&mut footer, 64, &sum);
    Ok(footer)
}

fn dynamic_header(table_at: u64, blocks: u64) -> Vec<u8> {
    let mut header = vec![0; DYNAMIC_HEADER];
    put(&mut header, 0, b"cxsparse");
    put(&mut header, 8, &u64::MAX.to_be_bytes());
    put(&mut header, 16, &table_at.to_be_bytes());
    put(&mut header, 24, &0x0001_0000u32.to_be_bytes());
    put(&mut header, 28, &(blocks as u32).to_be_bytes());
    put(&mut header, 32, &(BLOCK.0 as u32).to_be_bytes());
    let sum = checksum(&header);
    put(&mut header, 36, &sum);
    header
}

/// The complement of the sum of all bytes; the field itself is still zero.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    (!sum).to_be_bytes()
}

/// Cylinders, heads and sectors a track, as the specification's appendix computes them.
fn geometry(sectors: u64) -> [u8; 4] {
    let sectors = sectors.min(65_535 * 16 * 255);
    let (cylinders, heads, track) = if sectors >= 65_535 * 16 * 63 {
        (sectors / 255 / 16, 16, 255)
    } else {
        let mut track = 17;
        let mut heads = (sectors / track).div_ceil(1024).max(4);
        if sectors / track >= heads * 1024 || heads > 16 {
            (track, heads) = (31, 16);
        }
        if sectors / track >= heads * 1024 {
            (track, heads) = (63, 16);
        }
        (sectors / track / heads, heads, track)
    };
    let [high, low] = (cylinders as u16).to_be_bytes();
    [high, low, heads as u8, track as u8]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    const IDENTITY: Identity = Identity { uuid: Guid([7; 16]), time: 1_767_225_600 };

    #[test]
    fn bytes_are_pinned() {
        let map = BlockMap::new(
            Bytes::mib(7),
            BLOCK,
            [(Bytes::mib(2), Bytes(1)), (Bytes::mib(6), Bytes::MIB)],
        )
        .unwrap();
        let plan = plan(&map, IDENTITY).unwrap();
        // Footer, header, table, then two blocks with their bitmaps, then the footer again.
        assert_eq!(plan.length, Bytes(512 + 1024 + 512 + 2 * (512 + (2 << 20)) + 512));
        assert_eq!(
            plan.pieces[2].1[..16],
            [[0xff; 4], [0, 0, 0, 4], [0xff; 4], [0, 0, 0x10, 5]].concat()
        );
        assert_eq!(
            plan.copies[1],
            Copy { from: Bytes::mib(6), to: Bytes((0x1005 + 1) * 512), length: Bytes::MIB }
        );
        let all: Vec<u8> = plan.pieces.into_iter().flat_map(|(_, bytes)| bytes).collect();
        assert_eq!(Digest::of(all).short(), "50a0dedefb51");
    }

    #[test]
    fn geometries_are_the_specification_s() {
        for (mib, expected) in
            [(5, [4, 17]), (100, [12, 17]), (28 << 10, [16, 63]), (40 << 10, [16, 255])]
        {
            assert_eq!(geometry(mib << 11)[2..], expected, "{mib} MiB");
            let [high, low, heads, track] = geometry(mib << 11).map(u64::from);
            let covered = (high << 8 | low) * heads * track;
            assert!(covered <= mib << 11 && covered + heads * track > mib << 11, "{mib} MiB");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let map = BlockMap::new(Bytes::gib(2041), BLOCK, []).unwrap();
        assert!(plan(&map, IDENTITY).is_err());
        let map = BlockMap::new(Bytes::gib(1), BLOCK, []).unwrap();
        assert!(plan(&map, Identity { time: 0, ..IDENTITY }).is_err());
    }
}
