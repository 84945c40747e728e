//! `import`: the files of a disk image of any known format, or of a root tar, as a tree. Input: the
//! image or tar as a file, a disk, or a directory with one image in it; or none, for a container image of
//! a registry. Output: tree.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::archive::magic::{self, Format};
use crate::archive::{self, extract};
use crate::artifact::{Artifact, ArtifactKind, Facts, Output, TreeFacts};
use crate::cancel::Progress;
use crate::debian::Distribution;
use crate::error::{Context, Hint, Result, anyhow};
use crate::format::oci::BlobDigest;
use crate::import::{self, Imported, Options, OtherFiles};
use crate::lock::{Checksum, LockEntry, LockedDownload};
use crate::oci::Layout;
use crate::pipeline::{Fault, Fields, Input, Spanned};
use crate::process::open_log;
use crate::provenance::Material;
use crate::recipe::Recipe;
use crate::registry::{self, Client, Reference, Transport};
use crate::units::Bytes;

use super::{Inputs, Kind, Parsed, Pin, PinOutcome, Resource, Stage, StageContext};

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

/// A container image of a registry.
struct ImportFromRegistry {
    image: Reference,
    transport: Transport,
    limit: Bytes,
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    if fields.exactly_one(&["from", "image"]) == Some("image") {
        return read_image(fields);
    }
    if let Some(span) = fields.key_span("plain-http") {
        let fault = Fault::new(span, "`plain-http` without `image`");
        fields.fault(fault.hint("it is for an image of a registry"));
    }
    let _ = fields.has("plain-http");
    let path = fields.text("path");
    let accepts = if path.is_some() { &[ArtifactKind::Directory] } else { IMAGES };
    let from: Option<Input> = fields.input("from", accepts);
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

fn read_image(fields: &mut Fields<'_>) -> Option<Parsed> {
    for key in ["path", "root"] {
        if fields.has(key)
            && let Some(span) = fields.key_span(key)
        {
            let fault = Fault::new(span, format!("`{key}` with `image`"));
            fields.fault(fault.hint("a container image is one system; remove it"));
        }
    }
    let image = fields.parsed::<Reference>("image", "an address of an image");
    let image = image.map(|image| {
        if image.value.tag.is_none() && image.value.digest.is_none() {
            let message = format!("`{}` has neither a tag nor a digest", image.value);
            let hint = "write `oci://HOST/REPOSITORY:TAG`, or `...@sha256:DIGEST`";
            fields.fault(Fault::new(image.span.clone(), message).hint(hint));
        }
        image.value
    });
    let transport = read_transport(fields);
    let limit = fields.size("limit");
    let limit = usable(fields, limit);
    Some(Parsed::one(Vec::new(), ImportFromRegistry { image: image?, transport, limit }))
}

/// The key `plain-http`.
pub(super) fn read_transport(fields: &mut Fields<'_>) -> Transport {
    match fields.boolean("plain-http", false) {
        true => Transport::Plain,
        false => Transport::Encrypted,
    }
}

impl ImportFromRegistry {
    fn client(&self, context: &StageContext) -> Result<Client> {
        if context.settings.offline {
            return Err(anyhow!("{} is not in the cache", self.image))
                .hint("build once without `--offline`");
        }
        Client::new(&self.image, self.transport, false, &context.log, &context.cancel)
    }

    /// The digest of the manifest, by the pipeline or by the lock.
    fn digest(&self, pins: &[Pin]) -> Result<BlobDigest> {
        let pinned = || match pins.first()?.locked.as_download()?.checksum {
            Checksum::Sha256(digest) => Some(BlobDigest(digest)),
            Checksum::Sha512(_) => None,
        };
        self.image.digest.or_else(pinned).context("it is not known which image is meant")
    }
}

impl Stage for ImportFromRegistry {
    fn revision(&self) -> u32 {
        REVISION
    }

    /// The digest, without the address.
    fn describe(&self, _context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        recipe.optional("image", self.image.digest);
        Ok(())
    }

    fn resource(&self) -> Resource {
        Resource::Network
    }

    /// The digest that the tag has, once and for all.
    fn pin(&self, context: &StageContext, _inputs: &Inputs) -> Result<PinOutcome> {
        let (None, Some(tag)) = (&self.image.digest, &self.image.tag) else {
            return Ok(PinOutcome::Pinned(Vec::new()));
        };
        let url = self.image.to_string();
        let mut locked = context.locked.iter().filter_map(LockEntry::as_download);
        if let Some(locked) = locked.find(|it| it.url == url && it.checksums.is_none()) {
            return Ok(PinOutcome::Pinned(vec![Pin::new(LockEntry::Download(locked.clone()))]));
        }
        if context.settings.locked {
            return Err(anyhow!("the lock does not say which image {url} is"))
                .hint("build once without `--locked` to write its digest into the lock");
        }
        let what = || format!("looking for {url}");
        let found = self.client(context).with_context(what)?.resolve(tag).with_context(what)?;
        let checksum = Checksum::Sha256(found.digest.0);
        let locked = LockedDownload { url, checksums: None, checksum, size: Some(found.size) };
        Ok(PinOutcome::Pinned(vec![Pin::new(LockEntry::Download(locked))]))
    }

    fn materials(&self, _inputs: &Inputs, pins: &[Pin]) -> Result<Vec<Material>> {
        let digest = self.digest(pins)?.0.to_string();
        let uri = Reference { digest: None, ..self.image.clone() }.to_string();
        Ok(vec![Material { uri, algorithm: "sha256", digest }])
    }

    fn run(&self, context: &StageContext, _inputs: &Inputs, pins: &[Pin]) -> Result<Output> {
        let digest = self.digest(pins)?;
        let (directory, file) = (context.scratch("image"), context.scratch("tree.tar"));
        let architecture = &context.settings.architecture;
        let report = |done, total| (context.progress)(done, total, "B");
        let progress = Progress { cancel: &context.cancel, report: &report };
        let image = self.image.at(digest);
        let what = || format!("pulling {image}");
        let client = self.client(context).with_context(what)?;
        registry::pull(&client, digest, architecture, self.limit, &directory, progress)
            .with_context(what)?;
        let options = options(context, self.limit);
        let layout = Layout::in_directory(&directory);
        let imported = import::layers::import(&layout, architecture, &file, &options)?;
        made(context, file, imported)
    }
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
            Content::Tar if self.path.is_none() && self.root.is_none() => {
                match self.container_image(context, &object)? {
                    Some(layout) => self.layers(context, &layout, &file)?,
                    None => import::rootfs::import(&object, &file, &self.archive(context))?,
                }
            }
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
        options(context, self.limit)
    }

    /// The container image in a tar, plain or compressed. Damage is for the reader of root tars to report.
    fn container_image(&self, context: &StageContext, tar: &Path) -> Result<Option<Layout>> {
        let what = || format!("opening {}", tar.display());
        let file = std::fs::File::open(tar).with_context(what)?;
        let image = |tar: &Path| {
            let image = Layout::in_archive(tar, "", &context.cancel).unwrap_or_default();
            context.cancel.check().map(|()| image)
        };
        if magic::of_file(&file).with_context(what)? == Some(Format::Tar) {
            return image(tar);
        }
        if !archive::starts_like(tar, &self.archive(context), &Layout::may_begin)? {
            return Ok(None);
        }
        let plain = context.scratch("image.tar");
        archive::decompress(tar, &plain, &self.archive(context))?;
        image(&plain)
    }

    fn layers(&self, context: &StageContext, layout: &Layout, to: &Path) -> Result<Imported> {
        let architecture = &context.settings.architecture;
        import::layers::import(layout, architecture, to, &self.archive(context))
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
                let under = self.path.as_deref().unwrap_or_default();
                if self.root.is_none()
                    && let Some(layout) = Layout::in_archive(object, under, &context.cancel)?
                {
                    return self.layers(context, &layout, to);
                }
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

fn options(context: &StageContext, limit: Bytes) -> archive::Options<'_> {
    archive::Options {
        limit: Some(limit),
        threads: context.settings.jobs,
        epoch: context.settings.epoch,
        work: &context.work,
        cancel: &context.cancel,
        report: &|_, _| (),
    }
}
