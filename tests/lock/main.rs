//! The lock on another day: packages that left the mirror, `--locked`, and `kuth update`. A small
//! tree is built from a real mirror; then the test is the mirror, with the same packages but for
//! some, signed by a key of its own, and an archive of old packages.

mod moved;
mod refused;
mod suites;
mod update;
mod world;
