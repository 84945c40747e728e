//! Trees keep what was put into them: holes stay holes from a script to the image, and owners that no
//! namespace has are the same whoever builds. Judged by GNU tar, bsdtar, Python, e2fsck, debugfs,
//! xfs_db and mtools; what needs a tool that is missing says SKIPPED, and fails where
//! KUTH_REQUIRE_TOOLS=1.

mod attributes;
mod built;
#[path = "../disk/mod.rs"]
mod disk;
mod files;
mod holes;
