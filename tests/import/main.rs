//! Disk images that the real tools made, read back by kuth: the tree that went in comes out, byte for
//! byte as kuth packs it.

mod bounds;
mod containers;
#[path = "../disk/mod.rs"]
mod disk;
mod disks;
mod filesystems;
mod foreign;
mod hostile;
mod inspected;
mod journals;
mod mounted;
mod rootfs;
mod round;
mod same;
mod shipped;
mod stages;
mod world;
