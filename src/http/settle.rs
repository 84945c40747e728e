//! Syncs a file to disk while it is written. With a single sync at the end, a download would wait for
//! the disk there, a second or more for each GiB.

use std::fs::File;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::threads;

/// The bytes that are written between two syncs.
const STEP: u64 = 32 << 20;

/// Syncs a file in a background thread.
pub(super) struct BackgroundSync {
    file: File,
    /// The bytes written since the last sync.
    written: u64,
    worker: Option<(SyncSender<()>, JoinHandle<io::Result<()>>)>,
}

impl BackgroundSync {
    pub fn new(file: &File) -> io::Result<BackgroundSync> {
        Ok(BackgroundSync { file: file.try_clone()?, written: 0, worker: None })
    }

    /// Counts `length` more bytes in the file, and starts a sync if it is due. Does not wait.
    pub fn wrote(&mut self, length: usize) -> io::Result<()> {
        self.written += length as u64;
        if self.written < STEP {
            return Ok(());
        }
        self.written = 0;
        if self.worker.is_none() {
            let file = self.file.try_clone()?;
            let (sender, steps) = sync_channel(1);
            let work = move || steps.iter().try_for_each(|()| file.sync_data());
            self.worker = Some((sender, threads::detach(work)?));
        }
        if let Some((steps, _)) = &self.worker {
            // If a sync is queued already, it includes these bytes.
            let _ = steps.try_send(());
        }
        Ok(())
    }

    /// Waits until the whole file is on the disk.
    pub fn finish(mut self) -> io::Result<()> {
        if let Some((steps, worker)) = self.worker.take() {
            drop(steps);
            worker.join().map_err(|_| io::Error::other("the syncing thread panicked"))??;
        }
        self.file.sync_data()
    }
}
