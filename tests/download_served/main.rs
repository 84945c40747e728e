//! `download` against servers that behave as servers do: they cut off, ignore ranges, change the
//! file meanwhile, and answer with web pages.

mod bounds;
mod faults;
#[path = "../judge/mod.rs"]
mod judge;
mod known;
mod large;
mod server;
#[path = "../servers/mod.rs"]
mod servers;
mod ways;
mod world;
