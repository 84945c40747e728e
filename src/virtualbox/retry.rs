//! Running a VBoxManage command until what it should do is done. A command that failed may have
//! done its work before, and one that did its work may not end; so what the command is for is
//! observed in another way before the command is repeated, and while it takes long.
//!
//! Why one may not end: VBoxManage stops its threads as it ends, and one that has just become idle
//! may miss that and sleep on, for 10 s (`rtReqPoolThreadProc` in `reqpool.cpp`: it resets its
//! event after it looked whether to end). About one command of two hundred does so.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::cancel::Cancel;
use crate::error::{Error, Result, bail};
use crate::threads;

/// How often a command is repeated, and when it is first observed.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Milliseconds to wait before each repetition.
    pub pauses: &'static [u64],
    /// How long a command may run before its effect is looked for, and between two looks.
    pub observe_after: Duration,
}

impl RetryPolicy {
    /// Runs `work`, which ends early when the `Cancel` it is given is set, until it succeeds, until
    /// `observe` finds that what it should do is done, or until it fails for a reason that
    /// `is_transient` does not know. Nothing is repeated that has not been observed before.
    pub fn run_or_observe<T: Send>(
        &self,
        cancel: &Cancel,
        work: impl Fn(&Cancel) -> Result<T> + Sync,
        is_transient: impl Fn(&Error) -> bool,
        observe: impl Fn() -> Option<T>,
    ) -> Result<T> {
        let mut pauses = self.pauses.iter();
        let mut is_repeated = false;
        loop {
            let error = match self.attempt(cancel, &work, &observe) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            cancel.check()?;
            let is_transient = is_transient(&error);
            // A repetition may be refused because the command before it had done the work.
            if (is_transient || is_repeated)
                && let Some(done) = observe()
            {
                return Ok(done);
            }
            match pauses.next().filter(|_| is_transient) {
                Some(pause) => std::thread::sleep(Duration::from_millis(*pause)),
                None => return Err(error),
            }
            cancel.check()?;
            is_repeated = true;
        }
    }

    /// Runs `work` once; while it takes long, what `observe` finds counts as well and ends it.
    fn attempt<T: Send>(
        &self,
        above: &Cancel,
        work: &(impl Fn(&Cancel) -> Result<T> + Sync),
        observe: &impl Fn() -> Option<T>,
    ) -> Result<T> {
        let cancel = above.child();
        let (sender, ended) = channel();
        std::thread::scope(|scope| {
            let cancel = &cancel;
            threads::start(scope, move || drop(sender.send(work(cancel))))?;
            loop {
                match ended.recv_timeout(self.observe_after) {
                    Ok(ended) => return ended,
                    Err(RecvTimeoutError::Disconnected) => bail!("a thread ended without a result"),
                    // The work ends by itself then.
                    Err(RecvTimeoutError::Timeout) if above.is_set() => {}
                    Err(RecvTimeoutError::Timeout) => {
                        if let Some(done) = observe() {
                            cancel.cancel();
                            return Ok(done);
                        }
                    }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;
    use crate::error::anyhow;
    use crate::process::Command;

    fn policy(milliseconds: u64) -> RetryPolicy {
        let observe_after = Duration::from_millis(milliseconds);
        RetryPolicy { pauses: &[1; 3], observe_after }
    }

    fn sleep(seconds: &str, cancel: &Cancel) -> Result<&'static str> {
        let directory = tempfile::tempdir()?;
        Command::new("sleep").arg(seconds).run(&directory.path().join("log"), cancel)?;
        Ok("slept")
    }

    #[test]
    fn a_command_that_lingers_is_ended_once_its_effect_is_observed() {
        let cancel = Cancel::default();
        let start = Instant::now();
        let observe = || (start.elapsed() > Duration::from_millis(250)).then_some("observed");
        let work = |cancel: &Cancel| sleep("60", cancel);
        let answer = policy(100).run_or_observe(&cancel, work, |_| false, observe);
        assert_eq!(answer.unwrap(), "observed");
        assert!(start.elapsed() < Duration::from_secs(30));
        assert!(!cancel.is_set());
    }

    #[test]
    fn a_command_that_ends_by_itself_is_waited_for() {
        let cancel = Cancel::default();
        let work = |cancel: &Cancel| sleep("0.3", cancel);
        let answer = policy(50).run_or_observe(&cancel, work, |_| false, || None);
        assert_eq!(answer.unwrap(), "slept");
        cancel.cancel();
        let work = |cancel: &Cancel| sleep("60", cancel);
        let answer = policy(50).run_or_observe(&cancel, work, |_| true, || Some("observed"));
        assert!(answer.unwrap_err().is::<crate::error::Interrupted>());
    }

    /// Runs a command that fails each time with the next of `errors`, and whose effect is there
    /// after `done_after` runs; gives its outcome and how often it was run.
    fn run(errors: &[&str], done_after: usize) -> (Result<&'static str>, usize) {
        let (runs, observed) = (AtomicUsize::new(0), Cell::new(0));
        let work = |_: &Cancel| match errors.get(runs.fetch_add(1, Ordering::SeqCst)) {
            Some(error) => Err(anyhow!("{error}")),
            None => Ok("ended"),
        };
        let observe = || {
            observed.set(observed.get() + 1);
            (runs.load(Ordering::SeqCst) >= done_after).then_some("observed")
        };
        let is_transient = |error: &Error| error.to_string() == "lost";
        let done = policy(60_000).run_or_observe(&Cancel::default(), work, is_transient, observe);
        (done, runs.load(Ordering::SeqCst))
    }

    #[test]
    fn what_has_been_done_is_not_repeated() {
        for (errors, done_after, outcome, runs) in [
            (&[][..], 9, Ok("ended"), 1),
            (&["lost"], 1, Ok("observed"), 1),
            (&["lost"], 9, Ok("ended"), 2),
            (&["lost", "lost"], 2, Ok("observed"), 2),
            (&["refused"], 1, Err("refused"), 1),
            // The observation failed as well, and the repetition finds the work done.
            (&["lost", "exists"], 2, Ok("observed"), 2),
            (&["lost", "exists"], 9, Err("exists"), 2),
            (&["lost"; 9], 99, Err("lost"), 4),
        ] {
            let (found, count) = run(errors, done_after);
            let found = found.as_deref().map_err(ToString::to_string);
            assert_eq!((found, count), (outcome.map_err(String::from), runs), "{errors:?}");
        }
    }
}
