//! kuth builds virtual-machine images: reproducibly, without privileges, and never twice.
//!
//! Data goes one way: TOML -> [`pipeline`] -> plan -> [`engine`] -> [`stage`] -> artifact.
//! DESIGN.md has the floor plan.

pub mod archive;
pub mod artifact;
pub mod cache;
pub mod cancel;
pub mod cli;
pub mod compare;
pub mod debian;
pub mod disk;
pub mod engine;
pub mod error;
pub mod files;
pub mod host_path;
pub mod http;
pub mod image;
pub mod import;
pub mod installer;
pub mod lock;
pub mod machine;
pub mod pipeline;
pub mod process;
pub mod provenance;
pub mod recipe;
pub mod remote;
pub mod sandbox;
pub mod stage;
pub mod stage_context;
pub mod tools;
pub mod tree;

pub use kuth_formats::{self as format, digest, units};
