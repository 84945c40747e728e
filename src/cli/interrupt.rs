//! SIGINT and SIGTERM: the first asks a build to stop, the second ends kuth at once. Knows only the
//! cancellation flag.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::unregister;
use signal_hook::{SigId, flag};

use super::{Exit, screen};
use crate::cancel::Cancel;
use crate::error::{Context, Result};
use crate::threads;

const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// How long a build may take to stop. What is not cleaned up by then (a download that waits for its
/// server), the next build cleans up; commands are killed with kuth.
const STOP_TIMEOUT: Duration = Duration::from_millis(1700);

// The help promises two seconds. A test with a clock could not distinguish a longer wait from a
// busy machine.
const _: () = assert!(STOP_TIMEOUT.as_millis() < 2000);

const INSTALLING: &str = "installing signal handlers";

/// Ends kuth at the first signal; for commands that leave no unfinished work.
pub fn exit_at_once() -> Result<()> {
    let always = Arc::new(AtomicBool::new(true));
    for signal in SIGNALS {
        let status = i32::from(Exit::Interrupted.status());
        flag::register_conditional_shutdown(signal, status, always.clone()).context(INSTALLING)?;
    }
    Ok(())
}

/// What [`gracefully`] installed.
pub struct Handlers {
    installed: Vec<SigId>,
    ignores: Arc<AtomicBool>,
}

impl Handlers {
    /// Ignores signals from now on: they are for a program that has the terminal.
    pub fn ignore(self) {
        self.ignores.store(true, Ordering::SeqCst);
        for id in self.installed {
            unregister(id);
        }
    }
}

/// Sets `cancel` at the first signal. Ends kuth at the second, or when stopping takes too long.
pub fn gracefully(cancel: &Cancel) -> Result<Handlers> {
    let status = i32::from(Exit::Interrupted.status());
    let mut installed = Vec::new();
    for signal in SIGNALS {
        // In this order: the first signal must not see the flag that it sets itself.
        let ends = flag::register_conditional_shutdown(signal, status, cancel.flag());
        installed.push(ends.context(INSTALLING)?);
        installed.push(flag::register(signal, cancel.flag()).context(INSTALLING)?);
    }
    let ignores = Arc::new(AtomicBool::new(false));
    let handlers = Handlers { installed, ignores: ignores.clone() };
    let mut signals = Signals::new(SIGNALS).context(INSTALLING)?;
    threads::detach(move || {
        if signals.forever().any(|_| !ignores.load(Ordering::SeqCst)) {
            std::thread::sleep(STOP_TIMEOUT);
            screen::talk("interrupted; the next build removes unfinished work");
            std::process::exit(status);
        }
    })
    .context(INSTALLING)?;
    Ok(handlers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_sets_the_flag() {
        let cancel = Cancel::default();
        // Registered without the watching thread, which would end the test.
        let id = flag::register(signal_hook::consts::SIGUSR1, cancel.flag()).unwrap();
        signal_hook::low_level::raise(signal_hook::consts::SIGUSR1).unwrap();
        assert!(cancel.check().is_err());
        signal_hook::low_level::unregister(id);
    }
}
