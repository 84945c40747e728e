//! `download` against servers that behave as servers do: they cut off, ignore ranges, change the
//! file meanwhile, and answer with web pages.

mod bounds;
mod faults;
mod known;
mod large;
mod ways;
mod world;
