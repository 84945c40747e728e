//! What drivers remember for as long as one kuth runs, so that a build asks a hypervisor once what
//! many stages need.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Values by their types, one of each; clones share them.
#[derive(Clone, Default)]
pub struct RunState {
    values: Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>,
}

impl RunState {
    /// The value of the type `T`, a default one at first.
    pub fn get<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let value = values.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        Arc::clone(value).downcast().unwrap_or_default()
    }
}

impl fmt::Debug for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunState")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_a_value_of_each_type() {
        let state = RunState::default();
        state.get::<Mutex<u32>>().lock().map(|mut it| *it = 7).unwrap();
        assert_eq!(*state.clone().get::<Mutex<u32>>().lock().unwrap(), 7);
        assert_eq!(*state.get::<Mutex<u64>>().lock().unwrap(), 0);
        assert_eq!(*RunState::default().get::<Mutex<u32>>().lock().unwrap(), 0);
    }
}
