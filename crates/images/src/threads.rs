//! Threads that the system may refuse. A container or a user may have as many as it is allowed to have;
//! `std::thread::spawn` and `Scope::spawn` panic then. Here it is an error, or the work takes longer.

use std::io;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder, JoinHandle, Scope, ScopedJoinHandle};

/// Starts `work` in a thread of `scope`.
///
/// # Errors
/// The system has no more threads.
pub fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().spawn_scoped(scope, work).map_err(refused)
}

/// Starts `work` in a thread that may outlive its caller.
///
/// # Errors
/// The system has no more threads.
pub fn detach<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().spawn(work).map_err(refused)
}

fn refused(error: io::Error) -> io::Error {
    let limit = "the limit of processes of this user or container is too low";
    io::Error::new(error.kind(), format!("cannot start a thread: {error}; {limit}"))
}

/// Does `work` for each item, on up to `threads` threads with the caller's, and begins them in order.
/// Where the system refuses threads, fewer do it.
///
/// # Errors
/// The first error of `work`; nothing more is begun after it, and what was begun is ended first.
pub fn for_each<I: Sync, E: Send>(
    items: &[I],
    threads: usize,
    work: impl Fn(&I) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let run = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = work(item) {
                next.store(items.len(), Ordering::Relaxed);
                failure
                    .lock()
                    .unwrap_or_else(|poisoned| poisoned.into_inner())
                    .get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        let others = threads.min(items.len()).saturating_sub(1);
        let others: Vec<_> = (0..others).map_while(|_| start(scope, run).ok()).collect();
        run();
        others
            .into_iter()
            .for_each(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
    });
    let failure = failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    failure.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_is_worked_on_once_by_any_number_of_threads() {
        for threads in [0, 1, 3, 100] {
            let items: Vec<AtomicUsize> = (0..20).map(|_| AtomicUsize::new(0)).collect();
            let work = |item: &AtomicUsize| -> Result<(), ()> {
                item.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            for_each(&items, threads, work).unwrap();
            assert!(items.iter().all(|item| item.load(Ordering::Relaxed) == 1), "{threads}");
        }
    }

    #[test]
    fn after_an_error_nothing_is_begun() {
        let begun = AtomicUsize::new(0);
        let work = |item: &usize| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *item == 3 { Err(*item) } else { Ok(()) }
        };
        assert_eq!(for_each(&(0..1000).collect::<Vec<usize>>(), 1, work), Err(3));
        assert_eq!(begun.into_inner(), 4);
    }
}
