//! Keeps watch over unpacking: how much went in and came out, whether that is too much, and
//! whether the user wants to stop. A reader can only fail with an `io::Error`; the reason in full
//! is kept here.

use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{LIMIT, Options};
use crate::error::{Error, Hint, anyhow};
use crate::units::{Bytes, Human};

/// Only bombs grow this much ...
const RATIO: u64 = 1000;
/// ... beyond this.
const HARMLESS: u64 = 1 << 30;
/// What headers and fillings may add to what files hold.
const OVERHEAD: u64 = 1 << 30;

pub(super) struct Meter<'a> {
    options: &'a Options<'a>,
    /// The length of the archive.
    length: u64,
    /// How much of it was read.
    read: AtomicU64,
    /// What came out.
    out: AtomicU64,
    failure: Mutex<Option<Error>>,
}

impl<'a> Meter<'a> {
    pub(super) fn new(options: &'a Options<'a>, length: u64) -> Meter<'a> {
        let (read, out, failure) = Default::default();
        Meter { options, length, read, out, failure }
    }

    /// On how many threads to decompress.
    pub(super) fn threads(&self) -> usize {
        self.options.threads
    }

    /// `reader` of the archive, watched.
    pub(super) fn input<R: Read>(&self, reader: R) -> Input<'_, R> {
        Input { meter: self, reader }
    }

    /// `reader` of what is decompressed, watched.
    pub(super) fn output<R: Read>(&self, reader: R) -> Output<'_, R> {
        Output { meter: self, reader }
    }

    /// Why reading was made to fail, if it was.
    pub(super) fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }

    fn fail(&self, error: Error) -> io::Error {
        let text = io::Error::other(error.to_string());
        self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(error);
        text
    }

    fn check(&self) -> Result<(), Error> {
        self.options.cancel.check()?;
        let out = self.out.load(Ordering::Relaxed);
        let limit = self.options.limit.unwrap_or(LIMIT);
        if out > limit.0.saturating_add(OVERHEAD) {
            return Err(too_much(limit));
        }
        let read = self.read.load(Ordering::Relaxed);
        if self.options.limit.is_none() && out > HARMLESS && out / RATIO > read {
            let (read, out) = (Human(Bytes(read)), Human(Bytes(out)));
            return Err(anyhow!("{read} of the archive unpack to more than {out}")).hint(
                "this is how archives look that are made to fill disks; if it is not one, set \
                 `limit` to the size of what is in it",
            );
        }
        Ok(())
    }
}

/// The archive holds more than it may.
pub(super) fn too_much(limit: Bytes) -> Error {
    let error = anyhow!("the archive unpacks to more than {limit}");
    crate::error::with_hint(error, "if that is as it should be, set `limit` to a larger size")
}

pub(super) struct Input<'a, R> {
    meter: &'a Meter<'a>,
    reader: R,
}

impl<R: Read> Read for Input<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buf)?;
        let read = self.meter.read.fetch_add(n as u64, Ordering::Relaxed) + n as u64;
        (self.meter.options.report)(read.min(self.meter.length), self.meter.length);
        Ok(n)
    }
}

pub(super) struct Output<'a, R> {
    meter: &'a Meter<'a>,
    reader: R,
}

impl<R: Read> Read for Output<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buf)?;
        self.meter.out.fetch_add(n as u64, Ordering::Relaxed);
        self.meter.check().map_err(|error| self.meter.fail(error))?;
        Ok(n)
    }
}
