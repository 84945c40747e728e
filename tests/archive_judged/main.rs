//! Archives of every kind, unpacked by kuth and by the tools that everybody has, which must come
//! to the same. A tool that is not installed skips its test with a line, unless
//! KUTH_REQUIRE_TOOLS=1.

mod bench;
mod bounds;
mod formats;
mod hostile;
