//! `publish` to an object store: a file, its SHA-256 in a file beside it, and its documents. The SHA-256 is
//! written last, so where it is right all of the file is there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record;
use crate::artifact::{Artifact, ArtifactKind, Output};
use crate::cancel::Progress;
use crate::digest::Digest;
use crate::error::{Context, Hint, Result, anyhow};
use crate::provenance::{self, Document, Sidecars};
use crate::recipe::Recipe;
use crate::remote::{self, Store};
use crate::stage::export::SidecarOptions;
use crate::stage::{Inputs, Pin, Placement, Resource, Stage, StageContext};

/// Raised when the same file is stored in another way.
const REVISION: u32 = 1;
/// The limit for one request.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The most bytes of a document.
const MOST_DOCUMENT: u64 = 64 << 20;

/// A file for an object store.
pub(super) struct ToStore {
    /// `s3://BUCKET/DIRECTORY`
    directory: String,
    name: String,
    documents: SidecarOptions,
}

/// What the cache keeps.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Publication {
    /// The address.
    to: String,
    /// What the file is.
    sha256: Digest,
}

impl ToStore {
    /// A file at this address; `None` where that names no file in a bucket.
    pub(super) fn at(address: &str, documents: SidecarOptions) -> Option<ToStore> {
        let (scheme, rest) = address.split_once("://")?;
        let parts: Vec<&str> = rest.split('/').collect();
        let is_legal = |part: &&str| !matches!(*part, "" | "." | "..");
        let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !"?#".contains(c);
        if parts.len() < 2 || !parts.iter().all(is_legal) || !rest.chars().all(is_plain) {
            return None;
        }
        let (name, directory) = parts.split_last()?;
        let directory = format!("{scheme}://{}", directory.join("/"));
        Some(ToStore { directory, name: name.to_string(), documents })
    }

    fn address(&self) -> String {
        format!("{}/{}", self.directory, self.name)
    }

    fn open(&self, context: &StageContext) -> Result<Box<dyn Store>> {
        if context.settings.offline {
            return Err(anyhow!("{} is on the network", self.address()))
                .hint("build without `--offline`");
        }
        remote::open_store(&self.directory, TIMEOUT)
    }

    /// The name and the content of the file with the SHA-256, as `sha256sum -c` reads it.
    fn sum(&self, sha256: Digest) -> (String, String) {
        (format!("{}.sha256", self.name), format!("{sha256}  {}\n", self.name))
    }

    fn is_there(&self, store: &dyn Store, sha256: Digest) -> Result<bool> {
        let (name, text) = self.sum(sha256);
        Ok(has(store, &name, &text)? && store.has(&self.name)?)
    }
}

/// Whether a store has a document with this text.
fn has(store: &dyn Store, name: &str, text: &str) -> Result<bool> {
    Ok(store.get(name, MOST_DOCUMENT)?.is_some_and(|found| found == text.as_bytes()))
}

impl Stage for ToStore {
    fn revision(&self) -> u32 {
        REVISION
    }

    fn describe(&self, _context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        recipe.value("to", self.address());
        Ok(())
    }

    fn resource(&self) -> Resource {
        Resource::Network
    }

    fn run(&self, context: &StageContext, inputs: &Inputs, _pins: &[Pin]) -> Result<Output> {
        let export = inputs.get("from")?;
        let sha256 = provenance::sha256(context, export)?;
        let what = || format!("publishing to {}", self.address());
        let store = self.open(context).with_context(what)?;
        if !self.is_there(&*store, sha256).with_context(what)? {
            let report = |done, total| (context.progress)(done, total, "B");
            let progress = Progress { cancel: &context.cancel, report: &report };
            let file = std::fs::File::open(context.object(export)).with_context(what)?;
            let (name, text) = self.sum(sha256);
            store.put_file(&self.name, &file, progress).with_context(what)?;
            store.put(&name, text.as_bytes()).with_context(what)?;
        }
        let record = Publication { to: self.address(), sha256 };
        let text = serde_json::to_string(&record).context("writing the record")?;
        Output::text(ArtifactKind::Publication, &context.work, "publication.json", &text)
    }

    fn attachments(
        &self,
        context: &StageContext,
        artifact: &Artifact,
    ) -> Result<Option<(Sidecars, Digest)>> {
        if context.settings.offline {
            return Ok(None);
        }
        let sidecars = self.documents.of(&context.settings.output, self.name.clone());
        Ok(Some((sidecars, record::<Publication>(context, artifact)?.sha256)))
    }

    fn attach(
        &self,
        context: &StageContext,
        _artifact: &Artifact,
        documents: &[Document],
    ) -> Result<()> {
        if documents.is_empty() {
            return Ok(());
        }
        let store = self.open(context)?;
        for Document { name, text, .. } in documents {
            let what = || format!("storing {name}");
            if !has(&*store, name, text).with_context(what)? {
                store.put(name, text.as_bytes()).with_context(what)?;
            }
        }
        Ok(())
    }

    fn materialize(&self, context: &StageContext, artifact: &Artifact) -> Result<Placement> {
        if context.settings.offline {
            return self.locate(context, artifact);
        }
        let sha256 = record::<Publication>(context, artifact)?.sha256;
        let found = self.open(context).and_then(|store| self.is_there(&*store, sha256));
        match found.with_context(|| format!("looking for {}", self.address()))? {
            true => self.locate(context, artifact),
            false => Ok(Placement::Missing(format!("{} is not there", self.address()))),
        }
    }

    /// The address, as of the last build: a plan asks no store.
    fn locate(&self, _context: &StageContext, _artifact: &Artifact) -> Result<Placement> {
        Ok(Placement::Present(self.address().into()))
    }
}
