//! A web server as a remote: any server that stores files by PUT and returns them by GET, such as nginx
//! with its WebDAV module. The address may contain a user and password.

use std::time::Duration;

use super::packs::MAX_PACK;
use super::{Listed, Remote};
use crate::error::{Hint, Result, anyhow};
use crate::http::Store;

/// A remote on a web server.
pub(super) struct Web(Store);

impl Web {
    /// The files below `address`.
    pub fn new(address: &str, timeout: Duration) -> Result<Web> {
        Ok(Web(Store::new(address, timeout)?))
    }
}

impl Remote for Web {
    fn get(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        self.0.get(name, most)
    }

    fn part(&self, name: &str, at: u64, length: u64) -> Result<Option<Vec<u8>>> {
        self.0.part(name, at, length, MAX_PACK)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.0.put(name, bytes)
    }

    fn has(&self, name: &str) -> Result<bool> {
        self.0.has(name)
    }

    fn list(&self, _: &str) -> Result<Vec<Listed>> {
        Err(anyhow!("a web server cannot list its files"))
            .hint("run this on the web server's host, with the directory of the files as the remote cache")
    }

    fn remove(&self, name: &str) -> Result<()> {
        Err(anyhow!("removing {name}: kuth removes nothing from a web server"))
    }
}
