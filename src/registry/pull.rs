//! Pulls the image for one architecture into a directory, as an image layout.

use std::io::{Read, Write};
use std::path::Path;

use super::client::{Client, Found};
use crate::cancel::Progress;
use crate::digest::HashingWriter;
use crate::error::{Context, Result, bail, ensure, with_hint};
use crate::format::oci::{
    self, BLOBS, BlobDigest, Descriptor, Document, INDEX, INDEX_FILE, Index, MOST_DOCUMENT,
    Manifest, Platform,
};
use crate::units::Bytes;

/// Indexes in indexes are followed so far.
const MOST_INDEXES: usize = 4;

/// What the manifest under a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Its digest.
    pub digest: BlobDigest,
    /// Its length in bytes.
    pub size: u64,
}

impl Client {
    /// What the manifest under a tag is. An error where there is none.
    pub fn resolve(&self, tag: &str) -> Result<Pulled> {
        let Found { descriptor, .. } = self.required(tag)?;
        Ok(Pulled { digest: descriptor.digest, size: descriptor.size })
    }

    fn required(&self, name: &str) -> Result<Found> {
        self.manifest(name)?.with_context(|| format!("the registry has no manifest {name}"))
    }
}

/// Writes the image `digest`, or the one for `architecture` (in Debian's words) where that is an index, to
/// the new directory `to`. Its layers may have `limit` together, as they are compressed.
pub fn pull(
    client: &Client,
    digest: BlobDigest,
    architecture: &str,
    limit: Bytes,
    to: &Path,
    progress: Progress<'_>,
) -> Result<()> {
    let blobs = to.join(BLOBS);
    let what = || format!("making {}", blobs.display());
    std::fs::create_dir_all(&blobs).with_context(what)?;
    let (manifest, descriptor) = image(client, digest, architecture, &blobs)?;
    manifest.check_layers()?;
    ensure!(manifest.config.size <= MOST_DOCUMENT, "the configuration is too large");
    let all = || [&manifest.config].into_iter().chain(&manifest.layers);
    let total = all().fold(0_u64, |total, blob| total.saturating_add(blob.size));
    if total > limit.0 {
        let error = crate::error::anyhow!("the image has {}, more than {limit}", Bytes(total));
        let hint = "if that is as it should be, set `limit` to a larger size";
        return Err(with_hint(error, hint));
    }
    let mut done = 0;
    for blob in all() {
        let file = blobs.join(blob.digest.0.to_string());
        // Several layers may be the same blob.
        if !file.exists() {
            let report = |n| progress.advance(done + n, total);
            save(client, blob, &file, &report)
                .with_context(|| format!("downloading the blob {}", blob.digest))?;
        }
        done += blob.size;
    }
    let index =
        Index { schema_version: 2, media_type: INDEX.to_string(), manifests: vec![descriptor] };
    std::fs::write(to.join(INDEX_FILE), oci::write(&index)).with_context(what)
}

/// The manifest of the image, which is kept among the blobs.
fn image(
    client: &Client,
    digest: BlobDigest,
    architecture: &str,
    blobs: &Path,
) -> Result<(Manifest, Descriptor)> {
    let platform = Platform::of_debian(architecture);
    let mut next = digest;
    for _ in 0..MOST_INDEXES {
        let Found { descriptor, bytes } = client.required(&next.to_string())?;
        match Document::read(&bytes)? {
            Document::Index(index) => next = index.image_for(&platform.architecture)?.digest,
            Document::Manifest(manifest) => {
                std::fs::write(blobs.join(descriptor.digest.0.to_string()), &bytes)?;
                return Ok((*manifest, descriptor));
            }
        }
    }
    bail!("indexes in indexes, more than {MOST_INDEXES} deep")
}

fn save(
    client: &Client,
    blob: &Descriptor,
    to: &Path,
    report: &dyn Fn(u64) -> Result<()>,
) -> Result<()> {
    let mut body = client.blob(blob.digest, blob.size)?.take(blob.size.saturating_add(1));
    let file = std::fs::File::create_new(to)?;
    let mut writer = HashingWriter::new(file);
    let (mut buffer, mut done) = (vec![0; 1 << 16], 0);
    loop {
        match body.read(&mut buffer).context("reading the response")? {
            0 => break,
            n => {
                writer.write_all(&buffer[..n])?;
                done += n as u64;
                report(done)?;
            }
        }
    }
    let (_, found, _) = writer.finish();
    ensure!(done == blob.size, "it has another length than {} bytes", blob.size);
    ensure!(BlobDigest(found) == blob.digest, "its SHA-256 is {found}");
    Ok(())
}
