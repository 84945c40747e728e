//! The system that a live medium of Ubuntu installs: layers in its directory `casper`, put together
//! as one tree. The medium is an ISO 9660 image or a directory with the same in it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::magic;
use crate::error::{Context, Hint, Result, anyhow, bail, ensure};
use crate::format::install_sources::{self, Source as Offer};
use crate::format::iso9660::{Entry, Image, Kind as EntryKind};
use crate::format::probe::{ImageFormat, PROBE_LENGTH, probe};

use super::filesystem::Filesystem;
use super::overlay::Overlay;
use super::squashfs::Squashfs;
use super::system::{Mounted, System};
use super::{Imported, Options, release, tree};
use crate::image::source::{Joined, Part, Plain, Shared, head};

/// The directory that all of it is in.
const CASPER: &str = "casper";
/// The list of what there is to install.
const SOURCES: &str = "install-sources.yaml";
/// A longer list is none.
const LONGEST_LIST: u64 = 1 << 20;
/// A system has one of these.
const OF_A_ROOT: [&[u8]; 3] = [b"etc", b"bin", b"usr"];
/// More names than the root of any system has.
const MOST_NAMES: usize = 100_000;

/// Where the files of a medium are.
pub enum LiveMedium {
    /// In an ISO 9660 image.
    Image(Box<Image<File>>, Shared),
    /// In a directory.
    Directory(PathBuf),
}

impl LiveMedium {
    /// Opens the image or the directory `path`.
    pub fn open(path: &Path) -> Result<LiveMedium> {
        if path.is_dir() {
            return Ok(LiveMedium::Directory(path.to_path_buf()));
        }
        let what = || format!("opening {}", path.display());
        let file = File::open(path).with_context(what)?;
        let source: Shared = Arc::new(Plain::new(file.try_clone()?)?);
        let found = probe(&head(&*source, PROBE_LENGTH)?);
        if found != Some(ImageFormat::Iso9660) {
            let found = found.map_or("unknown".into(), magic::shown);
            return Err(anyhow!("it is {found}, not the image of a medium"))
                .hint("an archive of a medium's files becomes a directory by `unpack`");
        }
        let image = Image::open(file).context("reading the medium")?;
        Ok(LiveMedium::Image(Box::new(image), source))
    }

    /// The file `name` in the directory of the live system, if there is one.
    fn find(&mut self, name: &str) -> Result<Option<Shared>> {
        match self {
            LiveMedium::Directory(directory) => {
                let path = directory.join(CASPER).join(name);
                match path.symlink_metadata() {
                    Ok(found) if found.is_file() => {
                        let file = File::open(&path);
                        let file = file.with_context(|| format!("opening {}", path.display()))?;
                        Ok(Some(Arc::new(Plain::new(file)?)))
                    }
                    _ => Ok(None),
                }
            }
            LiveMedium::Image(image, source) => {
                let entry = image.find(&format!("{CASPER}/{name}"))?;
                entry.map(|entry| extents(&entry, source)).transpose()
            }
        }
    }

    /// The file `name` in the directory of the live system.
    fn file(&mut self, name: &str) -> Result<Shared> {
        let found = self.find(name).with_context(|| format!("looking for {CASPER}/{name}"))?;
        found.with_context(|| format!("the medium has no file {CASPER}/{name}"))
    }

    /// The systems that there are to install.
    pub fn offers(&mut self) -> Result<Vec<Offer>> {
        let Some(list) = self.find(SOURCES)? else {
            return Err(anyhow!("the medium has no file {CASPER}/{SOURCES}")).hint(
                "`layers` is for live media of Ubuntu 22.04 and later; a file system of an older \
                 one can be imported by itself",
            );
        };
        ensure!(list.size() <= LONGEST_LIST, "{CASPER}/{SOURCES} has {} bytes", list.size());
        let text = crate::image::source::bytes(&*list, 0, list.size() as usize)?;
        let text = String::from_utf8(text).ok().context("the list of sources is not text")?;
        Ok(install_sources::read(&text)?)
    }

    /// The layers of `offer`.
    fn layers(&mut self, offer: &Offer) -> Result<Overlay> {
        let mut layers: Vec<(String, Box<dyn Filesystem>)> = Vec::new();
        for name in &offer.layers {
            let opened = Squashfs::open(self.file(name)?);
            let opened = opened.with_context(|| format!("opening {CASPER}/{name}"))?;
            layers.push((name.clone(), Box::new(opened)));
        }
        Overlay::new(layers)
    }
}

/// Where a file of an ISO 9660 image is.
fn extents(entry: &Entry, image: &Shared) -> Result<Shared> {
    match &entry.kind {
        EntryKind::File => {}
        EntryKind::Directory => bail!("`{}` is a directory", entry.name),
        EntryKind::Link(to) => bail!("`{}` is a link to {to}", entry.name),
    }
    let mut parts: Vec<Shared> = Vec::new();
    for (at, length) in entry.extents() {
        parts.push(Arc::new(Part::new(image.clone(), *at, *length)?));
    }
    Ok(Arc::new(Joined::new(parts)))
}

/// Writes the system `wanted` of `medium`, or its default, as the canonical tar `to`.
pub fn import(
    medium: &mut LiveMedium,
    wanted: Option<&str>,
    to: &Path,
    options: &Options<'_>,
) -> Result<Imported> {
    let offers = medium.offers().context("reading what the medium offers")?;
    let offer = install_sources::choose(&offers, wanted)?;
    let overlay = medium.layers(offer).context("putting the layers together")?;
    let root = overlay.names(overlay.root(), MOST_NAMES).context("reading the root")?;
    let is_root = root.iter().any(|(name, _)| OF_A_ROOT.contains(&name.as_slice()));
    ensure!(is_root, "the layers of `{}` have no /etc, /bin or /usr", offer.id);
    let place = format!("the layers of `{}`", offer.id);
    let root = Mounted { on: None, filesystem: &overlay, place, point: "/".into() };
    let system = System { mounted: vec![root], left_out: Vec::new() };
    let (digest, size) = tree::write(&system, to, options)?;
    let release = release::release(&system.os_release()?);
    let note = format!("{} in the layers {}", offer.id, offer.layers.join(", "));
    Ok(Imported { digest, size, release, notes: vec![note] })
}
