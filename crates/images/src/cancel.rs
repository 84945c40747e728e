//! Stopping work that takes long: a flag that everything which waits or copies checks, and the
//! report of how far it is. It knows neither signals nor terminals.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Interrupted, Result};

/// Set once when the user wants to stop; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    parent: Option<Arc<Cancel>>,
}

impl Cancel {
    /// Requests a stop.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was requested, here or of a parent.
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
            || self.parent.as_ref().is_some_and(|parent| parent.is_set())
    }

    /// Fails with [`Interrupted`] once a stop was requested.
    pub fn check(&self) -> Result<()> {
        if self.is_set() { Err(Error::new(Interrupted)) } else { Ok(()) }
    }

    /// The flag itself, for a signal handler.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.flag.clone()
    }

    /// A child: set when this one is, and can be set alone, to end one command early.
    pub fn child(&self) -> Cancel {
        Cancel { flag: Arc::default(), parent: Some(Arc::new(self.clone())) }
    }
}

/// What long work over bytes checks and reports to.
#[derive(Clone, Copy)]
pub struct Progress<'a> {
    /// Checked every few MiB.
    pub cancel: &'a Cancel,
    /// Called with the bytes done and the bytes in all.
    pub report: &'a (dyn Fn(u64, u64) + Sync),
}

impl Progress<'_> {
    /// Reports; fails with [`Interrupted`] once a stop was requested.
    pub fn advance(&self, done: u64, total: u64) -> Result<()> {
        (self.report)(done, total);
        self.cancel.check()
    }
}
