//! An inode (`ext4_inode`).

use super::FORMAT;
use super::superblock::{Superblock, incompat};
use crate::Fault;
use crate::crc32c::update as crc32c;
use crate::fields::Fields;
use crate::units::{Bytes, Sectors};

/// The length of `i_block` in bytes.
pub const I_BLOCK: usize = 60;

/// Bits of `i_flags`.
pub mod flag {
    /// `EXT4_ENCRYPT_FL`: content and names are encrypted.
    pub const ENCRYPTED: u32 = 0x800;
    /// `EXT4_INDEX_FL`: the directory has a hash tree.
    pub const INDEX: u32 = 0x1000;
    /// `EXT4_EXTENTS_FL`: `i_block` is the root of an extent tree.
    pub const EXTENTS: u32 = 0x8_0000;
    /// `EXT4_EA_INODE_FL`: it holds the value of an extended attribute.
    pub const EA_INODE: u32 = 0x20_0000;
    /// `EXT4_INLINE_DATA_FL`: the content begins in `i_block`.
    pub const INLINE_DATA: u32 = 0x1000_0000;
    /// `EXT4_COMPR_FL`: the content is compressed (patches for ext2).
    pub const COMPRESSED: u32 = 0x4;
}

/// The fields of an inode that a reader needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Its number, from 1.
    pub number: u32,
    /// `i_mode`: file type and permissions.
    pub mode: u16,
    /// `i_uid`.
    pub uid: u32,
    /// `i_gid`.
    pub gid: u32,
    /// `i_size`.
    pub size: Bytes,
    /// `i_mtime` in seconds since 1970.
    pub mtime: i64,
    /// `i_links_count`.
    pub links: u16,
    /// `i_flags`, see [`flag`].
    pub flags: u32,
    /// `i_block`: an extent tree's root, block numbers, a short symbolic link, a device number, or
    /// inline data.
    pub block: [u8; I_BLOCK],
    /// `i_file_acl`: the block of extended attributes; 0 for none.
    pub file_acl: u64,
    /// The bytes behind the fields, which may hold extended attributes.
    pub rest: Vec<u8>,
    /// The seed for the checksums of its blocks, where the file system has checksums.
    pub seed: Option<u32>,
    /// `i_blocks`: the sectors that its blocks take.
    pub blocks: Sectors,
}

impl Inode {
    /// Reads the bytes of inode `number` in the file system of `superblock`.
    pub fn read(bytes: &[u8], number: u32, superblock: &Superblock) -> Result<Inode, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        fields.slice(0, superblock.inode_size.into())?;
        let extra = if bytes.len() > 128 { usize::from(fields.le16(128)?) } else { 0 };
        Fault::unless(extra.is_multiple_of(4) && 128 + extra <= bytes.len(), FORMAT, || {
            format!("inode {number} has {extra} bytes of further fields")
        })?;
        // A number that was never used is all zero and has no checksum.
        let seed = match superblock.seed {
            Some(seed) => Some(check(&fields, bytes, number, seed, extra)?),
            None => None,
        };
        let mode = fields.le16(0)?;
        let wide = mode >> 12 != 0o04 || superblock.feature_incompat & incompat::LARGEDIR != 0;
        let high = if wide { u64::from(fields.le32(108)?) } else { 0 };
        let extra_mtime = if extra >= 12 { fields.le32(136)? } else { 0 };
        let seconds = fields.le32(16)? as i32;
        Ok(Inode {
            number,
            mode,
            uid: u32::from(fields.le16(2)?) | u32::from(fields.le16(120)?) << 16,
            gid: u32::from(fields.le16(24)?) | u32::from(fields.le16(122)?) << 16,
            size: Bytes(u64::from(fields.le32(4)?) | high << 32),
            mtime: i64::from(seconds) + (i64::from(extra_mtime & 3) << 32),
            links: fields.le16(26)?,
            flags: fields.le32(32)?,
            block: fields.array(40)?,
            file_acl: u64::from(fields.le32(104)?) | u64::from(fields.le16(118)?) << 32,
            rest: bytes.get(128 + extra..).unwrap_or(&[]).to_vec(),
            seed,
            blocks: Sectors(fields.le32(28)?.into()),
        })
    }

    /// Whether one of the [`flag`]s is set.
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// The major and minor number of a device, in the old or the new encoding of Linux.
    pub fn device(&self) -> (u32, u32) {
        let [a, b, c, d, e, f, g, h, ..] = self.block;
        match (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])) {
            (0, new) => ((new & 0xf_ff00) >> 8, new & 0xff | new >> 12 & 0xf_ff00),
            (old, _) => (old >> 8 & 0xff, old & 0xff),
        }
    }
}

/// Compares the checksum of an inode; the seed for those of its blocks.
fn check(
    fields: &Fields<'_>,
    bytes: &[u8],
    number: u32,
    seed: u32,
    extra: usize,
) -> Result<u32, Fault> {
    let generation = fields.le32(100)?;
    let seed = crc32c(crc32c(seed, &number.to_le_bytes()), &generation.to_le_bytes());
    let mut summed = bytes.to_vec();
    let low = fields.le16(124)?;
    summed[124..126].fill(0);
    let high = if extra >= 4 {
        summed[130..132].fill(0);
        Some(fields.le16(130)?)
    } else {
        None
    };
    let crc = crc32c(seed, &summed);
    let right = crc as u16 == low && high.is_none_or(|high| (crc >> 16) as u16 == high);
    Fault::unless(right, FORMAT, || format!("the checksum of inode {number} is wrong"))?;
    Ok(seed)
}
