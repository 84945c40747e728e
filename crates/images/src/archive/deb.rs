//! The files of a Debian package, as a plain tar or in a directory. The package is one that a digest vouches
//! for.

use std::fs::{DirBuilder, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use ::tar::Archive;

use super::{Options, decompress};
use crate::error::{Context, Result, anyhow};
use crate::format::deb;

/// Makes the new file `to` the tar of the files of the package `from`.
pub fn files(from: &Path, to: &Path, options: &Options<'_>) -> Result<()> {
    let what = || format!("reading {}", from.display());
    let mut package = File::open(from).with_context(what)?;
    let member = deb::files(&mut package).with_context(what)?;
    package.seek(SeekFrom::Start(member.offset)).with_context(what)?;
    let mut data = package.take(member.length);
    if member.name == "data.tar" {
        let tar = File::create_new(to).and_then(|mut tar| io::copy(&mut data, &mut tar));
        return tar.map(drop).with_context(|| format!("writing {}", to.display()));
    }
    // The readers of some compressions begin at the end.
    let mut compressed = tempfile::NamedTempFile::new_in(options.work)
        .with_context(|| format!("making a file in {}", options.work.display()))?;
    io::copy(&mut data, &mut compressed).with_context(what)?;
    decompress(compressed.path(), to, options)
        .with_context(|| format!("unpacking {} of {}", member.name, from.display()))
}

/// Puts the files of the package `from` into `directory`, among those of other packages, with whoever calls
/// it as their owner. No name or link leads out of it.
pub fn extract(from: &Path, directory: &Path, options: &Options<'_>) -> Result<()> {
    let part = tempfile::tempdir_in(options.work)
        .with_context(|| format!("making a directory in {}", options.work.display()))?;
    let tar = part.path().join("data.tar");
    files(from, &tar, options)?;
    let unpack = || -> Result<()> {
        let mut archive = Archive::new(BufReader::with_capacity(1 << 18, File::open(&tar)?));
        for entry in archive.entries()? {
            options.cancel.check()?;
            let mut entry = entry?;
            let name = entry.path()?.into_owned();
            // Packages begin with the directory itself.
            if name == Path::new("./") || name == Path::new(".") {
                continue;
            }
            match entry.unpack_in(directory)? {
                true => {}
                false => return Err(anyhow!("the name {} leads out", name.display())),
            }
        }
        Ok(())
    };
    DirBuilder::new()
        .recursive(true)
        .create(directory)
        .map_err(Into::into)
        .and_then(|()| unpack())
        .with_context(|| format!("unpacking {} to {}", from.display(), directory.display()))
}
