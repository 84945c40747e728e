//! The cache between machines: two kuth with a cache each and one remote between them, of every
//! kind that a test can run, sound and at fault. Servers that are not installed are skipped
//! aloud, or missed where KUTH_REQUIRE_TOOLS is set.

mod bounds;
mod crafted;
mod directory;
mod faults;
mod secrets;
mod server;
mod services;
mod upkeep;
mod world;
