//! `publish`: a container image to a registry. Input: an export of the format `oci` or `containerdisk`.
//! Output: a record of where it is. Where the registry has the image under its tag, nothing is pushed.

use serde::{Deserialize, Serialize};

use super::export::SidecarOptions;
use super::import::read_transport;
use super::{Inputs, Kind, Parsed, Pin, Placement, Resource, Stage, StageContext};
use crate::artifact::{Artifact, ArtifactKind, Output};
use crate::cancel::Progress;
use crate::digest::Digest;
use crate::error::{Context, Hint, Result, anyhow};
use crate::format::oci::{BlobDigest, Descriptor};
use crate::oci::Layout;
use crate::pipeline::{Fault, Fields};
use crate::provenance::{Document, Sidecars};
use crate::recipe::Recipe;
use crate::registry::{self, Attachment, Client, Reference, Transport};

/// The row of the table of kinds.
pub const KIND: Kind = Kind { name: "publish", output: ArtifactKind::Publication, read };

/// Raised when the same image is pushed in another way.
const REVISION: u32 = 1;

/// The tag where the address has none, as everywhere.
const LATEST: &str = "latest";

struct Publish {
    to: Reference,
    tag: String,
    transport: Transport,
    documents: SidecarOptions,
}

/// What the cache keeps.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Publication {
    /// The address, with the tag.
    to: String,
    /// The manifest.
    manifest: Descriptor,
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let from = fields.required_input("from", &[ArtifactKind::Export]);
    let to = fields.require("to").parsed::<Reference>("to", "an address in a registry");
    let to = to.map(|to| {
        if to.value.digest.is_some() {
            let fault = Fault::new(to.span.clone(), "`to` has a digest");
            fields.fault(fault.hint("the image has the digest that it has; write a tag"));
        }
        to.value
    });
    let transport = read_transport(fields);
    let documents = SidecarOptions::read(fields);
    let (from, mut to) = (from?, to?);
    let tag = to.tag.get_or_insert_with(|| LATEST.to_string()).clone();
    Some(Parsed::one(vec![from], Publish { to, tag, transport, documents }))
}

impl Publish {
    fn client(&self, context: &StageContext) -> Result<Client> {
        if context.settings.offline {
            return Err(anyhow!("{} is on the network", self.to)).hint("build without `--offline`");
        }
        Client::new(&self.to, self.transport, true, &context.log, &context.cancel)
    }

    fn record(&self, context: &StageContext, artifact: &Artifact) -> Result<Publication> {
        let path = context.object(artifact);
        let what = || format!("reading {}", path.display());
        serde_json::from_slice(&std::fs::read(&path).with_context(what)?).with_context(what)
    }
}

impl Stage for Publish {
    fn revision(&self) -> u32 {
        REVISION
    }

    fn describe(&self, _context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        recipe.value("to", &self.to);
        Ok(())
    }

    fn resource(&self) -> Resource {
        Resource::Network
    }

    fn run(&self, context: &StageContext, inputs: &Inputs, _pins: &[Pin]) -> Result<Output> {
        let archive = context.object(inputs.get("from")?);
        let layout = Layout::in_archive(&archive, "", &context.cancel).ok().flatten();
        let layout = layout
            .filter(Layout::is_oci)
            .context("the export is not a container image")
            .hint("`from` is an export with `format = \"oci\"` or `\"containerdisk\"`")?;
        let report = |done, total| (context.progress)(done, total, "B");
        let progress = Progress { cancel: &context.cancel, report: &report };
        let what = || format!("publishing to {}", self.to);
        let client = self.client(context).with_context(what)?;
        let manifest = registry::push(&client, &layout, &self.tag, progress).with_context(what)?;
        let record = Publication { to: self.to.to_string(), manifest };
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
        let name = self.to.repository.rsplit('/').next().unwrap_or_default().to_string();
        let sidecars = self.documents.of(&context.settings.output, name);
        Ok(Some((sidecars, self.record(context, artifact)?.manifest.digest.0)))
    }

    fn attach(
        &self,
        context: &StageContext,
        artifact: &Artifact,
        documents: &[Document],
    ) -> Result<()> {
        if documents.is_empty() {
            return Ok(());
        }
        let attachment = |document: &Document| Attachment {
            media_type: document.media_type.to_string(),
            name: document.name.clone(),
            text: document.text.clone(),
        };
        let attachments: Vec<Attachment> = documents.iter().map(attachment).collect();
        let manifest = self.record(context, artifact)?.manifest;
        registry::attach(&self.client(context)?, &manifest, &attachments)
    }

    /// Asks the registry what it has under the tag.
    fn materialize(&self, context: &StageContext, artifact: &Artifact) -> Result<Placement> {
        if context.settings.offline {
            return self.locate(context, artifact);
        }
        let expected = self.record(context, artifact)?.manifest.digest;
        let what = || format!("looking for {}", self.to);
        let found = self.client(context).and_then(|client| client.digest(&self.tag));
        match found.with_context(what)? {
            Some(found) if found == expected => self.locate(context, artifact),
            Some(found) => {
                Ok(Placement::Missing(format!("{} is another image now, {found}", self.to)))
            }
            None => Ok(Placement::Missing(format!("{} is not there", self.to))),
        }
    }

    /// The address, as of the last build: a plan asks no registry.
    fn locate(&self, context: &StageContext, artifact: &Artifact) -> Result<Placement> {
        let digest: BlobDigest = self.record(context, artifact)?.manifest.digest;
        Ok(Placement::Present(self.to.at(digest).to_string().into()))
    }
}
