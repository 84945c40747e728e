//! The list of machines, kept for a moment: looking at the machines of one build, or cloning many,
//! asks VirtualBox seldom. What kuth itself changes is known at once; what others change, a second
//! later.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the list is believed.
const FRESH: Duration = Duration::from_secs(1);

/// UUID and name of each machine.
type Machines = Vec<(String, String)>;

#[derive(Default)]
struct Listed {
    /// The list, and when it was asked for.
    asked: Option<(Instant, Machines)>,
    /// When kuth last changed which machines there are.
    changed: Option<Instant>,
}

/// By the command line that was asked: each may lead to a VirtualBox of its own.
static LISTED: Mutex<BTreeMap<Option<String>, Listed>> = Mutex::new(BTreeMap::new());

fn with<T>(command: &Option<String>, work: impl FnOnce(&mut Listed) -> T) -> T {
    let mut all = LISTED.lock().unwrap_or_else(PoisonError::into_inner);
    work(all.entry(command.clone()).or_default())
}

/// The list as `command` gave it, while it is fresh.
pub fn get(command: &Option<String>) -> Option<Machines> {
    with(command, |it| {
        let fresh = it.asked.as_ref().filter(|(when, _)| when.elapsed() < FRESH);
        fresh.map(|(_, machines)| machines.clone())
    })
}

/// Keeps the answer of a question that began at `when`, unless something changed since.
pub fn keep(when: Instant, command: &Option<String>, machines: &Machines) {
    with(command, |it| {
        if it.changed.is_none_or(|changed| changed < when) {
            it.asked = Some((when, machines.clone()));
        }
    });
}

/// The list does not hold any more.
pub fn forget(command: &Option<String>) {
    with(command, |it| *it = Listed { asked: None, changed: Some(Instant::now()) });
}

/// A machine was added.
pub fn add(command: &Option<String>, uuid: &str, name: &str) {
    with(command, |it| {
        it.changed = Some(Instant::now());
        if let Some((_, machines)) = &mut it.asked {
            machines.push((uuid.to_string(), name.to_string()));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_of_one_command_and_moment() {
        let (one, other) = (Some("one".to_string()), Some("other".to_string()));
        let machines = vec![("1".to_string(), "a".to_string())];
        let before = Instant::now();
        keep(before, &one, &machines);
        assert_eq!(get(&one), Some(machines.clone()));
        assert_eq!(get(&other), None);
        add(&other, "2", "b");
        assert_eq!(get(&one), Some(machines.clone()));
        add(&one, "2", "b");
        assert_eq!(get(&one).unwrap().len(), 2);
        // An answer from before a change is of no use to others.
        keep(before, &one, &machines);
        assert_eq!(get(&one).unwrap().len(), 2);
        forget(&one);
        keep(before, &one, &machines);
        assert_eq!(get(&one), None);
        keep(Instant::now(), &one, &machines);
        assert_eq!(get(&one), Some(machines.clone()));
        let fresh = Some("another".to_string());
        if let Some(old) = Instant::now().checked_sub(FRESH) {
            keep(old, &fresh, &machines);
            assert_eq!(get(&fresh), None);
        }
    }
}
