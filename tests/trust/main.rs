//! Whom kuth believes of packages: small archives made and signed here, and then changed, on a
//! mirror, on a medium, in an archive of old packages and in the cache. Each change is refused with
//! one error, and nothing of it stays.

mod media;
mod mirrors;
mod signatures;
mod snapshots;
mod store;
mod world;
