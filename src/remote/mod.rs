//! The remote cache, which several hosts share. A [`Remote`] stores files by name: a directory, a web
//! server, an object store. It holds signed records (key -> artifact) and objects, split into compressed
//! chunks, so that two results that differ little share most of their chunks.
//!
//! ```text
//! v2/records/ab/KEY.json     a record, who signed it, and the signature
//! v2/objects/ab/DIGEST.json  the manifest of an object: its chunks, and where its zeros are
//! v2/packs/ab/SHA256.pack    chunks, one after another, each compressed by itself
//! v2/recent/ab/STAGE.json    the last objects of a stage, with which a new one may share chunks
//! ```
//!
//! Version 1 had a file for each chunk. A remote is not trusted: records are verified by signature,
//! chunks and objects by digest. A remote
//! that fails, is slow or has wrong content is a cache miss and one warning. This module knows records
//! and artifacts, but no stage, no graph and no output.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cancel::{Cancel, Progress};
use crate::error::{Context, Hint, Result, anyhow};

mod cache;
pub mod chunks;
mod connection;
mod directory;
mod known;
mod object;
#[cfg(feature = "object-stores")]
mod object_store;
mod packs;
mod push;
pub mod trust;
mod upkeep;
mod warn;
mod web;

pub use cache::RemoteCache;
pub use connection::{Mode, RemoteSettings};
pub use push::Pushed;
pub use upkeep::{Count, Listed, Stats};
pub use warn::{Warn, WarnOnce};

/// Stores files of at most 32 MiB by name.
pub trait Remote: Send + Sync {
    /// The file `name`, of at most `most` bytes; `None` if there is none. A longer file is the error
    /// [`TooLong`](crate::http::TooLong); no more of it is read than needed to notice.
    fn get(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>>;

    /// `length` bytes of the file `name` from the offset `at`, fewer where it ends before; `None` if there
    /// is none. A remote that sends more than it was asked for is the error
    /// [`TooLong`](crate::http::TooLong).
    fn part(&self, name: &str, at: u64, length: u64) -> Result<Option<Vec<u8>>>;

    /// Stores `bytes` as `name`, and replaces an existing file.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()>;

    /// Whether there is a file `name`.
    fn has(&self, name: &str) -> Result<bool>;

    /// Every file below the directory `prefix`, in any order. Fails where files cannot be listed.
    fn list(&self, prefix: &str) -> Result<Vec<Listed>>;

    /// Removes the file `name`, if there is one.
    fn remove(&self, name: &str) -> Result<()>;
}

/// A store for files of any size.
pub trait Store: Remote {
    /// Stores `file` as `name`, part by part, and replaces an existing file. No part is seen before all
    /// are there.
    fn put_file(&self, name: &str, file: &File, progress: Progress<'_>) -> Result<()>;
}

/// The schemes of stores that take files part by part.
pub const STORES: [&str; 3] = ["s3", "gcs", "azblob"];

/// Opens the store at `address`, whose scheme is one of [`STORES`]. Makes no request yet. `timeout` is the
/// limit for one request.
pub fn open_store(address: &str, timeout: Duration) -> Result<Box<dyn Store>> {
    file_store(address, timeout).with_context(|| format!("opening the store {}", shown(address)))
}

#[cfg(feature = "object-stores")]
fn file_store(address: &str, timeout: Duration) -> Result<Box<dyn Store>> {
    Ok(Box::new(object_store::ObjectStore::open(address, timeout)?))
}

#[cfg(not(feature = "object-stores"))]
fn file_store(_: &str, _: Duration) -> Result<Box<dyn Store>> {
    Err(anyhow!("this kuth was built without object stores"))
        .hint("build it with the default feature `object-stores` (`cargo build --release`)")
}

/// The schemes of object stores, which opendal reaches.
const OBJECT_STORES: [&str; 6] = ["s3", "gcs", "azblob", "webdav", "webdavs", "ghac"];

/// The forms of an address, for hints.
const SCHEMES: &str = "a directory, `http(s)://`, `s3://`, `gcs://`, `azblob://`, `webdav(s)://` \
                       or `ghac://`";

/// Opens the remote at `address`; a directory is relative to `root`. Makes no request yet. `timeout`
/// is the limit for one request.
pub fn open(address: &str, root: &Path, timeout: Duration) -> Result<Box<dyn Remote>> {
    let what = || format!("opening the remote cache {}", shown(address));
    let remote: Box<dyn Remote> = match address.split_once("://") {
        None => Box::new(directory::Directory::new(root.join(address))),
        Some(("file", path)) => Box::new(directory::Directory::new(PathBuf::from(path))),
        Some(("http" | "https", _)) => {
            Box::new(web::Web::new(address, timeout).with_context(what)?)
        }
        Some((scheme, _)) if OBJECT_STORES.contains(&scheme) => {
            object_store(address, timeout).with_context(what)?
        }
        Some((scheme, _)) => {
            return Err(anyhow!("unknown kind of remote cache `{scheme}`"))
                .hint(format!("use {SCHEMES}"));
        }
    };
    Ok(remote)
}

#[cfg(feature = "object-stores")]
fn object_store(address: &str, timeout: Duration) -> Result<Box<dyn Remote>> {
    Ok(Box::new(object_store::ObjectStore::open(address, timeout)?))
}

#[cfg(not(feature = "object-stores"))]
fn object_store(_: &str, _: Duration) -> Result<Box<dyn Remote>> {
    Err(anyhow!("this kuth was built without object stores")).hint(
        "build it with the default feature `object-stores` (`cargo build --release`), or use a \
         directory or a web server as the remote cache",
    )
}

/// What lies on the remote of `settings`. Reads every record and every manifest. Fails where files
/// cannot be listed, as on a web server.
pub fn stats(settings: &RemoteSettings, cancel: &Cancel) -> Result<Stats> {
    upkeep::stats(&*open(&settings.address, &settings.root, settings.timeout)?, cancel)
}

/// Removes from the remote of `settings` the results that were uploaded longer ago than `older_than`, and
/// what no result needs and is older than a day. Calls `removed` with each file; with `dry`, removes
/// nothing. Fails like [`stats`].
pub fn prune(
    settings: &RemoteSettings,
    older_than: Option<Duration>,
    dry: bool,
    cancel: &Cancel,
    removed: &mut dyn FnMut(&Listed),
) -> Result<Count> {
    let remote = open(&settings.address, &settings.root, settings.timeout)?;
    upkeep::prune(&*remote, older_than, dry, cancel, removed)
}

/// Whether the remote at `address` needs no network.
pub fn is_local(address: &str) -> bool {
    !address.contains("://") || address.starts_with("file://")
}

/// The address for messages: without user, password and query.
pub fn shown(address: &str) -> String {
    let address = address.split('?').next().unwrap_or_default();
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            let path = if path.is_empty() { String::new() } else { format!("/{path}") };
            format!("{scheme}://{host}{path}")
        }
        None => address.to_string(),
    }
}

/// What the names of this version of the format begin with.
const PREFIX: &str = "v2/";

/// `v2/kind/ab/NAME`: the subdirectories keep directories small.
fn name(kind: &str, digest: impl std::fmt::Display, extension: &str) -> String {
    let digest = digest.to_string();
    format!("{PREFIX}{kind}/{}/{digest}.{extension}", &digest[..2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (address, expected) in [
            ("https://me:hunter2@cache.example/a/b?token=x", "https://cache.example/a/b"),
            ("s3://bucket/prefix", "s3://bucket/prefix"),
            ("http://host", "http://host"),
            ("../shared", "../shared"),
        ] {
            assert_eq!(shown(address), expected);
        }
    }

    #[test]
    fn an_unknown_scheme_is_refused_with_the_known_ones() {
        let error = open("ftp://x/y", Path::new("."), Duration::from_secs(1)).err().unwrap();
        assert_eq!(error.to_string(), "unknown kind of remote cache `ftp`");
        assert!(crate::error::hints(&error)[0].contains("s3://"));
    }

    #[test]
    #[cfg(not(feature = "object-stores"))]
    fn an_object_store_is_refused_by_a_build_without_them() {
        for scheme in OBJECT_STORES {
            let address = format!("{scheme}://bucket/prefix");
            let error = open(&address, Path::new("."), Duration::from_secs(1)).err().unwrap();
            let expected = format!(
                "opening the remote cache {address}: this kuth was built without object stores"
            );
            assert_eq!(format!("{error:#}"), expected);
            assert!(crate::error::hints(&error)[0].contains("feature `object-stores`"));
        }
        // What needs no object store is still there.
        for address in ["../shared", "file:///shared", "http://127.0.0.1:9"] {
            assert!(open(address, Path::new("."), Duration::from_secs(1)).is_ok(), "{address}");
        }
    }
}
