//! The directory of lists that apt reads an index from, made of what a mirror or a medium has: the
//! `Release` file as it came, and the lists of packages, decompressed and compared with it.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Request;
use super::searched::{SearchedSuite, as_file};
use super::signed::SignedRelease;
use crate::archive::{self, Options, magic};
use crate::artifact::{ArtifactKind, Output};
use crate::digest::HashingWriter;
use crate::error::{Context, Result, anyhow};
use crate::format::release::Release;
use crate::sandbox::owners::Owners;
use crate::stage_context::StageContext;
use crate::units::Bytes;

/// The most bytes of a list of packages, also where `Release` does not say how long it is.
pub(super) const MOST_LIST: u64 = 1 << 30;

/// The ends of the names of lists in the compressions that kuth reads.
const ENDS: [&str; 4] = [".xz", ".gz", ".bz2", ".zst"];

/// Whether a list with this name can be read.
pub(super) fn is_readable(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    !name.contains('.')
        || name.matches('.').count() == 1 && ENDS.iter().any(|end| name.ends_with(end))
}

/// The files of an index.
pub(super) struct IndexFiles<'a> {
    /// The `Release` file as it came.
    pub signed: &'a SignedRelease,
    /// What is said in it.
    pub release: &'a Release,
    /// The directory of the lists, as `Release` names them.
    pub place: &'a Path,
    /// Their paths in it. All are as `Release` has them.
    pub lists: &'a [String],
}

impl IndexFiles<'_> {
    /// The index of `suite` as a result: a tar of apt's directory.
    pub fn pack(
        &self,
        context: &StageContext,
        request: &Request,
        suite: &SearchedSuite,
    ) -> Result<Output> {
        let directory = context.scratch("lists");
        self.write(context, &suite.file_prefix(request), &directory)
            .with_context(|| format!("writing {}", directory.display()))?;
        let file = context.scratch("lists.tar");
        crate::sandbox::pack::pack(&directory, &file, context.settings.epoch, &Owners::default())?;
        Output::file(ArtifactKind::File, file)
    }

    /// Makes `directory`, where all names begin with `prefix`.
    fn write(&self, context: &StageContext, prefix: &str, directory: &Path) -> Result<()> {
        std::fs::create_dir(directory)?;
        std::fs::set_permissions(directory, Permissions::from_mode(0o755))?;
        for (name, bytes) in self.signed.files() {
            let file = directory.join(format!("{prefix}{name}"));
            std::fs::write(&file, bytes)?;
            std::fs::set_permissions(&file, Permissions::from_mode(0o644))?;
        }
        for path in self.lists {
            context.cancel.check()?;
            let plain = ENDS.iter().find_map(|end| path.strip_suffix(end)).unwrap_or(path);
            let file =
                directory.join(format!("{prefix}{}", as_file(plain.trim_start_matches("./"))));
            self.list(context, path, plain, &file).with_context(|| format!("reading {path}"))?;
            std::fs::set_permissions(&file, Permissions::from_mode(0o644))?;
        }
        Ok(())
    }

    /// Makes `to` of the list at `path`, which is called `plain` once it is decompressed.
    fn list(&self, context: &StageContext, path: &str, plain: &str, to: &Path) -> Result<()> {
        let from = self.place.join(path);
        let known = self.release.files.get(plain);
        if path == plain || magic::of_file(&File::open(&from)?)?.is_none() {
            std::fs::copy(&from, to)?;
        } else {
            let limit = Some(Bytes(known.map_or(MOST_LIST, |(_, size)| *size)));
            archive::decompress(&from, to, &Options { limit, ..context.unpacking() })?;
        }
        let Some((digest, _)) = known else { return Ok(()) };
        let mut writer = HashingWriter::new(io::sink());
        io::copy(&mut File::open(to)?, &mut writer)?;
        let (_, found, _) = writer.finish();
        match found == *digest {
            true => Ok(()),
            false => Err(anyhow!("its SHA-256 is {found}; `Release` says {digest} of {plain}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_in_an_unknown_compression_are_left_alone() {
        for name in ["Packages", "main/binary-all/Packages.xz", "a.b/Packages.gz", "Packages.zst"] {
            assert!(is_readable(name), "{name}");
        }
        for name in ["main/binary-amd64/Packages.lzma", "Packages.diff", "Packages.x.gz"] {
            assert!(!is_readable(name), "{name}");
        }
    }
}
