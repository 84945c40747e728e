//! Sidecar files of exports and the commands that read them: SBOMs checked by the official schemas,
//! signatures by openssl, packages by dpkg. One small system is built with kuth itself; a test that
//! needs a missing tool says SKIPPED, and fails where KUTH_REQUIRE_TOOLS=1.

mod differences;
mod machines;
mod sboms;
mod signatures;
mod world;
