//! ext2, ext3 and ext4 as they lie on a disk: structures in, values out. Where blocks are read from
//! is not known here.
//!
//! Source: the kernel's Documentation/filesystems/ext4, and e2fsprogs' lib/ext2fs/ext2_fs.h; all
//! little endian but for the journal.

pub mod attribute;
pub mod directory;
pub mod inode;
pub mod journal;
pub mod map;
pub mod superblock;

pub(crate) const FORMAT: &str = "ext4";
