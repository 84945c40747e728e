//! SquashFS files that the real tool made, and live media with layers of them, read by kuth: what
//! `mksquashfs` packed comes out, and layers look as the kernel's overlayfs shows them.

mod hostile;
mod layers;
mod lone;
mod medium;
#[path = "../import/same.rs"]
mod same;
#[path = "../import/world.rs"]
#[allow(dead_code)]
mod world;
