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

/// What an input is.
enum Content {
    /// A tar, plain or compressed.
    Tar,
    /// Something else that is compressed.
    Compressed,
    /// An image, or what is taken for one.
    Other,
}

struct Import {
    path: Option<String>,
    root: Option<String>,
    limit: Bytes,
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let path = fields.text("path");
    let accepts = if path.is_some() { &[ArtifactKind::Directory] } else { IMAGES };
    let from = fields.required_input("from", accepts);
    if let Some(path) = &path
        && path.text.split('/').any(|part| matches!(part, "" | "." | ".."))
    {
        let message = format!("{} is not a relative path without `..`", path.shown());
        let hint = "it starts at the top of the directory, as in \"disks/system.vmdk\"";
        fields.fault(Fault::new(path.span.clone(), message).hint(hint));
    }
    let path = path.map(|path| path.text);
    let root = fields.text("root").map(|root| root.text);
    let limit = fields.size("limit");
    let limit = usable(fields, limit);
    Some(Parsed::one(vec![from?], Import { path, root, limit }))
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
        recipe.optional("path", self.path.as_ref());
        recipe.optional("root", self.root.as_ref());
        Ok(())
    }

    fn run(&self, context: &StageContext, inputs: &Inputs, _pins: &[Pin]) -> Result<Output> {
        let input = inputs.get("from")?;
        let file = context.scratch("tree.tar");
        let object = context.object(input);
        let imported = match self.content(context, input)? {
            Content::Tar => import::rootfs::import(&object, &file, &self.archive(context))?,
            Content::Compressed => {
                let image = context.scratch("image");
                archive::decompress(&object, &image, &self.archive(context))?;
                self.image(context, input.kind, &image, &file)?
            }
            Content::Other => self.image(context, input.kind, &object, &file)?,
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
    /// What the input is.
    fn content(&self, context: &StageContext, input: &Artifact) -> Result<Content> {
        if input.kind != ArtifactKind::File {
            return Ok(Content::Other);
        }
        let object = context.object(input);
        let what = || format!("opening {}", object.display());
        let file = std::fs::File::open(&object).with_context(what)?;
        let found = magic::of_file(&file).with_context(what)?;
        Ok(match found {
            Some(Format::Tar) => Content::Tar,
            Some(Format::Gzip | Format::Bzip2 | Format::Xz | Format::Zstd) => {
                match archive::holds_tar(&object, &self.archive(context))? {
                    true => Content::Tar,
                    false => Content::Compressed,
                }
            }
            _ => Content::Other,
        })
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

    /// Imports the system in the image `object`, or in the directory with images that it is.
    fn image(
        &self,
        context: &StageContext,
        kind: ArtifactKind,
        object: &Path,
        to: &Path,
    ) -> Result<Imported> {
        let mut notes = Vec::new();
        let (path, beside) = match kind {
            ArtifactKind::Directory => {
                let directory = context.scratch("directory");
                extract::extract(object, &directory, &context.cancel)?;
                let picked = import::pick(&directory, self.path.as_deref(), self.root.as_deref())?;
                let others = picked.others.iter().map(|other| other.display());
                notes
                    .extend(others.map(|other| format!("{other} is left out: it is another disk")));
                (picked.image, OtherFiles::SameDirectory)
            }
            _ => (object.to_path_buf(), OtherFiles::Refused),
        };
        let image = import::open(&path, beside)?;
        let options = Options {
            epoch: context.settings.epoch,
            limit: self.limit,
            cancel: &context.cancel,
            report: &|done| (context.progress)(done, 0, "B"),
        };
        let mut imported = import::import(&image, self.root.as_deref(), to, &options)?;
        imported.notes.append(&mut notes);
        Ok(imported)
    }
}
