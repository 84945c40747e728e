//! Uploads results to a remote in the background. Each result is recorded in the local cache first
//! (`outbox/KEY`), so what a build does not finish, the next one uploads. The queue in memory is short
//! and holds only keys.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::connection::Connection;
use super::object::{self, Target};
use super::{name, trust};
use crate::cache::{Origin, Record};
use crate::error::{Context, Error, Result, anyhow, caused_by};
use crate::files::Lock;
use crate::recipe::Key;
use crate::threads;

/// The number of keys that are queued in memory; others are read from the outbox at the end.
const QUEUE_LENGTH: usize = 64;

/// The interval of progress reports.
const INTERVAL: Duration = Duration::from_millis(100);

/// What was pushed to a remote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// The number of results.
    pub results: usize,
    /// The number of bytes that were sent.
    pub bytes: u64,
}

/// The queue of uploads and its thread.
pub(super) struct Queue {
    connection: Arc<Connection>,
    done: Arc<AtomicUsize>,
    at_work: Mutex<Option<(SyncSender<Key>, JoinHandle<()>)>>,
}

impl Queue {
    /// An empty queue. The thread is started with the first upload.
    pub fn new(connection: Arc<Connection>) -> Queue {
        Queue { connection, done: Arc::default(), at_work: Mutex::default() }
    }

    /// Records `key` in the outbox.
    pub fn note(&self, key: &Key) -> Result<()> {
        self.connection.cache.write_aside(&self.connection.outbox().join(key.to_string()), b"")
    }

    /// Records `key` in the outbox and queues it for upload.
    pub fn offer(&self, key: &Key) -> Result<()> {
        self.note(key)?;
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        if at_work.is_none() {
            *at_work = Some(self.start()?);
        }
        let Some((sender, _)) = &*at_work else { return Ok(()) };
        match sender.try_send(*key) {
            // If the queue is full, the outbox has it.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    fn start(&self) -> Result<(SyncSender<Key>, JoinHandle<()>)> {
        let (sender, keys) = sync_channel(QUEUE_LENGTH);
        let (connection, done) = (self.connection.clone(), self.done.clone());
        Ok((sender, threads::detach(move || upload_all(&connection, &keys, &done))?))
    }

    /// Waits until the outbox is empty.
    pub fn drain(&self, progress: &dyn Fn(u64)) -> Result<Pushed> {
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        if at_work.is_none() && self.connection.outbox_keys()?.is_empty() {
            return Ok(Pushed::default());
        }
        let (sender, worker) = at_work.take().map_or_else(|| self.start(), Ok)?;
        drop(sender);
        while !worker.is_finished() {
            progress(self.connection.sent.load(Ordering::Relaxed));
            std::thread::sleep(INTERVAL);
        }
        worker.join().map_err(|_| anyhow!("the upload thread panicked"))?;
        let bytes = self.connection.sent.load(Ordering::Relaxed);
        Ok(Pushed { results: self.done.load(Ordering::Relaxed), bytes })
    }
}

/// Uploads the queued results, then those that are only in the outbox.
fn upload_all(connection: &Connection, keys: &Receiver<Key>, done: &AtomicUsize) {
    let rest = || connection.outbox_keys().unwrap_or_default();
    // The outbox is read once the queue is closed.
    let all = keys.iter().chain(std::iter::once_with(rest).flatten());
    for key in all {
        if connection.is_broken() || connection.cancel.is_set() {
            return;
        }
        match connection.upload(&key) {
            Ok(Upload::Done) => {
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Upload::NotNeeded) => {}
            Err(error) => {
                if caused_by::<crate::error::Interrupted>(&error).is_none() {
                    connection.report_push_failure(&error);
                }
                return;
            }
        }
    }
}

enum Upload {
    Done,
    /// Another process uploads the result, or has done so, or there is none.
    NotNeeded,
}

impl Connection {
    fn outbox(&self) -> PathBuf {
        self.cache.directory().join("outbox")
    }

    /// The keys in the outbox.
    fn outbox_keys(&self) -> Result<Vec<Key>> {
        let directory = self.outbox();
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", directory.display()));
            }
        };
        let key = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok().map(Key);
        Ok(entries.flatten().filter_map(key).collect())
    }

    /// Uploads one result: first its object, then its record, so that no record refers to a missing
    /// object.
    fn upload(&self, key: &Key) -> Result<Upload> {
        let note = self.outbox().join(key.to_string());
        let lock = self.cache.directory().join("locks").join(format!("push-{key}"));
        let Some(_lock) = Lock::try_exclusive(&lock)? else { return Ok(Upload::NotNeeded) };
        if !note.exists() {
            return Ok(Upload::NotNeeded);
        }
        let found = self.cache.find(key)?;
        let outcome = if found.is_some() { Upload::Done } else { Upload::NotNeeded };
        if let Some(record) = found {
            let file = self.cache.object(&record.output);
            let target = Target {
                remote: &*self.remote,
                damaged: self.damaged(),
                known: &self.known,
                stage: self.cache.stage_of(key),
                sent: &self.sent,
                cancel: &self.cancel,
            };
            object::send(&target, &file, &record.output)?;
            let record = Record { origin: Origin::Here, ..record };
            let sealed = trust::seal(&record, self.key.as_ref()).map_err(Error::new)?;
            self.remote.put(&name("records", key, "json"), &sealed)?;
            self.sent.fetch_add(sealed.len() as u64, Ordering::Relaxed);
        }
        std::fs::remove_file(&note).with_context(|| format!("removing {}", note.display()))?;
        Ok(outcome)
    }
}
