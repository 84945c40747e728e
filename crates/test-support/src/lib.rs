//! What the tests of kuth share: a project and kuth run in it, the tools that judge, servers,
//! mirrors and installation media. It uses nothing of kuth itself, so that both compile at the same
//! time and the unit tests can use it too.

pub mod base;
pub mod home;
pub mod http;
pub mod judge;
pub mod medium;
pub mod mirror;
pub mod processes;
pub mod project;
pub mod run;
pub mod servers;
pub mod trace;
pub mod tree;
pub mod virtualbox;

use std::path::{Path, PathBuf};

use sha2::Digest;

/// The root of the repository.
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().parent().unwrap()
}

/// The directory of the running test program's profile, such as `target/debug`.
fn profile() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.parent().unwrap().parent().unwrap().to_path_buf()
}

/// The program kuth, which cargo builds for every integration test.
pub fn program() -> PathBuf {
    profile().join("kuth")
}

/// `target/tmp`: what integration tests leave there stays until the next run.
pub fn target_tmp() -> PathBuf {
    let directory = profile().parent().unwrap().join("tmp");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// The SHA-256 of some bytes in hexadecimal.
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
