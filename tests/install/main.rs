//! Installers: what they are told, what kuth finds on their media, how a run is watched, and whether
//! the disk that came out is right. One test really installs; it is run by `make test-install`.

#[path = "../disk/mod.rs"]
mod disk;

mod answers;
mod compared;
mod media;
mod pipelines;
mod real;
mod supervised;
mod watched;
mod world;
