//! What is inside a package file, as a plain tar: dpkg-deb knows every compression there is.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::error::{Context, Result};
use crate::process::Command;
use crate::stage_context::StageContext;

/// Writes the files of the package `deb` as a tar to `to`.
pub fn unpack(context: &StageContext, deb: &Path, to: &Path) -> Result<()> {
    let what = || format!("unpacking {}", deb.display());
    let mut output = File::create(to).with_context(what)?;
    let mut written = Ok(());
    let command = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(deb);
    let outcome = command.watch(&context.log, &context.cancel, |bytes| {
        if written.is_ok() {
            written = output.write_all(bytes);
        }
    });
    outcome.with_context(what)?;
    written.with_context(what)
}
