//! What the driver remembers for as long as one kuth runs: looking at the machines of one build, or
//! cloning many, asks VirtualBox seldom. Of the list of machines, what kuth itself changes is known
//! at once; what others change, a second later.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::answers::Controller;
use super::options::Version;
use super::record::Parent;

/// How long the list of machines is believed.
const FRESH: Duration = Duration::from_secs(1);

/// UUID and name of each machine.
pub type Machines = Vec<(String, String)>;

/// What a new clone has of its parent that the rest of its making depends on.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Its controllers, and what is attached to them.
    pub controllers: Vec<Controller>,
    /// The card and the name of each rule that forwards a port.
    pub rules: Vec<(usize, String)>,
}

/// All that is remembered.
#[derive(Debug, Default)]
pub struct Remembered {
    list: Mutex<List>,
    version: Mutex<Option<Result<Version, String>>>,
    shapes: Mutex<BTreeMap<Parent, Shape>>,
    host_only: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct List {
    /// The list, and when it was asked for.
    asked: Option<(Instant, Machines)>,
    /// When kuth last changed which machines there are.
    changed: Option<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Remembered {
    /// The version, which `ask` is asked for once.
    pub fn version(
        &self,
        ask: impl FnOnce() -> Result<Version, String>,
    ) -> Result<Version, String> {
        lock(&self.version).get_or_insert_with(ask).clone()
    }

    /// The first host-only adapter, which `ask` is asked for until it gives one.
    pub fn host_only<E>(&self, ask: impl FnOnce() -> Result<String, E>) -> Result<String, E> {
        let mut known = lock(&self.host_only);
        match &*known {
            Some(name) => Ok(name.clone()),
            None => Ok(known.insert(ask()?).clone()),
        }
    }

    /// The shape of clones of a snapshot. It does not change, so the clones of one are alike until
    /// kuth goes on with them.
    pub fn shape(&self, parent: &Parent) -> Option<Shape> {
        lock(&self.shapes).get(parent).cloned()
    }

    /// Keeps the shape of clones of a snapshot.
    pub fn keep_shape(&self, parent: &Parent, shape: &Shape) {
        lock(&self.shapes).insert(parent.clone(), shape.clone());
    }

    /// The list of machines, while it is fresh.
    pub fn machines(&self) -> Option<Machines> {
        let list = lock(&self.list);
        let fresh = list.asked.as_ref().filter(|(when, _)| when.elapsed() < FRESH);
        fresh.map(|(_, machines)| machines.clone())
    }

    /// Keeps the answer of a question that began at `when`, unless something changed since.
    pub fn keep_machines(&self, when: Instant, machines: &Machines) {
        let mut list = lock(&self.list);
        if list.changed.is_none_or(|changed| changed < when) {
            list.asked = Some((when, machines.clone()));
        }
    }

    /// The list of machines does not hold any more.
    pub fn forget_machines(&self) {
        *lock(&self.list) = List { asked: None, changed: Some(Instant::now()) };
    }

    /// A machine was added.
    pub fn add_machine(&self, uuid: &str, name: &str) {
        let mut list = lock(&self.list);
        list.changed = Some(Instant::now());
        if let Some((_, machines)) = &mut list.asked {
            machines.push((uuid.to_string(), name.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_of_one_moment() {
        let known = Remembered::default();
        let machines = vec![("1".to_string(), "a".to_string())];
        let before = Instant::now();
        known.keep_machines(before, &machines);
        assert_eq!(known.machines(), Some(machines.clone()));
        known.add_machine("2", "b");
        assert_eq!(known.machines().unwrap().len(), 2);
        // An answer from before a change is of no use to others.
        known.keep_machines(before, &machines);
        assert_eq!(known.machines().unwrap().len(), 2);
        known.forget_machines();
        known.keep_machines(before, &machines);
        assert_eq!(known.machines(), None);
        known.keep_machines(Instant::now(), &machines);
        assert_eq!(known.machines(), Some(machines.clone()));
        let fresh = Remembered::default();
        if let Some(old) = Instant::now().checked_sub(FRESH) {
            fresh.keep_machines(old, &machines);
            assert_eq!(fresh.machines(), None);
        }
    }
}
