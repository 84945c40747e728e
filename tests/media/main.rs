//! Media of Debian in the place of a mirror. They are made of what a first build took from a real
//! mirror: as a DVD is, without a signature, and as others are, signed, damaged, of another suite. What
//! is built from them has to be, bit by bit, what the mirror gave.

mod boots;
mod locks;
mod pipeline;
mod refused;
mod trees;
mod ubuntu;
mod world;
