//! kuth builds virtual-machine images: reproducibly, without privileges, and never twice.
//!
//! Data goes one way: TOML -> [`pipeline`] -> plan -> [`engine`] -> [`stage`] -> artifact.
//! DESIGN.md has the floor plan.

pub mod artifact;
pub mod boot_check;
pub mod build_record;
pub mod build_report;
pub mod cache;
pub mod ci;
pub mod cli;
pub mod compare;
pub mod debian;
pub mod disk;
pub mod embedded;
pub mod engine;
pub mod hardware;
pub mod host_network;
pub mod host_path;
pub mod http;
pub mod hypervisor;
pub mod installer;
pub mod lock;
pub mod machine;
pub mod openpgp;
pub mod pipeline;
pub mod post_config;
pub mod process;
pub mod provenance;
pub mod qemu;
pub mod recipe;
pub mod registry;
pub mod remote;
pub mod run_state;
pub mod sandbox;
pub mod seed;
pub mod stage;
pub mod stage_context;
pub mod tools;
pub mod virtualbox;

pub use kuth_formats::{self as format, digest, units};
pub use kuth_images::{archive, cancel, error, files, image, import, oci, threads, tree};
