//! What each key of `customise` does to a tree: stages on top of a small Debian tree are built by
//! the program, and their trees and what scripts saw inside are read back.

mod additions;
mod built;
mod files;
#[path = "../judge/mod.rs"]
mod judge;
#[path = "../acceptance/kuth.rs"]
#[allow(dead_code)]
mod kuth;
mod packages;
#[path = "../acceptance/processes.rs"]
#[allow(dead_code)]
mod processes;
mod scripts;
mod seal;
mod settings;
mod tree;
mod users;
mod world;
