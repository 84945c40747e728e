//! Work in parallel, results in order. Thread `t` of `n` has the jobs `t`, `t + n`, ... and a short
//! queue of its own, so the order, and with it every byte, is the same for any `n`, and memory is
//! bounded however uneven the work is.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::error::{Result, anyhow};
use crate::threads;

/// Results that wait for their turn, for each thread.
const QUEUE: usize = 2;
/// More would take more memory than is worth it.
const MOST_THREADS: usize = 16;

/// Does the jobs 0 to `count` on `threads` by `work`, and hands each result to `take` in order.
pub(crate) fn in_order<T: Send>(
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> io::Result<T> + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let threads = threads.clamp(1, MOST_THREADS).min(count.max(1));
    let work = &work;
    std::thread::scope(|scope| {
        let start = |thread| {
            let (sender, receiver) = sync_channel(QUEUE);
            let jobs = (thread..count).step_by(threads);
            threads::start(scope, move || run_thread(jobs, work, &sender))?;
            Ok(receiver)
        };
        let queues = (0..threads).map(start).collect::<io::Result<Vec<Receiver<_>>>>()?;
        for job in 0..count {
            let result = queues[job % threads].recv();
            // Leaving drops the queues, which ends the threads.
            take(result.map_err(|_| anyhow!("a compressing thread panicked"))??)?;
        }
        Ok(())
    })
}

/// Sends what comes of `jobs`, until the end, an error or until nobody listens.
fn run_thread<T>(
    jobs: impl Iterator<Item = usize>,
    work: impl Fn(usize) -> io::Result<T>,
    sender: &SyncSender<io::Result<T>>,
) {
    for job in jobs {
        let result = work(job);
        let last = result.is_err();
        if sender.send(result).is_err() || last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_errors_end_it() {
        for threads in [0, 1, 3, 100] {
            let mut got = Vec::new();
            in_order(50, threads, Ok, |n| {
                got.push(n);
                Ok(())
            })
            .unwrap();
            assert!(got.iter().copied().eq(0..50));
            let fail = |n| if n == 7 { Err(io::Error::other("seven")) } else { Ok(n) };
            let error = in_order(50, threads, fail, |n| {
                assert!(n < 7);
                Ok(())
            });
            assert_eq!(error.unwrap_err().to_string(), "seven");
        }
        in_order(0, 2, |_| Ok(()), |()| Err(anyhow!("none"))).unwrap();
    }
}
