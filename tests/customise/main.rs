//! What each key of `customise` does to a tree: stages on top of a small Debian tree are built by
//! the program, and their trees and what scripts saw inside are read back.

mod additions;
mod built;
mod edits;
mod faults;
mod files;
mod minimal;
mod package_files;
mod packages;
mod region;
mod repositories;
mod scripts;
mod seal;
mod secrets;
mod settings;
mod users;
