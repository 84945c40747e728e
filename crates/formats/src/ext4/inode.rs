//! An inode: what a file is, apart from its content and its names.

use super::FORMAT;
use super::superblock::{Superblock, incompatible};
use crate::Fault;
use crate::crc32c::update as crc32c;
use crate::fields::Fields;

/// The bytes that a map of blocks begins in, or a short link, or the content of a small file.
pub const ROOT: usize = 60;

/// Flags of an inode.
pub mod flag {
    /// It is encrypted.
    pub const ENCRYPTED: u32 = 0x800;
    /// Its blocks are told by extents.
    pub const EXTENTS: u32 = 0x8_0000;
    /// It holds the value of an attribute.
    pub const ATTRIBUTE: u32 = 0x20_0000;
    /// Its content is in the inode.
    pub const INLINE: u32 = 0x1000_0000;
    /// Its content is compressed, of ext2 long ago.
    pub const COMPRESSED: u32 = 0x4;
}

/// What an inode says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Its number.
    pub number: u32,
    /// What kind of file it is, and its permission bits.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// How long it is.
    pub size: u64,
    /// When it was written to last.
    pub time: i64,
    /// How many names it has.
    pub links: u16,
    /// See [`flag`].
    pub flags: u32,
    /// The map of its blocks, or what [`ROOT`] says.
    pub root: [u8; ROOT],
    /// The block of its attributes; 0 for none.
    pub attributes: u64,
    /// The bytes behind the fields, in which attributes may be.
    pub rest: Vec<u8>,
    /// Where the checksums of what belongs to it begin.
    pub seed: Option<u32>,
    /// How many 512-byte sectors its blocks take.
    pub sectors: u64,
}

impl Inode {
    /// Reads the bytes of the inode `number`.
    pub fn read(bytes: &[u8], number: u32, of: &Superblock) -> Result<Inode, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        fields.slice(0, of.inode_size.into())?;
        let extra = if bytes.len() > 128 { usize::from(fields.le16(128)?) } else { 0 };
        Fault::unless(extra.is_multiple_of(4) && 128 + extra <= bytes.len(), FORMAT, || {
            format!("inode {number} has {extra} bytes of further fields")
        })?;
        // A number that was never used is all zero and has no checksum.
        let seed = match of.seed {
            Some(seed) => Some(check(&fields, bytes, number, seed, extra)?),
            None => None,
        };
        let mode = fields.le16(0)?;
        let wide = mode >> 12 != 0o04 || of.incompatible & incompatible::LARGEDIR != 0;
        let high = if wide { u64::from(fields.le32(108)?) } else { 0 };
        let fine = if extra >= 12 { fields.le32(136)? } else { 0 };
        let [low_time] = [fields.le32(16)? as i32];
        Ok(Inode {
            number,
            mode,
            uid: u32::from(fields.le16(2)?) | u32::from(fields.le16(120)?) << 16,
            gid: u32::from(fields.le16(24)?) | u32::from(fields.le16(122)?) << 16,
            size: u64::from(fields.le32(4)?) | high << 32,
            time: i64::from(low_time) + (i64::from(fine & 3) << 32),
            links: fields.le16(26)?,
            flags: fields.le32(32)?,
            root: fields.array(40)?,
            attributes: u64::from(fields.le32(104)?) | u64::from(fields.le16(118)?) << 32,
            rest: bytes.get(128 + extra..).unwrap_or(&[]).to_vec(),
            seed,
            sectors: fields.le32(28)?.into(),
        })
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// The numbers of a device.
    pub fn device(&self) -> (u32, u32) {
        let number = |at: usize| {
            u32::from_le_bytes([
                self.root[at],
                self.root[at + 1],
                self.root[at + 2],
                self.root[at + 3],
            ])
        };
        match (number(0), number(4)) {
            (0, new) => ((new & 0xf_ff00) >> 8, new & 0xff | new >> 12 & 0xf_ff00),
            (old, _) => (old >> 8 & 0xff, old & 0xff),
        }
    }
}

/// Compares the checksum of an inode; gives where those of its parts begin.
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
