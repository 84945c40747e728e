//! XFS, as far as it can be made without mounting it.

use std::path::Path;

use crate::error::{Result, anyhow, with_hint};
use crate::stage::Site;
use crate::tools::ToolsTree;

use super::layout::Filesystem;
use super::part::Part;

/// Refuses for now.
pub fn make(
    _image: &Path,
    filesystem: &Filesystem,
    _part: &Part,
    _tools: &ToolsTree,
    _site: &Site,
) -> Result<()> {
    let error = anyhow!("xfs is not there yet");
    Err(with_hint(error, format!("use ext4 for `{}`", filesystem.name)))
}
