//! Writes VHD with dynamic allocation as a [`Plan`].

use super::{
    BLOCK, COOKIE, FOOTER_LENGTH, FORMAT, HEADER_COOKIE, HEADER_LENGTH, UNALLOCATED, checksum,
};
use crate::blocks::{BlockMap, CopyRange, Plan};
use crate::fields::put;
use crate::units::{Bytes, SECTOR};
use crate::{Fault, Guid, Pieces};

/// The greatest size of a disk.
const LARGEST: Bytes = Bytes::gib(2040);
/// The length of the sector bitmap that a block begins with.
const BITMAP: u64 = BLOCK.0 / SECTOR / 8;
/// The epoch of VHD, 2000, in seconds since 1970.
const YEAR_2000: u64 = 946_684_800;

/// What distinguishes images of the same disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `Unique Id` of the footer.
    pub uuid: Guid,
    /// `Time Stamp` of the footer, in seconds since 1970; 2000 at the earliest.
    pub time: u64,
}

/// A disk whose data is where `map` says, in blocks of [`BLOCK`]; the rest stays unallocated and reads
/// as zero. Refuses more than 2040 GiB.
pub fn plan(map: &BlockMap, identity: Identity) -> Result<Plan, Fault> {
    map.require(FORMAT, BLOCK)?;
    Fault::unless(map.disk() <= LARGEST, FORMAT, || format!("{} is too large", map.disk()))?;
    let footer = footer(map.disk(), identity)?;
    let bat_at = (FOOTER_LENGTH + HEADER_LENGTH) as u64;
    let data_at = (bat_at + map.count() * 4).next_multiple_of(SECTOR);
    let stored = BITMAP + BLOCK.0;
    let end = data_at + map.allocated() * stored;

    let mut bat = UNALLOCATED.to_be_bytes().repeat(map.count() as usize);
    // Unused entries of the last sector are unallocated too.
    bat.resize((data_at - bat_at) as usize, 0xff);
    let mut bitmaps = Pieces::new();
    let mut copies = Vec::new();
    for (i, index) in map.indices().enumerate() {
        let at = data_at + i as u64 * stored;
        put(&mut bat, index as usize * 4, &((at / SECTOR) as u32).to_be_bytes());
        bitmaps.push((Bytes(at), vec![0xff; BITMAP as usize]));
        let from = index * BLOCK.0;
        let length = Bytes(BLOCK.0.min(map.disk().0 - from));
        copies.push(CopyRange { from: Bytes(from), to: Bytes(at + BITMAP), length });
    }
    let mut pieces = vec![
        (Bytes(0), footer.clone()),
        (Bytes(FOOTER_LENGTH as u64), dynamic_header(bat_at, map.count())),
        (Bytes(bat_at), bat),
    ];
    pieces.extend(bitmaps);
    pieces.push((Bytes(end), footer));
    Ok(Plan { pieces, copies, length: Bytes(end + FOOTER_LENGTH as u64) })
}

fn footer(disk: Bytes, Identity { uuid, time }: Identity) -> Result<Vec<u8>, Fault> {
    let time = time.checked_sub(YEAR_2000).and_then(|time| u32::try_from(time).ok());
    let time = time.ok_or_else(|| Fault::new(FORMAT, "its time begins in 2000"))?;
    let mut footer = vec![0; FOOTER_LENGTH];
    put(&mut footer, 0, COOKIE);
    // Features: the bit that is always set. Version 1.0. The dynamic header follows at once.
    put(&mut footer, 8, &2u32.to_be_bytes());
    put(&mut footer, 12, &0x0001_0000u32.to_be_bytes());
    put(&mut footer, 16, &(FOOTER_LENGTH as u64).to_be_bytes());
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

fn dynamic_header(bat_at: u64, blocks: u64) -> Vec<u8> {
    let mut header = vec![0; HEADER_LENGTH];
    put(&mut header, 0, HEADER_COOKIE);
    put(&mut header, 8, &u64::MAX.to_be_bytes());
    put(&mut header, 16, &bat_at.to_be_bytes());
    put(&mut header, 24, &0x0001_0000u32.to_be_bytes());
    put(&mut header, 28, &(blocks as u32).to_be_bytes());
    put(&mut header, 32, &(BLOCK.0 as u32).to_be_bytes());
    let sum = checksum(&header);
    put(&mut header, 36, &sum);
    header
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
            CopyRange { from: Bytes::mib(6), to: Bytes((0x1005 + 1) * 512), length: Bytes::MIB }
        );
        let all: Vec<u8> = plan.pieces.into_iter().flat_map(|(_, bytes)| bytes).collect();
        assert_eq!(Digest::of(all).short(), "50a0dedefb51");
    }

    #[test]
    fn geometries_are_those_of_the_specification() {
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
    fn disks_and_times_out_of_range_are_refused() {
        let map = BlockMap::new(Bytes::gib(2041), BLOCK, []).unwrap();
        assert!(plan(&map, IDENTITY).is_err());
        let map = BlockMap::new(Bytes::gib(1), BLOCK, []).unwrap();
        assert!(plan(&map, Identity { time: 0, ..IDENTITY }).is_err());
    }
}
