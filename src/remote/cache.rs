//! The remote cache of a build: looks up records by key, fetches objects of artifacts, and queues
//! results for upload. Every failure of the remote is a cache miss, and is reported once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::object::{self, Damaged};
use super::push::Queue;
use super::trust::{self, PrivateKey, Refusal, Trust};
use super::warn::{Problem, Warn, WarnOnce};
use super::{Pushed, Remote, name};
use crate::artifact::Artifact;
use crate::cache::{Cache, Origin, Record, hash_object};
use crate::cancel::Cancel;
use crate::error::{Context, Error, Interrupted, Result, caused_by};
use crate::recipe::Key;

/// The limit for the size of a record, in bytes.
const MAX_RECORD: u64 = 16 << 20;

/// What a build may do with a remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Fetch results.
    Read,
    /// Fetch and push results.
    ReadWrite,
}

/// A remote cache and how it is used.
#[derive(Clone, Debug)]
pub struct RemoteSettings {
    /// Its address.
    pub address: String,
    /// The base of a relative directory in `address`.
    pub root: PathBuf,
    /// What the build may do with it.
    pub mode: Mode,
    /// The trusted signers of records.
    pub trust: Trust,
    /// Signs the records that are pushed.
    pub key: Option<PrivateKey>,
    /// The limit for one request.
    pub timeout: Duration,
}

/// A remote cache that a build uses.
pub struct RemoteCache {
    pub(super) connection: Arc<Connection>,
    queue: Option<Queue>,
}

/// The remote and what is known about it; shared with the upload thread.
pub(super) struct Connection {
    pub remote: Box<dyn Remote>,
    pub cache: Arc<Cache>,
    pub key: Option<PrivateKey>,
    pub cancel: Cancel,
    pub sent: AtomicU64,
    trust: Trust,
    address: String,
    warnings: WarnOnce,
    /// A request failed, so no further ones are made.
    broken: AtomicBool,
    /// Names whose content on the remote is damaged; they are uploaded again.
    damaged: Mutex<BTreeSet<String>>,
}

impl RemoteCache {
    /// Opens the remote for a build that uses `cache`. Makes no request yet.
    pub fn open(
        settings: &RemoteSettings,
        cache: Arc<Cache>,
        cancel: Cancel,
        warn: Warn,
    ) -> Result<RemoteCache> {
        let remote = super::open(&settings.address, &settings.root, settings.timeout)?;
        let connection = Arc::new(Connection {
            remote,
            cache,
            key: settings.key.clone(),
            cancel,
            sent: AtomicU64::new(0),
            trust: settings.trust.clone(),
            address: super::shown(&settings.address),
            warnings: WarnOnce::new(warn),
            broken: AtomicBool::new(false),
            damaged: Mutex::default(),
        });
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
                .and_then(|()| connection.check(artifact, &file));
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

impl Connection {
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Names whose content is uploaded even if the remote has them.
    pub fn damaged(&self) -> BTreeSet<String> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn mark_damaged(&self, names: impl IntoIterator<Item = String>) {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
    }

    /// The value, or `None` for a failure of the remote, which is reported. The only error is
    /// [`Interrupted`].
    fn value_or_warn<T>(&self, outcome: Result<T>) -> Result<Option<T>> {
        let error = match outcome {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        if caused_by::<Interrupted>(&error).is_some() || self.cancel.is_set() {
            return Err(Error::new(Interrupted));
        }
        match caused_by::<Damaged>(&error) {
            Some(Damaged(_)) => {
                self.warnings.once(Problem::Damaged, || {
                    format!("the remote cache {}: {error}; it is built here instead", self.address)
                });
            }
            None => {
                self.broken.store(true, Ordering::Relaxed);
                self.warnings.once(Problem::Unreachable, || {
                    let why = line(&error);
                    format!(
                        "the remote cache {} failed and is not used any more: {why}",
                        self.address
                    )
                });
            }
        }
        Ok(None)
    }

    /// Reports that results could not be pushed.
    pub fn report_push_failure(&self, error: &Error) {
        self.warnings.once(Problem::NotWritable, || {
            let why = line(error);
            format!("results could not be pushed to the remote cache {}: {why}", self.address)
        });
    }

    /// Compares a fetched object with its digest.
    fn check(&self, artifact: &Artifact, file: &Path) -> Result<()> {
        if hash_object(file, artifact.hashing)? == artifact.digest {
            return Ok(());
        }
        // Each chunk has its digest, but they do not make up this object.
        Err(Error::new(Damaged(object::manifest_name(artifact))))
            .context("comparing the object with its digest")
    }

    fn refuse(&self, name: String, refusal: Refusal) {
        let address = &self.address;
        match refusal {
            Refusal::Damaged => {
                self.warnings.once(Problem::Damaged, || {
                    format!("the remote cache {address}: {name} is damaged and not used")
                });
            }
            Refusal::Unsigned => self.warnings.once(Problem::Untrusted, || {
                format!("the remote cache {address}: {name} is not signed and not used")
            }),
            Refusal::Untrusted(key) => self.warnings.once(Problem::Untrusted, || {
                format!(
                    "the remote cache {address}: {name} is signed by {key}, which is not a \
                     trusted key; it is not used"
                )
            }),
        }
    }
}

/// The chain on one line.
fn line(error: &Error) -> String {
    format!("{error:#}").replace('\n', " ")
}
