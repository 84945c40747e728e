//! The refusals that drivers and those who use them have in common.

use super::{Listed, State};
use crate::error::{Hint, Result, anyhow};

fn stop_it(machine: &Listed) -> String {
    format!("stop it first: `kuth machine stop {}`", machine.name)
}

/// Refuses what cannot be done to a running machine.
pub fn is_not_running(machine: &Listed) -> Result<()> {
    match machine.state {
        State::Running => {
            Err(anyhow!("the machine `{}` is running", machine.name)).hint(stop_it(machine))
        }
        State::Ready | State::Used => Ok(()),
    }
}

/// Refuses to replace a machine that runs or is saved.
pub fn is_not_replaced_while_active(machine: &Listed) -> Result<()> {
    match &machine.active {
        Some(active) => {
            Err(anyhow!("the machine `{}` is {active}, so it is not replaced", machine.name))
                .hint(stop_it(machine))
        }
        None => Ok(()),
    }
}

/// Refuses to remove a machine that `clones` rest on.
pub fn has_no_clones(name: &str, clones: &[String]) -> Result<()> {
    if clones.is_empty() {
        return Ok(());
    }
    Err(anyhow!("the machine `{name}` has clones: {}", clones.join(", ")))
        .hint(format!("remove them first: `kuth machine remove {}`", clones.join(" ")))
}
