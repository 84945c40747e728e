//! Reads an image layout, as the archive that it comes in or as a directory, and the archives of
//! `docker save`. Every blob is named by its SHA-256, which is compared when the blob is read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::cancel::Cancel;
use crate::digest::HashingWriter;
use crate::error::{Context, Hint, Result, anyhow, bail, ensure};
use crate::files::extents::{Extents, Filled};
use crate::format::oci::{
    self, BLOBS, BlobDigest, DOCKER_FILE, Descriptor, Document, INDEX_FILE, ImageConfig, Index,
    LAYOUT_FILE, MOST_DOCUMENT, Platform,
};
use crate::tree::{self, Kind, Reader};

/// Indexes in indexes are followed so far.
const MOST_INDEXES: usize = 4;
/// More names than any image has.
const MOST_MEMBERS: usize = 100_000;

/// An image layout or an archive of `docker save`.
pub struct Layout {
    storage: Storage,
    table: Table,
}

enum Storage {
    /// A tar that is not compressed.
    Archive { file: File, members: BTreeMap<String, Member> },
    /// A directory of kuth's own, whose files are called as a layout calls them.
    Directory(PathBuf),
}

/// A file in the tar.
enum Member {
    File {
        size: u64,
        extents: Extents,
        /// Where the data of the first extent is; the others follow it.
        at: u64,
    },
    /// Another name of a file.
    Link(String),
}

enum Table {
    Oci,
    Docker,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The file that holds it.
    name: String,
    /// The SHA-256 of that, where it is known.
    digest: Option<BlobDigest>,
    /// The SHA-256 of the layer, uncompressed.
    pub diff_id: BlobDigest,
}

/// Whether a name may be one of an image archive. Other names come early in a root file system.
fn may_be_of_an_image(name: &str) -> bool {
    let top = name.split('/').next().unwrap_or(name);
    let is_id = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    matches!(top, "" | "blobs" | LAYOUT_FILE | INDEX_FILE | DOCKER_FILE | "repositories")
        || is_id(top)
        || [".json", ".tar"].iter().any(|end| top.strip_suffix(end).is_some_and(is_id))
}

impl Layout {
    /// The image layout in the tar `path`, which is not compressed, below the directory `under`, or at its
    /// top where that is empty. `None` if it holds none; that is clear after the first names of a root
    /// file system.
    pub fn in_archive(path: &Path, under: &str, cancel: &Cancel) -> Result<Option<Layout>> {
        let what = || format!("reading {}", path.display());
        let file = File::open(path).with_context(what)?;
        let members = Layout::members(&file, under, cancel).with_context(what)?;
        let Some(members) = members else { return Ok(None) };
        let table = match members.contains_key(LAYOUT_FILE) && members.contains_key(INDEX_FILE) {
            true => Table::Oci,
            false if members.contains_key(DOCKER_FILE) => Table::Docker,
            false => return Ok(None),
        };
        Ok(Some(Layout { storage: Storage::Archive { file, members }, table }))
    }

    fn members(
        file: &File,
        under: &str,
        cancel: &Cancel,
    ) -> Result<Option<BTreeMap<String, Member>>> {
        let mut members = BTreeMap::new();
        // Not buffered, so that the file's offset is where the content of an entry begins.
        let mut entries = Reader::seeking(file).without_end();
        let prefix = if under.is_empty() { String::new() } else { format!("{under}/") };
        while let Some((entry, content)) = entries.next_entry()? {
            cancel.check()?;
            let path = tree::relative(&entry.path)?;
            let Ok(path) = String::from_utf8(path) else { return Ok(None) };
            let Some(name) = path.strip_prefix(&prefix) else { continue };
            if under.is_empty() && !may_be_of_an_image(name) {
                return Ok(None);
            }
            let member = match entry.metadata.kind {
                Kind::Regular => Member::File {
                    size: entry.metadata.size,
                    extents: content.extents().to_vec(),
                    at: std::io::Seek::stream_position(&mut &*file)?,
                },
                // Docker writes a layer that several images have as a link: `../ID/layer.tar`.
                Kind::Symlink | Kind::Link => {
                    let target = String::from_utf8_lossy(&entry.metadata.link).into_owned();
                    Member::Link(target.trim_start_matches("../").to_string())
                }
                _ => continue,
            };
            members.insert(name.to_string(), member);
            ensure!(members.len() <= MOST_MEMBERS, "more than {MOST_MEMBERS} files");
        }
        Ok(Some(members))
    }

    /// Whether it is an image layout, rather than an archive of `docker save`.
    pub fn is_oci(&self) -> bool {
        matches!(self.table, Table::Oci)
    }

    /// Whether a tar that begins so may be one of an image: by its first name. A tar that begins with its
    /// top directory rather is that of a root file system.
    pub fn may_begin(start: &[u8]) -> bool {
        let name = start.get(..100).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = name.strip_prefix(b"./").unwrap_or(name);
        let name = std::str::from_utf8(name).unwrap_or_default().trim_end_matches('/');
        !name.is_empty() && may_be_of_an_image(name)
    }

    /// The image layout in a directory that kuth wrote itself.
    pub fn in_directory(path: &Path) -> Layout {
        Layout { storage: Storage::Directory(path.to_path_buf()), table: Table::Oci }
    }

    /// The manifest that the index of an archive has alone, with its bytes.
    pub fn only_manifest(&self) -> Result<(Descriptor, Vec<u8>)> {
        let index = Index::read(&self.document(INDEX_FILE)?)?;
        let [manifest] = index.manifests.as_slice() else {
            bail!("the index has {} manifests, not one", index.manifests.len());
        };
        Ok((manifest.clone(), self.blob_document(manifest)?))
    }

    /// The layers of the image for an architecture in Debian's words, the lowest first.
    pub fn layers(&self, architecture: &str) -> Result<Vec<Layer>> {
        let platform = Platform::of_debian(architecture);
        match self.table {
            Table::Oci => self.oci_layers(&platform),
            Table::Docker => self.docker_layers(&platform),
        }
    }

    fn oci_layers(&self, platform: &Platform) -> Result<Vec<Layer>> {
        let mut bytes = self.document(INDEX_FILE)?;
        for _ in 0..MOST_INDEXES {
            let manifest = match Document::read(&bytes)? {
                Document::Manifest(manifest) => manifest,
                Document::Index(index) => {
                    bytes = self.blob_document(index.image_for(&platform.architecture)?)?;
                    continue;
                }
            };
            manifest.check_layers()?;
            let config = self.blob_document(&manifest.config)?;
            let diff_ids = diff_ids(&config, platform, manifest.layers.len())?;
            let layers = manifest.layers.iter().zip(diff_ids);
            let layers = layers.map(|(layer, diff_id)| {
                let (name, digest) = (blob_name(layer.digest), Some(layer.digest));
                Layer { name, digest, diff_id }
            });
            return Ok(layers.collect());
        }
        bail!("indexes in indexes, more than {MOST_INDEXES} deep")
    }

    fn docker_layers(&self, platform: &Platform) -> Result<Vec<Layer>> {
        let mut images = oci::read_docker_table(&self.document(DOCKER_FILE)?)?;
        let (image, 0) = (images.pop().context("the archive has no image")?, images.len()) else {
            return Err(anyhow!("the archive has {} images", images.len() + 1))
                .hint("save one image alone: `docker save NAME:TAG`");
        };
        let config = self.document(&image.config)?;
        let diff_ids = diff_ids(&config, platform, image.layers.len())?;
        let layers = image.layers.into_iter().zip(diff_ids);
        Ok(layers.map(|(name, diff_id)| Layer { name, digest: None, diff_id }).collect())
    }

    /// A small file.
    fn document(&self, name: &str) -> Result<Vec<u8>> {
        let (size, mut content) = self.open(name)?;
        ensure!(size <= MOST_DOCUMENT, "{name} has {size} bytes, more than 4 MiB");
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).with_context(|| format!("reading {name}"))?;
        Ok(bytes)
    }

    /// A manifest or a configuration.
    fn blob_document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let bytes = self.document(&blob_name(descriptor.digest))?;
        let found = BlobDigest::of(&bytes);
        ensure!(found == descriptor.digest, "the blob {} is damaged", descriptor.digest);
        Ok(bytes)
    }

    /// The size and the content of a blob. The caller compares the digest.
    pub fn blob(&self, digest: BlobDigest) -> Result<(u64, Box<dyn Read + Send>)> {
        self.open(&blob_name(digest))
    }

    /// Copies a layer, as it is compressed, to the new file `to`, and compares its digest.
    pub fn copy_layer(&self, layer: &Layer, to: &Path, cancel: &Cancel) -> Result<()> {
        let (_, mut content) = self.open(&layer.name)?;
        let what = || format!("reading the layer {}", layer.name);
        let file = File::options().write(true).create_new(true).open(to);
        let file = file.with_context(|| format!("writing {}", to.display()))?;
        let mut writer = HashingWriter::new(file);
        let mut buffer = vec![0; 1 << 18];
        loop {
            cancel.check()?;
            match content.read(&mut buffer).with_context(what)? {
                0 => break,
                n => writer.write_all(&buffer[..n])?,
            }
        }
        let (_, found, _) = writer.finish();
        match layer.digest {
            Some(digest) if digest != BlobDigest(found) => {
                bail!("the layer {digest} is damaged: its SHA-256 is {found}")
            }
            _ => Ok(()),
        }
    }

    fn open(&self, name: &str) -> Result<(u64, Box<dyn Read + Send>)> {
        let missing = || anyhow!("the image has no file {}", name.escape_debug());
        match &self.storage {
            Storage::Directory(directory) => {
                let file = File::open(directory.join(name)).with_context(missing)?;
                Ok((file.metadata()?.len(), Box::new(file)))
            }
            Storage::Archive { file, members } => {
                let mut member = members.get(name).with_context(missing)?;
                if let Member::Link(target) = member {
                    member = members.get(target).with_context(missing)?;
                }
                let Member::File { size, extents, at } = member else {
                    bail!("{} is a link to a link", name.escape_debug())
                };
                let data = Stored { file: file.try_clone()?, at: *at };
                Ok((*size, Box::new(Filled::new(extents.clone(), *size, data))))
            }
        }
    }
}

/// The data of a member, one extent behind the other.
struct Stored {
    file: File,
    at: u64,
}

impl Read for Stored {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = std::os::unix::fs::FileExt::read_at(&self.file, buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

fn blob_name(digest: BlobDigest) -> String {
    format!("{BLOBS}/{}", digest.0)
}

/// The digests of the layers of an image for `platform`.
fn diff_ids(config: &[u8], platform: &Platform, layers: usize) -> Result<Vec<BlobDigest>> {
    let config = ImageConfig::read(config)?;
    let (found, expected) = (&config.architecture, &platform.architecture);
    if config.os != "linux" || found != expected {
        return Err(anyhow!("the image is for {}/{found}, not for linux/{expected}", config.os))
            .hint("build for that architecture, or take the image for this one");
    }
    let count = config.rootfs.diff_ids.len();
    ensure!(count == layers, "the image has {layers} layers and the digests of {count}");
    Ok(config.rootfs.diff_ids)
}
