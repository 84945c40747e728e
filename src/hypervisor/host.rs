//! Where a driver works, and what it may do there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Row;
use crate::cancel::Cancel;
use crate::run_state::RunState;

/// Whether a machine that holds state may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// It stays; the build says so.
    Never,
    /// It goes, with all it holds.
    Always,
}

/// Where a driver works.
#[derive(Clone, Debug)]
pub struct Host {
    /// The drivers that there are.
    pub drivers: &'static [Row],
    /// The directory that machines are kept in.
    pub machines: PathBuf,
    /// The command lines of drivers' own tools, by driver, where they are not found by themselves.
    pub commands: BTreeMap<String, String>,
    /// What drivers remember of this run.
    pub run_state: RunState,
    /// The directory of the journal; without one (`kuth machine …`) nothing is made.
    pub journal: Option<PathBuf>,
    /// The file that the output of commands goes to.
    pub log: PathBuf,
    /// The pipeline that builds, which owns what is made.
    pub pipeline: String,
    /// Seconds since 1970 that times in what is made are clamped to.
    pub epoch: u64,
    /// What to do with machines that hold state.
    pub replace: Replace,
    /// Set when the user wants to stop.
    pub cancel: Cancel,
}
