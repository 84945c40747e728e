//! Files of the host: sparse ones, locks between processes, scratch directories, and writes that a
//! reader sees as a whole or not at all. It knows nothing of what the files hold.

mod aside;
pub mod extents;
mod lock;
mod partial;
mod remove;
mod scratch;
pub mod sparse;

pub use aside::{make_directory, rename_into, replace, sync, write_aside};
pub use lock::{Lock, is_at};
pub use partial::Partial;
pub use remove::remove_tree;
pub use scratch::{Scratch, sweep};
