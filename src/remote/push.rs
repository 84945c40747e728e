//! Results on their way to a remote, in the background. What is to go is noted in the cache
//! first (`outbox/KEY`), so what a build had no time for goes with the next one; the queue in
//! memory holds keys alone, and is short.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::shelf::Desk;
use super::{name, object, trust};
use crate::cache::{Origin, Record};
use crate::error::{Context, Error, Result, anyhow, caused_by};
use crate::files::Lock;
use crate::recipe::Key;

/// So many keys wait in memory; more are found in the outbox in the end.
const DEPTH: usize = 64;

/// How often somebody who waits is told.
const LOOK: Duration = Duration::from_millis(100);

/// What was brought to a remote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Results.
    pub results: usize,
    /// Bytes that were sent for them.
    pub bytes: u64,
}

/// See the file.
pub(super) struct Queue {
    desk: Arc<Desk>,
    done: Arc<AtomicUsize>,
    at_work: Mutex<Option<(SyncSender<Key>, JoinHandle<()>)>>,
}

impl Queue {
    /// An empty one.
    pub fn new(desk: Arc<Desk>) -> Queue {
        Queue { desk, done: Arc::default(), at_work: Mutex::default() }
    }

    /// Notes `key`, and has it brought when its turn comes.
    pub fn offer(&self, key: &Key) -> Result<()> {
        self.desk.cache.write_aside(&self.desk.outbox().join(key.to_string()), b"")?;
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, _) = at_work.get_or_insert_with(|| self.start());
        match sender.try_send(*key) {
            // The outbox has it.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    fn start(&self) -> (SyncSender<Key>, JoinHandle<()>) {
        let (sender, keys) = sync_channel(DEPTH);
        let (desk, done) = (self.desk.clone(), self.done.clone());
        (sender, std::thread::spawn(move || work(&desk, &keys, &done)))
    }

    /// Waits for everything that is noted.
    pub fn drain(&self, told: &dyn Fn(u64)) -> Result<Pushed> {
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        if at_work.is_none() && self.desk.waiting()?.is_empty() {
            return Ok(Pushed::default());
        }
        let (sender, worker) = at_work.take().unwrap_or_else(|| self.start());
        drop(sender);
        while !worker.is_finished() {
            told(self.desk.sent.load(Ordering::Relaxed));
            std::thread::sleep(LOOK);
        }
        worker.join().map_err(|_| anyhow!("the thread that brings results away panicked"))?;
        let bytes = self.desk.sent.load(Ordering::Relaxed);
        Ok(Pushed { results: self.done.load(Ordering::Relaxed), bytes })
    }
}

/// Brings what comes, and in the end what lies in the outbox besides.
fn work(desk: &Desk, keys: &Receiver<Key>, done: &AtomicUsize) {
    let rest = || desk.waiting().unwrap_or_default();
    // `rest` is asked once the sender is gone.
    let all = keys.iter().chain(std::iter::once_with(rest).flatten());
    for key in all {
        if desk.is_broken() || desk.cancel.is_set() {
            return;
        }
        match desk.bring(&key) {
            Ok(Brought::Now) => {
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Brought::Before) => {}
            Err(error) => {
                if caused_by::<crate::error::Interrupted>(&error).is_none() {
                    desk.closed(&error);
                }
                return;
            }
        }
    }
}

enum Brought {
    Now,
    Before,
}

impl Desk {
    fn outbox(&self) -> PathBuf {
        self.cache.directory().join("outbox")
    }

    /// The keys in the outbox.
    fn waiting(&self) -> Result<Vec<Key>> {
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

    /// Brings one result: its object, then its record, so that a record never promises what is
    /// not there.
    fn bring(&self, key: &Key) -> Result<Brought> {
        let note = self.outbox().join(key.to_string());
        let lock = self.cache.directory().join("locks").join(format!("push-{key}"));
        let Some(_alone) = Lock::try_exclusive(&lock)? else { return Ok(Brought::Before) };
        if !note.exists() {
            return Ok(Brought::Before);
        }
        if let Some(record) = self.cache.find(key)? {
            let file = self.cache.object(&record.output);
            object::send(
                &*self.remote,
                &file,
                &record.output,
                &self.bad(),
                &self.sent,
                &self.cancel,
            )?;
            let record = Record { origin: Origin::Here, ..record };
            let sealed = trust::seal(&record, self.key.as_ref()).map_err(Error::new)?;
            self.remote.put(&name("records", key, "json"), &sealed)?;
            self.sent.fetch_add(sealed.len() as u64, Ordering::Relaxed);
        }
        std::fs::remove_file(&note).with_context(|| format!("removing {}", note.display()))?;
        Ok(Brought::Now)
    }
}
