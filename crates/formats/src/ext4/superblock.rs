//! The superblock (`ext4_super_block`) and the group descriptors (`ext4_group_desc`).

use super::FORMAT;
use crate::crc32c::update as crc32c;
use crate::fields::Fields;
use crate::units::Bytes;
use crate::{Fault, Guid};

/// Where the superblock is.
pub const OFFSET: Bytes = Bytes(1024);
/// The length of the superblock in bytes.
pub const LENGTH: usize = 1024;
const MAGIC: u16 = 0xef53;

/// Bits of `s_feature_incompat`, which a reader must know.
pub mod incompat {
    /// The journal has to be replayed.
    pub const RECOVER: u32 = 0x4;
    /// It is a journal for another file system.
    pub const JOURNAL_DEVICE: u32 = 0x8;
    /// Group descriptors are in the first group of each meta block group.
    pub const META_BG: u32 = 0x10;
    /// Block numbers have 64 bits.
    pub const BIT64: u32 = 0x80;
    /// The checksum seed is stored, not derived from the UUID.
    pub const CSUM_SEED: u32 = 0x2000;
    /// Directories may have 2 GiB and more.
    pub const LARGEDIR: u32 = 0x4000;
    /// Some files are encrypted.
    pub const ENCRYPT: u32 = 0x1_0000;
    /// Every known bit, its name as e2fsprogs prints it, and whether this reader supports it.
    pub(super) const NAMES: [(u32, &str, bool); 16] = [
        (0x1, "compression", false),
        (0x2, "filetype", true),
        (RECOVER, "needs_recovery", true),
        (JOURNAL_DEVICE, "journal_dev", false),
        (META_BG, "meta_bg", true),
        (0x40, "extents", true),
        (BIT64, "64bit", true),
        (0x100, "mmp", true),
        (0x200, "flex_bg", true),
        (0x400, "ea_inode", true),
        (0x1000, "dirdata", false),
        (CSUM_SEED, "metadata_csum_seed", true),
        (LARGEDIR, "large_dir", true),
        (0x8000, "inline_data", true),
        (ENCRYPT, "encrypt", true),
        (0x2_0000, "casefold", true),
    ];
}

const HAS_JOURNAL: u32 = 0x4;
const METADATA_CSUM: u32 = 0x400;

/// The fields of the superblock that a reader needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The binary logarithm of the block size: `s_log_block_size` + 10, from 10 to 16.
    block_bits: u32,
    /// `s_blocks_count`.
    pub blocks_count: u64,
    /// `s_free_blocks_count`; of a file system that is in use an older value.
    pub free_blocks_count: u64,
    /// `s_inodes_count`.
    pub inodes_count: u32,
    /// `s_inodes_per_group`; never 0.
    pub inodes_per_group: u32,
    /// `s_blocks_per_group`; never 0.
    pub blocks_per_group: u32,
    /// `s_first_data_block`: the block of the superblock, with which group 0 begins.
    pub first_data_block: u32,
    /// `s_inode_size` in bytes: a power of 2 from 128 to the block size.
    pub inode_size: u16,
    /// `s_desc_size` in bytes: a power of 2 from 32 to 1024.
    pub descriptor_size: u16,
    /// `s_feature_incompat`, see [`incompat`].
    pub feature_incompat: u32,
    /// `s_first_meta_bg`: the first block of descriptors that lies in a meta block group.
    pub first_meta_bg: u32,
    /// `s_journal_inum`: the inode of the journal.
    pub journal_inode: Option<u32>,
    /// The seed of checksums, where there are any: `s_checksum_seed` or derived from the UUID.
    pub seed: Option<u32>,
    /// `s_uuid`.
    pub uuid: Guid,
    /// `s_volume_name`; empty for none.
    pub label: String,
}

impl Superblock {
    /// Reads the [`LENGTH`] bytes at [`OFFSET`]. Refuses a wrong checksum and features that this
    /// reader does not support.
    pub fn read(bytes: &[u8]) -> Result<Superblock, Fault> {
        let refuse = |why: String| Err(Fault::new(FORMAT, why));
        let fields = Fields::of(FORMAT, bytes);
        fields.slice(0, LENGTH)?;
        if fields.le16(56)? != MAGIC {
            return refuse("no superblock at byte 1024".into());
        }
        let dynamic = fields.le32(76)? >= 1;
        let features = |at: usize| if dynamic { fields.le32(at) } else { Ok(0) };
        let (compat, incompat, ro_compat) = (features(92)?, features(96)?, features(100)?);
        check_features(incompat)?;
        let log = fields.le32(24)?;
        if log > 6 {
            return refuse(format!("blocks of 2^{} bytes", u64::from(log) + 10));
        }
        let is_64bit = incompat & incompat::BIT64 != 0;
        let high = |at: usize| match is_64bit {
            true => fields.le32(at).map(|high| u64::from(high) << 32),
            false => Ok(0),
        };
        let uuid = Guid(fields.array(104)?);
        let has_sums = ro_compat & METADATA_CSUM != 0;
        if has_sums && fields.u8(373)? != 1 {
            return refuse(format!("checksums of the unknown kind {}", fields.u8(373)?));
        }
        let seed = match (has_sums, incompat & incompat::CSUM_SEED) {
            (false, _) => None,
            (true, 0) => Some(crc32c(!0, &uuid.0)),
            (true, _) => Some(fields.le32(624)?),
        };
        if has_sums && crc32c(!0, &bytes[..1020]) != fields.le32(1020)? {
            return refuse("the checksum of the superblock is wrong".into());
        }
        let label = fields.slice(120, 16)?;
        let label = &label[..label.iter().position(|byte| *byte == 0).unwrap_or(16)];
        let superblock = Superblock {
            block_bits: log + 10,
            blocks_count: u64::from(fields.le32(4)?) | high(336)?,
            free_blocks_count: u64::from(fields.le32(12)?) | high(344)?,
            inodes_count: fields.le32(0)?,
            inodes_per_group: fields.le32(40)?,
            blocks_per_group: fields.le32(32)?,
            first_data_block: fields.le32(20)?,
            inode_size: if dynamic { fields.le16(88)? } else { 128 },
            descriptor_size: if is_64bit { fields.le16(254)? } else { 32 },
            feature_incompat: incompat,
            first_meta_bg: fields.le32(260)?,
            journal_inode: Some(fields.le32(224)?).filter(|_| compat & HAS_JOURNAL != 0),
            seed,
            uuid,
            label: String::from_utf8_lossy(label).into_owned(),
        };
        superblock.check()?;
        Ok(superblock)
    }

    fn check(&self) -> Result<(), Fault> {
        let sane = self.inodes_per_group > 0
            && self.blocks_per_group > 0
            && self.inode_size.is_power_of_two()
            && (128..=1 << self.block_bits).contains(&u64::from(self.inode_size))
            && (32..=1024).contains(&self.descriptor_size)
            && self.descriptor_size.is_power_of_two()
            && u64::from(self.first_data_block) < self.blocks_count
            && self.blocks_count <= u64::MAX >> self.block_bits
            && u64::from(self.inodes_count) <= self.groups() * u64::from(self.inodes_per_group);
        Fault::unless(sane, FORMAT, || {
            format!(
                "a superblock that makes no sense: {} inodes of {} bytes, {} a group, {} blocks, {} a group",
                self.inodes_count,
                self.inode_size,
                self.inodes_per_group,
                self.blocks_count,
                self.blocks_per_group
            )
        })
    }

    /// The size of a block, from 1 KiB to 64 KiB.
    pub fn block_size(&self) -> Bytes {
        Bytes(1 << self.block_bits)
    }

    /// The number of block groups.
    pub fn groups(&self) -> u64 {
        let blocks = self.blocks_count - u64::from(self.first_data_block);
        blocks.div_ceil(self.blocks_per_group.into())
    }

    /// Whether the journal has to be replayed first.
    pub fn needs_recovery(&self) -> bool {
        self.feature_incompat & incompat::RECOVER != 0
    }

    /// Where the descriptor of `group` is.
    pub fn descriptor_at(&self, group: u64) -> Bytes {
        let size = u64::from(self.descriptor_size);
        let each = self.block_size().0 / size;
        let table = group / each;
        let meta =
            self.feature_incompat & incompat::META_BG != 0 && table >= self.first_meta_bg.into();
        // The block of the superblock. With bigalloc blocks of 1 KiB are counted from 0 too, so it is not
        // always the first block of data.
        let superblock = OFFSET.0 / self.block_size().0;
        let block = if meta {
            // In the first group that it describes, behind the superblock where that has one.
            let group = table * each;
            let start = u64::from(self.first_data_block) + group * u64::from(self.blocks_per_group);
            match group {
                0 => superblock + 1,
                _ => start + u64::from(self.has_superblock(group)),
            }
        } else {
            superblock + 1 + table
        };
        Bytes(block * self.block_size().0 + group % each * size)
    }

    /// Whether a group has a copy of the superblock. With `meta_bg` all that kuth reads are made by
    /// tools that also set `sparse_super`.
    fn has_superblock(&self, group: u64) -> bool {
        let power_of = |base: u64| {
            let mut power = base;
            while power < group {
                power *= base;
            }
            power == group
        };
        group <= 1 || power_of(3) || power_of(5) || power_of(7)
    }

    /// `bg_inode_table` out of the descriptor of `group`: the block in which its inodes begin.
    pub fn inode_table(&self, descriptor: &[u8], group: u64) -> Result<u64, Fault> {
        let fields = Fields::of(FORMAT, descriptor);
        fields.slice(0, self.descriptor_size.into())?;
        if let Some(seed) = self.seed {
            let crc = crc32c(seed, &(group as u32).to_le_bytes());
            let crc = crc32c(crc32c(crc, &descriptor[..30]), &[0, 0]);
            let crc = crc32c(crc, &descriptor[32..self.descriptor_size.into()]);
            Fault::unless(crc as u16 == fields.le16(30)?, FORMAT, || {
                format!("the checksum of the descriptor of group {group} is wrong")
            })?;
        }
        let high = if self.descriptor_size >= 64 { u64::from(fields.le32(40)?) } else { 0 };
        Ok(u64::from(fields.le32(8)?) | high << 32)
    }
}

fn check_features(features: u32) -> Result<(), Fault> {
    let mut left = features;
    for (bit, name, known) in incompat::NAMES {
        if features & bit != 0 && !known {
            return Err(Fault::new(
                FORMAT,
                format!("the feature `{name}`, which kuth cannot read"),
            ));
        }
        left &= !bit;
    }
    Fault::unless(left == 0, FORMAT, || format!("features that nobody knew in 2026: {left:#x}"))
}
