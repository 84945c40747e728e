//! A remote as a build sees it: asked for records by key, for objects of artifacts, and offered
//! what was made. Whatever is wrong with it is a miss here, and told once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::object::{self, Damaged};
use super::push::Queue;
use super::told::{Trouble, Warn, WarnOnce};
use super::trust::{self, PrivateKey, Refusal, Trust};
use super::{Pushed, Remote, name};
use crate::artifact::Artifact;
use crate::cache::{Cache, Origin, Record, hash_object};
use crate::cancel::Cancel;
use crate::error::{Context, Error, Interrupted, Result, caused_by};
use crate::recipe::Key;

/// A record may be so long.
const MOST_RECORD: u64 = 16 << 20;

/// What may be done with a remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Results are taken from it.
    Read,
    /// And brought to it.
    ReadWrite,
}

/// Which remote, and on what terms.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Its address.
    pub address: String,
    /// What a directory is relative to.
    pub root: PathBuf,
    /// What may be done with it.
    pub mode: Mode,
    /// Whose records count.
    pub trust: Trust,
    /// Signs what is brought to it.
    pub key: Option<PrivateKey>,
    /// The most that one request may take.
    pub patience: Duration,
}

/// See the file.
pub struct RemoteCache {
    pub(super) desk: Arc<Desk>,
    queue: Option<Queue>,
}

/// What the threads of a shelf share.
pub(super) struct Desk {
    pub remote: Box<dyn Remote>,
    pub cache: Arc<Cache>,
    pub key: Option<PrivateKey>,
    pub cancel: Cancel,
    pub sent: AtomicU64,
    trust: Trust,
    address: String,
    told: WarnOnce,
    /// It did not answer, so it is not asked again.
    broken: AtomicBool,
    /// What it gave for these names was damaged; it gets them anew.
    bad: Mutex<BTreeSet<String>>,
}

impl RemoteCache {
    /// Opens the remote for a build that uses `cache`. Nothing is asked of it yet.
    pub fn open(
        terms: &Terms,
        cache: Arc<Cache>,
        cancel: Cancel,
        tell: Warn,
    ) -> Result<RemoteCache> {
        let remote = super::open(&terms.address, &terms.root, terms.patience)?;
        let desk = Arc::new(Desk {
            remote,
            cache,
            key: terms.key.clone(),
            cancel,
            sent: AtomicU64::new(0),
            trust: terms.trust.clone(),
            address: super::shown(&terms.address),
            told: WarnOnce::new(tell),
            broken: AtomicBool::new(false),
            bad: Mutex::default(),
        });
        let queue = (terms.mode == Mode::ReadWrite).then(|| Queue::new(desk.clone()));
        Ok(RemoteCache { desk, queue })
    }

    /// The address, for people.
    pub fn address(&self) -> &str {
        &self.desk.address
    }

    /// Whether results are brought to it.
    pub fn takes(&self) -> bool {
        self.queue.is_some()
    }

    /// What the remote records under `key`, if that counts; noted in the cache.
    pub fn record(&self, key: &Key) -> Result<Option<Record>> {
        let desk = &self.desk;
        if desk.is_broken() {
            return Ok(None);
        }
        let name = name("records", key, "json");
        let Some(bytes) = desk.settled(desk.remote.get(&name, MOST_RECORD))?.flatten() else {
            return Ok(None);
        };
        match trust::open(&bytes, key, &desk.trust) {
            Ok(record) => {
                let record = Record { origin: Origin::Remote, ..record };
                desk.cache.note(key, &record)?;
                Ok(Some(record))
            }
            Err(refusal) => {
                desk.refuse(name, refusal);
                Ok(None)
            }
        }
    }

    /// Brings the object of `artifact` into the cache. `false` if that cannot be done.
    pub fn fetch(&self, artifact: &Artifact, told: &(dyn Fn(u64, u64) + Sync)) -> Result<bool> {
        let desk = &self.desk;
        if desk.is_broken() {
            return Ok(false);
        }
        let scratch = desk.cache.scratch()?;
        let file = scratch.path().join("object");
        let fetched = object::fetch(&*desk.remote, artifact, &file, &desk.cancel, told)
            .and_then(|()| desk.check(artifact, &file));
        if let Err(error) = &fetched
            && self.takes()
            && caused_by::<Damaged>(error).is_some()
        {
            // Which of its parts are sound is not worth finding out.
            desk.mark_bad(object::names(&*desk.remote, artifact));
        }
        if desk.settled(fetched)?.is_none() {
            return Ok(false);
        }
        desk.cache.adopt(&file, &desk.cache.object(artifact))?;
        Ok(true)
    }

    /// Brings the result under `key`, which is in the cache, to the remote: soon, and at the
    /// latest with [`RemoteCache::drain`].
    pub fn offer(&self, key: &Key) -> Result<()> {
        self.queue.as_ref().map_or(Ok(()), |queue| queue.offer(key))
    }

    /// Waits until everything offered is brought, also what an earlier build had to leave. `told`
    /// hears how many bytes went, now and then.
    pub fn drain(&self, told: &dyn Fn(u64)) -> Result<Pushed> {
        self.queue.as_ref().map_or(Ok(Pushed::default()), |queue| queue.drain(told))
    }
}

impl Desk {
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Names whose content is to be sent whatever the remote has.
    pub fn bad(&self) -> BTreeSet<String> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn mark_bad(&self, names: impl IntoIterator<Item = String>) {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
    }

    /// The value, or `None` for a failure of the remote, which is told. What is passed on as an
    /// error is that somebody wants to stop.
    fn settled<T>(&self, outcome: Result<T>) -> Result<Option<T>> {
        let error = match outcome {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        if caused_by::<Interrupted>(&error).is_some() || self.cancel.is_set() {
            return Err(Error::new(Interrupted));
        }
        match caused_by::<Damaged>(&error) {
            Some(Damaged(_)) => {
                self.told.once(Trouble::Damaged, || {
                    format!("the remote cache {}: {error}; it is made here instead", self.address)
                });
            }
            None => {
                self.broken.store(true, Ordering::Relaxed);
                self.told.once(Trouble::Broken, || {
                    let why = line(&error);
                    format!("the remote cache {} is not used further: {why}", self.address)
                });
            }
        }
        Ok(None)
    }

    /// Tells that the remote cannot be written.
    pub fn closed(&self, error: &Error) {
        self.told.once(Trouble::Closed, || {
            let why = line(error);
            format!("results could not be brought to the remote cache {}: {why}", self.address)
        });
    }

    /// Compares a fetched object with its digest.
    fn check(&self, artifact: &Artifact, file: &Path) -> Result<()> {
        if hash_object(file, artifact.hashing)? == artifact.digest {
            return Ok(());
        }
        // Its chunks are sound, but it is not made of these.
        Err(Error::new(Damaged(object::manifest_name(artifact))))
            .context("comparing the object with its digest")
    }

    fn refuse(&self, name: String, refusal: Refusal) {
        let address = &self.address;
        match refusal {
            Refusal::Damaged => {
                self.told.once(Trouble::Damaged, || {
                    format!("the remote cache {address}: {name} is damaged; it is not used")
                });
            }
            Refusal::Unsigned => self.told.once(Trouble::Foreign, || {
                format!("the remote cache {address}: {name} is not signed; it is not used")
            }),
            Refusal::Stranger(key) => self.told.once(Trouble::Foreign, || {
                format!(
                    "the remote cache {address}: {name} is signed by {key}, which is not among \
                     the trusted keys; it is not used"
                )
            }),
        }
    }
}

/// The chain on one line.
fn line(error: &Error) -> String {
    format!("{error:#}").replace('\n', " ")
}
