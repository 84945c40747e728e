//! Not waiting for a VBoxManage that has done its work and does not end.
//!
//! As it ends, VBoxManage stops its threads; one that has just become idle may miss that and sleeps
//! on, for 10 s (`rtReqPoolThreadProc` in `reqpool.cpp`: it resets its event after it looked
//! whether to end). About one command of two hundred does so. So where a command takes long, what
//! it is for is looked after in another way, and if that is there the command is ended.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::cancel::Cancel;
use crate::error::{Result, bail};

/// How long a command may take before somebody looks after it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Does `work`, which stops when the `Cancel` that it gets is set. While it is not done, `other` is
/// tried now and then; what that gives counts as well.
pub fn unless<T: Send>(
    cancel: &Cancel,
    work: impl FnOnce(&Cancel) -> Result<T> + Send,
    other: impl Fn() -> Option<T>,
) -> Result<T> {
    patiently(PATIENCE, cancel, work, other)
}

fn patiently<T: Send>(
    patience: Duration,
    above: &Cancel,
    work: impl FnOnce(&Cancel) -> Result<T> + Send,
    other: impl Fn() -> Option<T>,
) -> Result<T> {
    let cancel = above.child();
    let (sender, ended) = channel();
    std::thread::scope(|scope| {
        let cancel = &cancel;
        scope.spawn(move || drop(sender.send(work(cancel))));
        loop {
            match ended.recv_timeout(patience) {
                Ok(ended) => return ended,
                Err(RecvTimeoutError::Disconnected) => bail!("a thread ended without a word"),
                // The work ends by itself then.
                Err(RecvTimeoutError::Timeout) if above.is_set() => {}
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(answer) = other() {
                        cancel.cancel();
                        return Ok(answer);
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::process::Command;

    fn sleep(seconds: &str, cancel: &Cancel) -> Result<&'static str> {
        let directory = tempfile::tempdir()?;
        Command::new("sleep").arg(seconds).run(&directory.path().join("log"), cancel)?;
        Ok("slept")
    }

    #[test]
    fn what_lingers_is_ended_once_its_work_is_seen() {
        let (patience, cancel) = (Duration::from_millis(100), Cancel::default());
        let start = Instant::now();
        let seen = || (start.elapsed() > Duration::from_millis(250)).then_some("seen");
        let answer = patiently(patience, &cancel, |cancel| sleep("60", cancel), seen);
        assert_eq!(answer.unwrap(), "seen");
        assert!(start.elapsed() < Duration::from_secs(30));
        assert!(!cancel.is_set());
    }

    #[test]
    fn what_ends_by_itself_is_waited_for() {
        let (patience, cancel) = (Duration::from_millis(50), Cancel::default());
        let answer = patiently(patience, &cancel, |cancel| sleep("0.3", cancel), || None);
        assert_eq!(answer.unwrap(), "slept");
        cancel.cancel();
        let answer = patiently(patience, &cancel, |cancel| sleep("60", cancel), || Some("seen"));
        assert!(answer.unwrap_err().is::<crate::error::Interrupted>());
    }
}
