//! The connection of a build to a remote: how it is used, what is known about it, and how its failures
//! are reported.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Remote;
use super::known::Known;
use super::object::{self, Damaged};
use super::trust::{PrivateKey, Refusal, Trust};
use super::warn::{Problem, Warn, WarnOnce};
use crate::artifact::Artifact;
use crate::cache::{Cache, hash_object};
use crate::cancel::Cancel;
use crate::error::{Context, Error, Interrupted, Result, caused_by};

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

/// The remote and what is known about it; shared with the upload thread.
pub(super) struct Connection {
    pub remote: Box<dyn Remote>,
    pub cache: Arc<Cache>,
    pub key: Option<PrivateKey>,
    pub cancel: Cancel,
    pub sent: AtomicU64,
    pub trust: Trust,
    /// Where chunks lie.
    pub known: Known,
    /// The address, for messages.
    pub address: String,
    warnings: WarnOnce,
    /// A request failed, so no further ones are made.
    broken: AtomicBool,
    /// Names whose content on the remote is damaged; they are uploaded again.
    damaged: Mutex<BTreeSet<String>>,
}

impl Connection {
    /// Opens the remote. Makes no request yet.
    pub fn open(
        settings: &RemoteSettings,
        cache: Arc<Cache>,
        cancel: Cancel,
        warn: Warn,
    ) -> Result<Connection> {
        Ok(Connection {
            remote: super::open(&settings.address, &settings.root, settings.timeout)?,
            cache,
            key: settings.key.clone(),
            cancel,
            sent: AtomicU64::new(0),
            trust: settings.trust.clone(),
            known: Known::default(),
            address: super::shown(&settings.address),
            warnings: WarnOnce::new(warn),
            broken: AtomicBool::new(false),
            damaged: Mutex::default(),
        })
    }

    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Names whose content is uploaded even if the remote has them.
    pub fn damaged(&self) -> BTreeSet<String> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that the content of `names` on the remote is damaged.
    pub fn mark_damaged(&self, names: impl IntoIterator<Item = String>) {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
    }

    /// The value, or `None` for a failure of the remote, which is reported. The only error is
    /// [`Interrupted`].
    pub fn value_or_warn<T>(&self, outcome: Result<T>) -> Result<Option<T>> {
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
    pub fn check(&self, artifact: &Artifact, file: &Path) -> Result<()> {
        if hash_object(file, artifact.hashing)? == artifact.digest {
            return Ok(());
        }
        // Each chunk has its digest, but they do not make up this object.
        Err(Error::new(Damaged(object::manifest_name(artifact))))
            .context("comparing the object with its digest")
    }

    /// Reports that the record `name` is not used.
    pub fn refuse(&self, name: String, refusal: Refusal) {
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
