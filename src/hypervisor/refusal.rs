//! The refusals that drivers and those who use them have in common.

use super::{Listed, State};
use crate::error::{Hint, Result, anyhow};
use crate::units::Bytes;

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

/// Refuses a first disk for the clone `name` that is smaller than its `base`.
pub fn is_no_smaller_than_base(name: &str, size: Bytes, base: Bytes) -> Result<()> {
    if size >= base {
        return Ok(());
    }
    Err(anyhow!("the disk of `{name}` is to have {size}, less than the {base} of its base"))
        .hint(format!("write at least \"{base}\", or make the disk of the base smaller"))
}

/// Refuses to remove a machine that `clones` rest on.
pub fn has_no_clones(name: &str, clones: &[String]) -> Result<()> {
    if clones.is_empty() {
        return Ok(());
    }
    Err(anyhow!("the machine `{name}` has clones: {}", clones.join(", ")))
        .hint(format!("remove them first: `kuth machine remove {}`", clones.join(" ")))
}
