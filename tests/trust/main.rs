//! Whom kuth believes of packages: small archives made and signed here, and then changed, on a
//! mirror, on a medium, in an archive of old packages and in the cache. Each change is refused with
//! one error, and nothing of it stays.

#[path = "../judge/mod.rs"]
mod judge;
mod media;
#[path = "../media/medium.rs"]
mod medium;
#[path = "../lock/mirror.rs"]
mod mirror;
mod mirrors;
#[path = "../lock/project.rs"]
mod project;
#[path = "../download_served/server.rs"]
mod server;
mod snapshots;
mod store;
mod world;
