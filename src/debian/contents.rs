//! What is inside a package file, as a plain tar.

use std::path::Path;

use crate::archive::deb;
use crate::error::Result;
use crate::stage_context::StageContext;

/// Writes the files of the package `deb` as a tar to `to`.
pub fn unpack(context: &StageContext, deb: &Path, to: &Path) -> Result<()> {
    deb::files(deb, to, &context.unpacking())
}
