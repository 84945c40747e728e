//! ext2, ext3 and ext4. The reader takes structures as bytes and returns values; it reads no disk.
//!
//! Source: the kernel's Documentation/filesystems/ext4, and e2fsprogs' lib/ext2fs/ext2_fs.h; all
//! little endian but for the journal.

pub mod attribute;
pub mod directory;
pub mod extent;
pub mod inode;
pub mod journal;
pub mod superblock;

pub(crate) const FORMAT: &str = "ext4";
