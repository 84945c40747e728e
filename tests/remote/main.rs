//! The cache between machines: two kuth with a cache each and one remote between them, of every
//! kind that a test can run, sound and at fault. Servers that are not installed are skipped
//! aloud, or missed where KUTH_REQUIRE_TOOLS is set.

mod bounds;
mod crafted;
mod directory;
mod faults;
#[path = "../judge/mod.rs"]
mod judge;
mod secrets;
#[path = "../download_served/server.rs"]
mod served;
mod server;
#[path = "../servers/mod.rs"]
mod servers;
mod services;
mod world;
