//! Writes the archive of an image layout: layers, configuration, manifest, index, and the tar of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::difference::Contents;
use super::layer;
use crate::cancel::Progress;
use crate::digest::{Digest, HashingWriter};
use crate::error::{Context, Result};
use crate::format::oci::{
    self, BLOBS, BlobDigest, CONFIG, Descriptor, Execution, History, INDEX, INDEX_FILE,
    ImageConfig, Index, LAYER_GZIP, LAYOUT, LAYOUT_FILE, MANIFEST, Manifest, Platform, RootFs,
};
use crate::image::member;
use crate::tree::{Data, FileWriter, Metadata};
use crate::units::Bytes;

/// The user and the group that KubeVirt's QEMU runs as.
const QEMU: u64 = 107;
/// Where KubeVirt looks for the disk.
const DISK: &str = "disk/disk.qcow2";

/// How an image is written.
pub struct ImageOptions<'a> {
    /// What a container starts with.
    pub execution: &'a Execution,
    /// In Debian's words: `amd64`.
    pub architecture: &'a str,
    /// Every time in it, in seconds since 1970.
    pub epoch: u64,
    /// How hard layers are compressed, 1 to 9.
    pub level: u32,
    /// On how many threads.
    pub threads: usize,
    /// An empty directory for what is not finished.
    pub work: &'a Path,
}

/// An image in the making.
struct Writer<'a> {
    options: &'a ImageOptions<'a>,
    progress: Progress<'a>,
    blobs: BTreeMap<BlobDigest, Blob>,
    layers: Vec<Descriptor>,
    diff_ids: Vec<BlobDigest>,
}

enum Blob {
    Text(Vec<u8>),
    File(PathBuf, u64),
}

/// Writes the image of the last of `trees` to the new file `to`; gives SHA-256 and length. Each tree has a
/// layer of what it changes in the one before it, unless that is nothing.
pub fn write_tree(
    trees: &[&Path],
    options: &ImageOptions<'_>,
    to: &Path,
    progress: Progress<'_>,
) -> Result<(Digest, Bytes)> {
    let mut writer = Writer::new(options, progress);
    let mut below: Option<Contents> = None;
    for tree in trees {
        let contents = Contents::read(tree, progress.cancel)?;
        let difference = below.as_ref().map(|below| contents.above(below)).transpose()?;
        below = Some(contents);
        if difference.as_ref().is_some_and(|it| it.is_empty()) {
            continue;
        }
        let file = options.work.join("layer.tar");
        let diff_id = layer::write(tree, difference.as_ref(), options.epoch, &file, progress)?;
        writer.add_layer(&file, diff_id)?;
    }
    writer.finish(to)
}

/// Writes the image with the qcow2 image `disk`, as KubeVirt takes it, to the new file `to`; gives SHA-256
/// and length. `disk` is removed before the end, as it is needed no more.
pub fn write_disk(
    disk: &Path,
    options: &ImageOptions<'_>,
    to: &Path,
    progress: Progress<'_>,
) -> Result<(Digest, Bytes)> {
    let mut writer = Writer::new(options, progress);
    let file = options.work.join("layer.tar");
    let mut layer = FileWriter::create_new(&file, options.epoch)?;
    let what = || format!("reading {}", disk.display());
    let source = File::open(disk).with_context(what)?;
    let size = source.metadata().with_context(what)?.len();
    let owned = |metadata: Metadata| Metadata { uid: QEMU, gid: QEMU, ..metadata };
    let directory = owned(Metadata::directory(0o555, options.epoch));
    layer.add(Path::new("disk"), &directory, Data::Nothing)?;
    let metadata = Metadata { mode: 0o440, ..owned(Metadata::file(size, options.epoch)) };
    layer.add(Path::new(DISK), &metadata, Data::Stored(&mut &source)).with_context(what)?;
    let (diff_id, _) = layer.finish()?;
    drop(source);
    std::fs::remove_file(disk)?;
    writer.add_layer(&file, diff_id)?;
    writer.finish(to)
}

impl<'a> Writer<'a> {
    fn new(options: &'a ImageOptions<'a>, progress: Progress<'a>) -> Writer<'a> {
        let (blobs, layers, diff_ids) = Default::default();
        Writer { options, progress, blobs, layers, diff_ids }
    }

    /// Adds the layer whose tar is `file`, which is removed.
    fn add_layer(&mut self, file: &Path, diff_id: Digest) -> Result<()> {
        let ImageOptions { level, threads, work, .. } = *self.options;
        let compressed = work.join(format!("layer.{}.gz", self.layers.len()));
        let (digest, size) = layer::compress(file, &compressed, level, threads, self.progress)
            .context("compressing a layer")?;
        std::fs::remove_file(file)?;
        let digest = BlobDigest(digest);
        self.blobs.insert(digest, Blob::File(compressed, size));
        self.layers.push(Descriptor::new(LAYER_GZIP, digest, size));
        self.diff_ids.push(BlobDigest(diff_id));
        Ok(())
    }

    fn add_text(&mut self, media_type: &str, text: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(media_type, &text);
        self.blobs.insert(descriptor.digest, Blob::Text(text));
        descriptor
    }

    fn finish(mut self, to: &Path) -> Result<(Digest, Bytes)> {
        let platform = Platform::of_debian(self.options.architecture);
        let created = Some(oci::time(self.options.epoch));
        let history = History {
            created: created.clone(),
            created_by: "kuth".to_string(),
            ..History::default()
        };
        let config = ImageConfig {
            created,
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            os: platform.os.clone(),
            config: Some(self.options.execution.clone()),
            rootfs: RootFs { kind: "layers".to_string(), diff_ids: self.diff_ids.clone() },
            history: vec![history; self.diff_ids.len()],
        };
        let config = self.add_text(CONFIG, oci::write(&config));
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_string(),
            artifact_type: None,
            config,
            layers: self.layers.clone(),
            subject: None,
            annotations: Default::default(),
        };
        let manifest = self.add_text(MANIFEST, oci::write(&manifest));
        let index = Index {
            schema_version: 2,
            media_type: INDEX.to_string(),
            manifests: vec![Descriptor { platform: Some(platform), ..manifest }],
        };
        self.archive(&oci::write(&index), to).with_context(|| format!("writing {}", to.display()))
    }

    fn archive(&self, index: &[u8], to: &Path) -> Result<(Digest, Bytes)> {
        let time = self.options.epoch;
        let file = File::options().write(true).create_new(true).open(to)?;
        let mut archive = HashingWriter::new(BufWriter::with_capacity(1 << 20, file));
        let mut fill = Vec::new();
        let mut add_text = |archive: &mut HashingWriter<_>, name: &str, text: &[u8]| {
            archive.write_all(&member::file(name, Bytes(text.len() as u64), time)?)?;
            archive.write_all(text)?;
            fill.resize((member::padded(text.len() as u64) - text.len() as u64) as usize, 0);
            Ok::<(), crate::error::Error>(archive.write_all(&fill)?)
        };
        add_text(&mut archive, LAYOUT_FILE, LAYOUT.as_bytes())?;
        add_text(&mut archive, INDEX_FILE, index)?;
        for name in ["blobs/", "blobs/sha256/"] {
            archive.write_all(&member::directory(name, time)?)?;
        }
        for (digest, blob) in &self.blobs {
            let name = format!("{BLOBS}/{}", digest.0);
            match blob {
                Blob::Text(text) => add_text(&mut archive, &name, text)?,
                Blob::File(path, size) => {
                    self.progress.cancel.check()?;
                    archive.write_all(&member::file(&name, Bytes(*size), time)?)?;
                    std::io::copy(&mut File::open(path)?, &mut archive)?;
                    let fill = vec![0; (member::padded(*size) - size) as usize];
                    archive.write_all(&fill)?;
                    std::fs::remove_file(path)?;
                }
            }
        }
        archive.write_all(&[0; member::END as usize])?;
        let (file, digest, length) = archive.finish();
        file.into_inner().map_err(|error| error.into_error())?;
        Ok((digest, Bytes(length)))
    }
}
