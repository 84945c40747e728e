//! An installation medium of Debian or Ubuntu (a DVD, a netinst, a live server) as a package source,
//! instead of a mirror: the packages of its pool, as its own `dists` list them. Files are read where
//! they are in the image. A `.deb` must match the medium's `Release`, which is trusted for its
//! signature, or where it has none, for the checksum that the medium was downloaded by.

use std::fs::File;

use super::index::MOST_RELEASE;
use super::signed::SignedRelease;
use super::{Base, Request};
use crate::artifact::Artifact;
use crate::digest::HashingWriter;
use crate::error::{Context, Result, anyhow, with_hint};
use crate::format::disk_info::{DiskInfo, shown};
use crate::format::release::Release;
use crate::lock::Package;
use crate::stage_context::StageContext;

pub(super) mod files;
mod index;

use files::{Files, Kind};
pub use index::current;

/// The most bytes of a medium's `.disk/info`.
const MOST_TEXT: u64 = 64 << 10;

/// How many names of what is on a medium a message has.
const NAMED: usize = 8;

/// An open medium.
pub struct Medium {
    files: Files,
    info: DiskInfo,
}

/// What a medium has of a suite.
pub struct Suite {
    /// Its directory: `dists/trixie`.
    directory: String,
    /// What its `Release` file says, whoever signed it.
    release: Release,
    signed: SignedRelease,
}

impl Medium {
    /// Opens the medium that `image` is: an ISO image, or a directory.
    pub fn open(context: &StageContext, image: &Artifact) -> Result<Medium> {
        let mut files = Files::open(&context.object(image), image.kind)?;
        let text = files.read(".disk/info", MOST_TEXT)?.unwrap_or_default();
        let mut info = DiskInfo::read(&String::from_utf8_lossy(&text));
        if info.label.is_empty() {
            info.label = shown(files.label());
        }
        Ok(Medium { files, info })
    }

    /// What it is called: `Debian GNU/Linux 13.2.0 ...`.
    pub fn label(&self) -> &str {
        &self.info.label
    }

    /// What messages call it.
    fn shown(&self) -> String {
        in_words(&self.info.label)
    }

    /// The suite of `request`, if the medium has it for this architecture.
    pub fn suite(&mut self, context: &StageContext, request: &Request) -> Result<Suite> {
        let names = self.files.names("dists")?;
        if names.is_empty() {
            return Err(with_hint(
                anyhow!("{} has no directory `dists`: it is none with packages", self.shown()),
                "give the image of an installer, such as Debian's netinst or DVD",
            ));
        }
        let wanted = names.iter().find(|(name, _)| *name == request.suite);
        let directory = match wanted {
            Some((name, Kind::Directory)) => Some(name),
            // `stable -> trixie`
            Some((_, Kind::Link(target))) => {
                let target = target.trim_end_matches('/');
                names.iter().find(|it| it.0 == target && it.1 == Kind::Directory).map(|it| &it.0)
            }
            _ => None,
        };
        let Some(directory) = directory.map(|directory| format!("dists/{directory}")) else {
            let there = names.iter().filter(|(_, kind)| *kind != Kind::File);
            let there = named(there.map(|(name, _)| name.as_str()));
            let error = anyhow!("there is no suite `{}` on {}", request.suite, self.shown());
            let hint = match request.base {
                Base::Exactly => format!("it has {there}; without `medium` a mirror is asked"),
                _ => format!("it has {there}: name it with `suite`"),
            };
            return Err(with_hint(error, hint));
        };
        let signed = self.signed(&directory)?;
        let release = Release::read(&String::from_utf8_lossy(signed.bytes()))
            .with_context(|| format!("reading {directory}/Release"))?;
        self.check_distribution(request, &release)?;
        self.check_architecture(context, &release)?;
        Ok(Suite { directory, release, signed })
    }

    fn signed(&mut self, directory: &str) -> Result<SignedRelease> {
        let mut read = |name: &str| self.files.read(&format!("{directory}/{name}"), MOST_RELEASE);
        if let Some(text) = read("InRelease")? {
            return Ok(SignedRelease::Inline(text));
        }
        match (read("Release")?, read("Release.gpg")?) {
            (Some(text), Some(signature)) => Ok(SignedRelease::Detached(text, signature)),
            (Some(text), None) => Ok(SignedRelease::Unsigned(text)),
            (None, _) => Err(anyhow!("{} has no {directory}/Release", self.shown())),
        }
    }

    fn check_distribution(&self, request: &Request, release: &Release) -> Result<()> {
        let origin = release.origin.to_ascii_lowercase();
        let said = [self.info.distribution.as_str(), origin.as_str()];
        let known = [super::DEBIAN.name, super::UBUNTU.name];
        let of = said.into_iter().find(|name| known.contains(name));
        match of.filter(|name| *name != request.distribution.name) {
            None => Ok(()),
            Some(of) => Err(with_hint(
                anyhow!("{} is of {of}, not of {}", self.shown(), request.distribution.name),
                "a tree is made of the packages of one distribution; `bootstrap` has the key \
                 `distribution`",
            )),
        }
    }

    fn check_architecture(&self, context: &StageContext, release: &Release) -> Result<()> {
        let wanted = &context.settings.architecture;
        // A `Release` may be that of the whole archive, of which the medium has a part.
        let there = match self.info.architectures.is_empty() {
            true => &release.architectures,
            false => &self.info.architectures,
        };
        if there.is_empty() || there.contains(wanted) {
            return Ok(());
        }
        let there = named(there.iter().map(String::as_str));
        let error = anyhow!("{} is for {there}, not for {wanted}", self.shown());
        Err(with_hint(error, format!("give the image of the same release for {wanted}")))
    }

    /// Copies a package into the cache, if it is the one in the index.
    fn copy_package(&mut self, context: &StageContext, package: &Package) -> Result<()> {
        let what = format!("copying {package} from {}", self.shown());
        let part = context.scratch("package.deb");
        let file = File::create(&part).with_context(|| format!("making {}", part.display()))?;
        let mut writer = HashingWriter::new(file);
        let damaged = "the medium is damaged, or somebody changed it: get it again, and compare \
                       its checksum";
        let there = self
            .files
            .copy(&package.path, package.size, &mut writer)
            .map_err(|error| with_hint(error.context(what.clone()), damaged))?;
        if !there {
            let error = anyhow!("there is no {}", package.path).context(what);
            return Err(with_hint(error, "a medium of several discs has some packages on each"));
        }
        let (_, digest, size) = writer.finish();
        if (digest, size) != (package.sha256, package.size) {
            let error = anyhow!("its SHA-256 is {digest}, not {}", package.sha256).context(what);
            return Err(with_hint(error, damaged));
        }
        context.cache.adopt(&part, &context.cache.package(&package.sha256))
    }
}

/// The medium with this label, as messages call it.
pub fn in_words(label: &str) -> String {
    format!("the medium {label}").trim_end().to_string()
}

/// Copies `packages` from the medium `image` into the cache.
pub fn copy_packages(
    context: &StageContext,
    image: &Artifact,
    packages: &[&Package],
) -> Result<()> {
    let mut medium = Medium::open(context, image)?;
    let total: u64 = packages.iter().map(|package| package.size).sum();
    let mut done = 0;
    for package in packages {
        context.cancel.check()?;
        medium.copy_package(context, package)?;
        done += package.size;
        (context.progress)(done, total, "B");
    }
    Ok(())
}

/// The first names, for a message.
fn named<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(shown).collect();
    let more = if names.len() > NAMED { ", ..." } else { "" };
    format!("{}{more}", names[..names.len().min(NAMED)].join(", "))
}
