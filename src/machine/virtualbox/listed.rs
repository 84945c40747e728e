//! The list of machines, kept for a moment: looking at the machines of one build, or cloning many,
//! asks VirtualBox seldom. What kuth itself changes is known at once; what others change, a second
//! later.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the list is believed.
const FRESH: Duration = Duration::from_secs(1);

/// UUID and name of each machine.
type Machines = Vec<(String, String)>;

struct Listed {
    when: Instant,
    machines: Machines,
}

/// By the command line that was asked: each may lead to a VirtualBox of its own.
static LISTED: Mutex<BTreeMap<Option<String>, Listed>> = Mutex::new(BTreeMap::new());

fn listed() -> MutexGuard<'static, BTreeMap<Option<String>, Listed>> {
    LISTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The list as `command` gave it, while it is fresh.
pub fn get(command: &Option<String>) -> Option<Machines> {
    let listed = listed();
    listed.get(command).filter(|it| it.when.elapsed() < FRESH).map(|it| it.machines.clone())
}

/// Keeps the answer of a question that began at `when`.
pub fn keep(when: Instant, command: &Option<String>, machines: &Machines) {
    listed().insert(command.clone(), Listed { when, machines: machines.clone() });
}

/// The list does not hold any more.
pub fn forget(command: &Option<String>) {
    listed().remove(command);
}

/// A machine was added while nothing else was.
pub fn add(command: &Option<String>, uuid: &str, name: &str) {
    if let Some(listed) = listed().get_mut(command) {
        listed.machines.push((uuid.to_string(), name.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_of_one_command_and_moment() {
        let (one, other) = (Some("one".to_string()), Some("other".to_string()));
        let machines = vec![("1".to_string(), "a".to_string())];
        keep(Instant::now(), &one, &machines);
        assert_eq!(get(&one), Some(machines.clone()));
        assert_eq!(get(&other), None);
        add(&other, "2", "b");
        assert_eq!(get(&one), Some(machines.clone()));
        add(&one, "2", "b");
        assert_eq!(get(&one).unwrap().len(), 2);
        forget(&one);
        assert_eq!(get(&one), None);
        if let Some(old) = Instant::now().checked_sub(FRESH) {
            keep(old, &one, &machines);
            assert_eq!(get(&one), None);
        }
    }
}
