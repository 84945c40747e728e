//! What a build survives: a kill at each of its system calls, a loss of power, full and broken disks,
//! and hosts that are short of something. `make torture` tries it all and prints a table; the usual
//! tests try a part, the same each time.

mod kills;
mod limits;
mod power;
mod table;
mod world;
