//! The remote cache of a build: looks up records by key, fetches objects of artifacts, and queues
//! results for upload. Every failure of the remote is a cache miss, and is reported once.

use std::sync::Arc;

use super::connection::{Connection, Mode, RemoteSettings};
use super::object::{self, Damaged};
use super::push::{Pushed, Queue};
use super::warn::Warn;
use super::{name, trust};
use crate::artifact::Artifact;
use crate::cache::{Cache, Origin, Record};
use crate::cancel::Cancel;
use crate::error::{Result, caused_by};
use crate::recipe::Key;

/// The limit for the size of a record, in bytes.
pub(super) const MAX_RECORD: u64 = 16 << 20;

/// A remote cache that a build uses.
pub struct RemoteCache {
    pub(super) connection: Arc<Connection>,
    queue: Option<Queue>,
}

impl RemoteCache {
    /// Opens the remote for a build that uses `cache`. Makes no request yet.
    pub fn open(
        settings: &RemoteSettings,
        cache: Arc<Cache>,
        cancel: Cancel,
        warn: Warn,
    ) -> Result<RemoteCache> {
        let connection = Arc::new(Connection::open(settings, cache, cancel, warn)?);
        let queue = (settings.mode == Mode::ReadWrite).then(|| Queue::new(connection.clone()));
        Ok(RemoteCache { connection, queue })
    }

    /// The address, for messages.
    pub fn address(&self) -> &str {
        &self.connection.address
    }

    /// Whether results may be pushed to it.
    pub fn is_writable(&self) -> bool {
        self.queue.is_some()
    }

    /// The record under `key`, if the remote has one that is trusted. It is added to the local cache.
    pub fn record(&self, key: &Key) -> Result<Option<Record>> {
        let connection = &self.connection;
        if connection.is_broken() {
            return Ok(None);
        }
        let name = name("records", key, "json");
        let Some(bytes) =
            connection.value_or_warn(connection.remote.get(&name, MAX_RECORD))?.flatten()
        else {
            return Ok(None);
        };
        match trust::open(&bytes, key, &connection.trust) {
            Ok(record) => {
                let record = Record { origin: Origin::Remote, ..record };
                connection.cache.note(key, &record)?;
                Ok(Some(record))
            }
            Err(refusal) => {
                connection.refuse(name, refusal);
                Ok(None)
            }
        }
    }

    /// Fetches the object of `artifact` into the local cache. `false` if that fails. `progress` gets
    /// the bytes fetched so far and in all.
    pub fn fetch(&self, artifact: &Artifact, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<bool> {
        let connection = &self.connection;
        if connection.is_broken() {
            return Ok(false);
        }
        let scratch = connection.cache.scratch()?;
        let file = scratch.path().join("object");
        let fetched =
            object::fetch(&*connection.remote, artifact, &file, &connection.cancel, progress)
                .and_then(|manifest| {
                    connection.check(artifact, &file)?;
                    connection.known.learn(&manifest);
                    Ok(())
                });
        if let Err(error) = &fetched
            && self.is_writable()
            && caused_by::<Damaged>(error).is_some()
        {
            // All of its parts are uploaded again; checking each one is not worth it.
            connection.mark_damaged(object::names(&*connection.remote, artifact));
        }
        if connection.value_or_warn(fetched)?.is_none() {
            return Ok(false);
        }
        connection.cache.adopt(&file, &connection.cache.object(artifact))?;
        Ok(true)
    }

    /// Records that the result under `key`, which is about to be in the local cache, is to be uploaded. A
    /// build that is killed before [`RemoteCache::offer`] leaves the upload to the next one; a note
    /// without a result is removed by it.
    pub fn announce(&self, key: &Key) -> Result<()> {
        self.queue.as_ref().map_or(Ok(()), |queue| queue.note(key))
    }

    /// Queues the result under `key`, which is in the local cache, for upload. [`RemoteCache::drain`]
    /// waits for it.
    pub fn offer(&self, key: &Key) -> Result<()> {
        self.queue.as_ref().map_or(Ok(()), |queue| queue.offer(key))
    }

    /// Waits until everything that was queued is uploaded, also by earlier builds. `progress` gets the
    /// number of bytes sent, at intervals.
    pub fn drain(&self, progress: &dyn Fn(u64)) -> Result<Pushed> {
        self.queue.as_ref().map_or(Ok(Pushed::default()), |queue| queue.drain(progress))
    }
}
