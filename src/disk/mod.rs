//! Disks from trees: a layout is computed to the byte, the tree is split by mount point, each
//! part becomes a filesystem of its own (kept in the cache under its own recipe), and all are
//! put together with partition table, boot code and LVM2 metadata. Everything is a plain file: no root,
//! loop device, device mapper or virtual machine.
//!
//! Knows no pipelines beyond its own table and no other stage; `stage::disk` joins the pieces.

pub mod assemble;
pub mod attributes;
pub mod boot;
pub mod config;
mod esp;
pub mod filesystem;
pub mod fstab;
pub mod grow;
pub mod layout;
pub mod part;
pub mod placement;
pub mod rules;
pub mod source;
pub mod split;
pub mod survey;
pub mod swap_file;
pub mod vfat;
pub mod xfs;
