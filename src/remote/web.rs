//! A web server as a remote: anything that stores what is PUT and gives it back, such as nginx
//! with its WebDAV module. A name and password may stand in the address.

use std::time::Duration;

use super::Remote;
use crate::error::Result;
use crate::http::Store;

/// See the file.
pub(super) struct Web(Store);

impl Web {
    /// The files below `address`.
    pub fn new(address: &str, patience: Duration) -> Result<Web> {
        Ok(Web(Store::new(address, patience)?))
    }
}

impl Remote for Web {
    fn get(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        self.0.get(name, most)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.0.put(name, bytes)
    }

    fn has(&self, name: &str) -> Result<bool> {
        self.0.has(name)
    }
}
