//! What lies beside an export, and what compares it: bills of materials judged by the official
//! schemas, signatures by openssl, packages by dpkg. One small system is built with kuth itself; what
//! needs a tool that is missing says SKIPPED, and fails where KUTH_REQUIRE_TOOLS=1.

mod bills;
mod differences;
mod machines;
mod signatures;
mod world;
