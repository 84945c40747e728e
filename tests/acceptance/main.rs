//! What kuth promises, checked from outside with real tools on a real Debian image: the program
//! itself is run, and its JSON, its files and its exit status are all that is looked at.
//!
//! `pipelines/debian.toml` is built once ([`world`]); tests that change something work on a copy of
//! that directory and of its cache (hard links). What needs a tool that is missing is skipped, and
//! fails where KUTH_REQUIRE_TOOLS=1. KUTH_KEEP_WORLD=1 takes the image that the last run built.

mod boots;
mod caching;
mod cascade;
mod costs;
mod faults;
mod interruption;
mod judges;
mod lock;
mod machines;
mod remote;
mod reproducible;
mod room;
mod sharing;
mod small;
mod tools;
mod user;
mod virtualbox;
mod ways_in;
mod world;
