//! What the user is told of a remote: each kind of trouble once, however often it comes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// WarnOnce a warning, in one line.
pub type Warn = Arc<dyn Fn(&str) + Send + Sync>;

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// It does not answer, or with an error.
    Broken,
    /// What it gave is not what was stored.
    Damaged,
    /// A record nobody trusted has signed.
    Foreign,
    /// It cannot be written.
    Closed,
}

/// See the file.
pub struct WarnOnce {
    tell: Warn,
    told: Mutex<BTreeSet<Trouble>>,
}

impl WarnOnce {
    /// Passes on to `tell`.
    pub fn new(tell: Warn) -> WarnOnce {
        WarnOnce { tell, told: Mutex::default() }
    }

    /// Tells `text` unless this kind of trouble has been told.
    pub(super) fn once(&self, trouble: Trouble, text: impl FnOnce() -> String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(trouble) {
            (self.tell)(&text());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_is_told_once() {
        let paper = Arc::new(Mutex::new(Vec::new()));
        let there = paper.clone();
        let told =
            WarnOnce::new(Arc::new(move |text| there.lock().unwrap().push(text.to_string())));
        told.once(Trouble::Broken, || "a".into());
        told.once(Trouble::Broken, || "b".into());
        told.once(Trouble::Damaged, || "c".into());
        assert_eq!(*paper.lock().unwrap(), ["a", "c"]);
    }
}
