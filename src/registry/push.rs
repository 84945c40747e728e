//! Pushes an image, and attaches documents to it: each is a manifest whose `subject` is the image. Where a
//! registry keeps no list of these, one is kept under a tag, as the specification says.

use super::client::Client;
use crate::cancel::Progress;
use crate::error::{Context, Result};
use crate::format::oci::{
    self, BlobDigest, Descriptor, Document, EMPTY, INDEX, Index, MANIFEST, Manifest,
};
use crate::oci::Layout;

/// The name of a document, as tools save it.
const TITLE: &str = "org.opencontainers.image.title";

/// A document about an image.
pub struct Attachment {
    /// Its media type, by which tools find it.
    pub media_type: String,
    /// Its file name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Pushes the image of an archive under `tag`. Blobs that the repository has are not sent. Gives the
/// descriptor of the manifest.
pub fn push(
    client: &Client,
    layout: &Layout,
    tag: &str,
    progress: Progress<'_>,
) -> Result<Descriptor> {
    let (descriptor, bytes) = layout.only_manifest()?;
    let descriptor = Descriptor { platform: None, ..descriptor };
    if client.digest(tag)? == Some(descriptor.digest) {
        return Ok(descriptor);
    }
    let Document::Manifest(manifest) = Document::read(&bytes)? else {
        return Err(crate::error::anyhow!("the archive has an index in place of an image"));
    };
    let blobs = || manifest.layers.iter().chain([&manifest.config]);
    let total = blobs().map(|blob| blob.size).sum();
    let mut done = 0;
    for blob in blobs() {
        progress.advance(done, total)?;
        let open = || Ok(layout.blob(blob.digest)?.1);
        client.put_blob(blob.digest, blob.size, &open)?;
        done += blob.size;
    }
    client.put_manifest(tag, &descriptor.media_type, &bytes)?;
    progress.advance(total, total)?;
    Ok(descriptor)
}

/// Attaches documents to the image `subject`, unless they are attached.
pub fn attach(client: &Client, subject: &Descriptor, documents: &[Attachment]) -> Result<()> {
    for document in documents {
        let what = || format!("attaching {}", document.name);
        attach_one(client, subject, document).with_context(what)?;
    }
    Ok(())
}

fn attach_one(client: &Client, subject: &Descriptor, document: &Attachment) -> Result<()> {
    let annotations = [(TITLE.to_string(), document.name.clone())].into();
    let layer = Descriptor { annotations, ..Descriptor::of(&document.media_type, &document.text) };
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST.to_string(),
        artifact_type: Some(document.media_type.clone()),
        config: Descriptor::of(EMPTY, "{}"),
        layers: vec![layer],
        subject: Some(Descriptor::new(&subject.media_type, subject.digest, subject.size)),
        annotations: Default::default(),
    };
    let bytes = oci::write(&manifest);
    let descriptor = Descriptor {
        artifact_type: Some(document.media_type.clone()),
        ..Descriptor::of(MANIFEST, &bytes)
    };
    let is_listed = |list: &[u8]| {
        let list = Index::read(list).ok();
        list.is_some_and(|list| list.manifests.iter().any(|it| it.digest == descriptor.digest))
    };
    let list = client.referrers(subject.digest)?;
    if list.as_deref().is_some_and(is_listed) {
        return Ok(());
    }
    let tag = fallback_tag(subject.digest);
    let fallback = match &list {
        Some(_) => None,
        None => client.manifest(&tag)?.map(|found| found.bytes),
    };
    if fallback.as_deref().is_some_and(is_listed) {
        return Ok(());
    }
    for (blob, bytes) in
        [(&manifest.config, b"{}".to_vec()), (&manifest.layers[0], document.text.clone().into())]
    {
        let open = || Ok(Box::new(std::io::Cursor::new(bytes.clone())) as Box<_>);
        client.put_blob(blob.digest, blob.size, &open)?;
    }
    let is_kept_by_registry =
        client.put_manifest(&descriptor.digest.to_string(), MANIFEST, &bytes)?;
    if list.is_some() || is_kept_by_registry {
        return Ok(());
    }
    let mut manifests = match &fallback {
        Some(bytes) => Index::read(bytes).context("reading the list of referrers")?.manifests,
        None => Vec::new(),
    };
    manifests.push(descriptor);
    let index = Index { schema_version: 2, media_type: INDEX.to_string(), manifests };
    client.put_manifest(&tag, INDEX, &oci::write(&index)).map(|_| ())
}

/// Where the list of what refers to an image is, in a registry that keeps none.
fn fallback_tag(digest: BlobDigest) -> String {
    digest.to_string().replace(':', "-")
}
