//! What SIGINT and SIGTERM do: the first asks a build to stop, a second ends kuth at once. Knows
//! only the flag that everything that waits looks at.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use super::{Exit, screen};
use crate::cancel::Cancel;
use crate::error::{Context, Result};

const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// How long a build may take to stop. What is not cleaned up by then (a download that waits for
/// its server) the next build cleans up; commands die with kuth.
const PATIENCE: Duration = Duration::from_millis(1700);

// Two seconds are promised. A test with a clock could not tell a longer wait from a busy machine.
const _: () = assert!(PATIENCE.as_millis() < 2000);

const DOING: &str = "preparing for interruption";

/// Ends kuth as interrupted at the first signal; for commands that leave nothing half done.
pub fn at_once() -> Result<()> {
    let always = Arc::new(AtomicBool::new(true));
    for signal in SIGNALS {
        let status = i32::from(Exit::Interrupted.status());
        flag::register_conditional_shutdown(signal, status, always.clone()).context(DOING)?;
    }
    Ok(())
}

/// Sets `cancel` at the first signal; ends kuth at the second, and when stopping takes too long.
pub fn gracefully(cancel: &Cancel) -> Result<()> {
    let status = i32::from(Exit::Interrupted.status());
    for signal in SIGNALS {
        // In this order, so that the first signal does not find its own mark.
        flag::register_conditional_shutdown(signal, status, cancel.flag()).context(DOING)?;
        flag::register(signal, cancel.flag()).context(DOING)?;
    }
    let mut signals = Signals::new(SIGNALS).context(DOING)?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            std::thread::sleep(PATIENCE);
            screen::talk("interrupted; the next build removes what is left behind");
            std::process::exit(status);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_sets_the_flag() {
        let cancel = Cancel::default();
        // Registered without the watch, which would end the test.
        let id = flag::register(signal_hook::consts::SIGUSR1, cancel.flag()).unwrap();
        signal_hook::low_level::raise(signal_hook::consts::SIGUSR1).unwrap();
        assert!(cancel.check().is_err());
        signal_hook::low_level::unregister(id);
    }
}
