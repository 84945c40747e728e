//! What `export` writes, judged by qemu-img, and where it puts it. A tool that is not installed
//! skips its test with a line, unless KUTH_REQUIRE_TOOLS=1.

mod bench;
mod images;
mod machines;
mod places;
mod tables;
