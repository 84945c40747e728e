//! What moves a stage's key: every documented key of a pipeline, every byte behind a path, the epoch
//! and the architecture; and what does not.

mod files;
mod places;
mod tables;
mod world;
