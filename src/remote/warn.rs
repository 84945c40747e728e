//! Warnings about a remote: one for each kind of problem, however often it occurs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Shows a warning of one line to the user.
pub type Warn = Arc<dyn Fn(&str) + Send + Sync>;

/// A kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Problem {
    /// A request failed.
    Unreachable,
    /// Content is not what was stored.
    Damaged,
    /// A record is not signed by a trusted key.
    Untrusted,
    /// Results could not be pushed.
    NotWritable,
}

/// Shows at most one warning for each kind of problem.
pub struct WarnOnce {
    warn: Warn,
    shown: Mutex<BTreeSet<Problem>>,
}

impl WarnOnce {
    /// Shows warnings with `warn`.
    pub fn new(warn: Warn) -> WarnOnce {
        WarnOnce { warn, shown: Mutex::default() }
    }

    /// Shows `text` unless there was a warning about this kind of problem.
    pub(super) fn once(&self, problem: Problem, text: impl FnOnce() -> String) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.insert(problem) {
            (self.warn)(&text());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_is_reported_once() {
        let shown = Arc::new(Mutex::new(Vec::new()));
        let there = shown.clone();
        let warnings =
            WarnOnce::new(Arc::new(move |text: &str| there.lock().unwrap().push(text.to_string())));
        warnings.once(Problem::Unreachable, || "a".into());
        warnings.once(Problem::Unreachable, || "b".into());
        warnings.once(Problem::Damaged, || "c".into());
        assert_eq!(*shown.lock().unwrap(), ["a", "c"]);
    }
}
