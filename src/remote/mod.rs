//! The cache between machines. A [`Remote`] is a place that keeps small files by name: a directory,
//! a web server, an object store. On it lie signed records (key -> what came out) and objects cut
//! into compressed chunks, so that two results that differ little share most of their bytes.
//!
//! ```text
//! v1/records/ab/KEY.json     a record, who signed it, and the signature
//! v1/objects/ab/DIGEST.json  which chunks an object is made of, and where its zeros are
//! v1/chunks/ab/SHA256.zst    a chunk, named by its content before compression
//! ```
//!
//! Nothing on a remote is believed: a record counts by its signature, a chunk and an object by
//! their digests. A remote that is broken, slow or lying is a miss and one warning.
//! The room knows records and artifacts; it knows no stage, no graph and no screen.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Context, Hint, Result, anyhow};

pub mod chunks;
mod directory;
mod object;
mod push;
mod services;
mod shelf;
mod told;
pub mod trust;
mod web;

pub use push::Pushed;
pub use shelf::{Mode, RemoteCache, Terms};
pub use told::{Warn, WarnOnce};

/// A place that keeps small files by name, whoever runs it.
pub trait Remote: Send + Sync {
    /// The file `name`, of at most `most` bytes; `None` where there is none. Of a longer one no
    /// more is read than shows that it is longer, which is an error.
    fn get(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>>;

    /// Keeps `bytes` as `name`, in the place of what was there.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()>;

    /// Whether there is a file `name`.
    fn has(&self, name: &str) -> Result<bool>;
}

/// The ways to name a remote; the first word of an address.
const SCHEMES: &str = "a directory, `http(s)://`, `s3://`, `gcs://`, `azblob://`, `webdav(s)://` \
                       or `ghac://`";

/// Opens the remote at `address`; a directory is relative to `root`. Nothing is asked of it yet.
/// `patience` is the most that one request may take.
pub fn open(address: &str, root: &Path, patience: Duration) -> Result<Box<dyn Remote>> {
    let what = || format!("opening the remote cache {}", shown(address));
    let remote: Box<dyn Remote> = match address.split_once("://") {
        None => Box::new(directory::Directory::new(root.join(address))),
        Some(("file", path)) => Box::new(directory::Directory::new(PathBuf::from(path))),
        Some(("http" | "https", _)) => {
            Box::new(web::Web::new(address, patience).with_context(what)?)
        }
        Some((scheme, _)) if services::SCHEMES.contains(&scheme) => {
            Box::new(services::Service::open(address, patience).with_context(what)?)
        }
        Some((scheme, _)) => {
            return Err(anyhow!("there are no remote caches of the kind `{scheme}`"))
                .hint(format!("give {SCHEMES}"));
        }
    };
    Ok(remote)
}

/// Whether the remote at `address` is reached without a network.
pub fn is_local(address: &str) -> bool {
    !address.contains("://") || address.starts_with("file://")
}

/// The address as it may be shown: without a password, and without what follows a `?`.
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

/// `kind/ab/NAME`: no directory gets too full.
fn name(kind: &str, digest: impl std::fmt::Display, extension: &str) -> String {
    let digest = digest.to_string();
    format!("v1/{kind}/{}/{digest}.{extension}", &digest[..2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (address, told) in [
            ("https://me:hunter2@cache.example/a/b?token=x", "https://cache.example/a/b"),
            ("s3://bucket/prefix", "s3://bucket/prefix"),
            ("http://host", "http://host"),
            ("../shared", "../shared"),
        ] {
            assert_eq!(shown(address), told);
        }
    }

    #[test]
    fn an_unknown_kind_is_refused_with_those_that_are_known() {
        let error = open("ftp://x/y", Path::new("."), Duration::from_secs(1)).err().unwrap();
        assert_eq!(error.to_string(), "there are no remote caches of the kind `ftp`");
        assert!(crate::error::hints(&error)[0].contains("s3://"));
    }
}
