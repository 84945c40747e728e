//! A file that is on its way to the disk while it still grows. Synced at the end alone, the last part
//! of a download would be waiting for the disk, a second and more for each GiB.

use std::fs::File;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// So much is written before the disk is asked to go on with it.
const STEP: u64 = 32 << 20;

/// Syncs a file behind whoever writes it.
pub(super) struct Settling {
    file: File,
    /// Since the last step.
    written: u64,
    worker: Option<(SyncSender<()>, JoinHandle<io::Result<()>>)>,
}

impl Settling {
    pub fn new(file: &File) -> io::Result<Settling> {
        Ok(Settling { file: file.try_clone()?, written: 0, worker: None })
    }

    /// Tells of `length` more bytes in the file. Never waits.
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
            self.worker = Some((sender, std::thread::spawn(work)));
        }
        if let Some((steps, _)) = &self.worker {
            // A step that is waiting already takes this one along.
            let _ = steps.try_send(());
        }
        Ok(())
    }

    /// Waits until all of it is on the disk.
    pub fn finish(mut self) -> io::Result<()> {
        if let Some((steps, worker)) = self.worker.take() {
            drop(steps);
            worker.join().map_err(|_| io::Error::other("the syncing thread panicked"))??;
        }
        self.file.sync_data()
    }
}
