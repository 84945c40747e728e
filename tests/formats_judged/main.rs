//! What the formats room writes, judged by the tools that others wrote for the same formats.
//! A tool that is not installed skips its test with a line, unless KUTH_REQUIRE_TOOLS=1.

mod boots;
mod disks;
mod images;
mod isos;
mod tables;
mod tools;
