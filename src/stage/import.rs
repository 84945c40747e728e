//! `import`: the files of a disk image of any known format, or of a root tar, as a tree. Input: the
//! image or tar as a file, a disk, or a directory with one image in it. Output: tree.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::archive::magic::{self, Format};
use crate::archive::{self, extract};
use crate::artifact::{Artifact, ArtifactKind, Facts, Output, TreeFacts};
use crate::debian::Distribution;
use crate::error::{Context, Result};
use crate::import::{self, Imported, Options, OtherFiles};
use crate::pipeline::{Fault, Fields, Spanned};
use crate::process::open_log;
use crate::recipe::Recipe;
use crate::units::Bytes;

use super::{Inputs, Kind, Parsed, Pin, Stage, StageContext};

/// The row of the table of kinds.
pub const KIND: Kind = Kind { name: "import", output: ArtifactKind::Tree, read };

/// Raised when the same image gives another tar.
const REVISION: u32 = 1;

/// The most bytes of a system's files unless the pipeline has a `limit`.
const LIMIT: Bytes = Bytes::gib(64);

/// The kinds of artifact that may be an image.
const IMAGES: &[ArtifactKind] = &[ArtifactKind::File, ArtifactKind::Directory, ArtifactKind::Disk];

struct Import {
    root: Option<String>,
    limit: Bytes,
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let from = fields.required_input("from", IMAGES);
    let root = fields.text("root").map(|root| root.text);
    let limit = fields.size("limit");
    let limit = usable(fields, limit);
    Some(Parsed::one(vec![from?], Import { root, limit }))
}

/// The given limit, or the default; a limit of zero is a fault.
pub(super) fn usable(fields: &Fields<'_>, limit: Option<Spanned<Bytes>>) -> Bytes {
    if let Some(limit) = &limit
        && limit.value == Bytes(0)
    {
        let fault = Fault::new(limit.span.clone(), "a `limit` of nothing");
        fields.fault(fault.hint("say how much the system's files may be, such as \"100 GiB\""));
    }
    limit.map_or(LIMIT, |limit| limit.value)
}

impl Stage for Import {
    fn revision(&self) -> u32 {
        REVISION
    }

    /// Without `limit`: what it lets pass is the same.
    fn describe(&self, _context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        recipe.optional("root", self.root.as_ref());
        Ok(())
    }

    fn run(&self, context: &StageContext, inputs: &Inputs, _pins: &[Pin]) -> Result<Output> {
        let input = inputs.get("from")?;
        let file = context.scratch("tree.tar");
        let imported = match self.tar(context, input)? {
            Some(tar) => import::rootfs::import(&tar, &file, &self.archive(context))?,
            None => self.image(context, input, &file)?,
        };
        made(context, file, imported)
    }
}

/// The tree in `file`, with its facts, after its notes were logged.
pub(super) fn made(context: &StageContext, file: PathBuf, imported: Imported) -> Result<Output> {
    let notes = imported.notes.join("\n") + "\n";
    open_log(&context.log)?.write_all(notes.as_bytes()).context("writing the log")?;
    let Imported { digest, size, release, .. } = imported;
    let distribution = Distribution::named(release.distribution.as_deref());
    let pockets =
        release.suite.as_deref().map_or(Vec::new(), |suite| distribution.pockets_of(suite));
    let facts = TreeFacts {
        components: Vec::new(),
        distribution: release.distribution,
        // The list of installed packages is not read, so the digest of the whole tree is used.
        lacks: Vec::new(),
        packages: digest,
        pockets: pockets.into_iter().map(str::to_string).collect(),
        suite: release.suite,
    };
    Ok(Output::hashed(ArtifactKind::Tree, file, digest, size).with(Facts::Tree(Box::new(facts))))
}

impl Import {
    /// The input, if it is a tar, plain or compressed.
    fn tar(&self, context: &StageContext, input: &Artifact) -> Result<Option<PathBuf>> {
        let object = context.object(input);
        let what = || format!("opening {}", object.display());
        let file = std::fs::File::open(&object).with_context(what)?;
        let found = magic::of_file(&file).with_context(what)?;
        let is_tar = matches!(
            found,
            Some(Format::Tar | Format::Gzip | Format::Bzip2 | Format::Xz | Format::Zstd)
        );
        Ok((input.kind == ArtifactKind::File && is_tar).then_some(object))
    }

    fn archive<'a>(&self, context: &'a StageContext) -> archive::Options<'a> {
        archive::Options {
            limit: Some(self.limit),
            threads: context.settings.jobs,
            epoch: context.settings.epoch,
            work: &context.work,
            cancel: &context.cancel,
            report: &|_, _| (),
        }
    }

    fn image(&self, context: &StageContext, input: &Artifact, to: &Path) -> Result<Imported> {
        let object = context.object(input);
        let (path, beside) = match input.kind {
            ArtifactKind::Directory => {
                let directory = context.scratch("directory");
                extract::extract(&object, &directory, &context.cancel)?;
                (import::pick(&directory)?, OtherFiles::SameDirectory)
            }
            _ => (object, OtherFiles::Refused),
        };
        let image = import::open(&path, beside)?;
        let options = Options {
            epoch: context.settings.epoch,
            limit: self.limit,
            cancel: &context.cancel,
            report: &|done| (context.progress)(done, 0, "B"),
        };
        import::import(&image, self.root.as_deref(), to, &options)
    }
}
