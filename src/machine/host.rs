//! Where a driver works, and what it may do there.

use std::path::{Path, PathBuf};

use crate::cancel::Cancel;
use crate::stage_context::StageContext;

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
    /// The directory that machines are kept in.
    pub machines: PathBuf,
    /// The command line of VirtualBox's VBoxManage, where it is not found by itself.
    pub vboxmanage: Option<String>,
    /// The directory of the journal; without one (`kuth machine …`) nothing is made.
    pub journal: Option<PathBuf>,
    /// The file that the output of commands goes to.
    pub log: PathBuf,
    /// The pipeline that builds, which owns what is made.
    pub pipeline: String,
    /// Clamps times in what is made.
    pub epoch: u64,
    /// What to do with machines that hold state.
    pub replace: Replace,
    /// Set when the user wants to stop.
    pub cancel: Cancel,
}

impl Host {
    /// The host as a stage sees it.
    pub fn of(context: &StageContext, replace: Replace) -> Host {
        let replace = if context.settings.replace { Replace::Always } else { replace };
        Host {
            machines: context.settings.machines.clone(),
            vboxmanage: context.settings.vboxmanage.clone(),
            journal: Some(context.cache.journal()),
            log: context.log.clone(),
            pipeline: context.settings.pipeline.clone(),
            epoch: context.settings.epoch,
            replace,
            cancel: context.cancel.clone(),
        }
    }

    /// The host as a person at the command line sees it; logs go to the machines' directory.
    pub fn at(machines: &Path, vboxmanage: Option<String>, cancel: Cancel) -> Host {
        Host {
            machines: machines.to_path_buf(),
            vboxmanage,
            journal: None,
            log: machines.join("kuth.log"),
            pipeline: String::new(),
            epoch: 0,
            replace: Replace::Never,
            cancel,
        }
    }
}
