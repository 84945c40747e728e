//! `publish` to a registry: a container image under a tag.

use serde::{Deserialize, Serialize};

use super::record;
use crate::artifact::{Artifact, ArtifactKind, Output};
use crate::cancel::Progress;
use crate::digest::Digest;
use crate::error::{Context, Hint, Result, anyhow};
use crate::format::oci::Descriptor;
use crate::oci::Layout;
use crate::provenance::{Document, Sidecars};
use crate::recipe::Recipe;
use crate::registry::{self, Attachment, Client, Reference, Transport};
use crate::stage::export::SidecarOptions;
use crate::stage::{Inputs, Pin, Placement, Resource, Stage, StageContext};

/// Raised when the same image is pushed in another way.
const REVISION: u32 = 1;

/// An image for a registry.
pub(super) struct ToRegistry {
    pub(super) to: Reference,
    pub(super) tag: String,
    pub(super) transport: Transport,
    pub(super) documents: SidecarOptions,
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

impl ToRegistry {
    fn client(&self, context: &StageContext) -> Result<Client> {
        if context.settings.offline {
            return Err(anyhow!("{} is on the network", self.to)).hint("build without `--offline`");
        }
        Client::new(&self.to, self.transport, true, &context.log, &context.cancel)
    }
}

impl Stage for ToRegistry {
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
        Ok(Some((sidecars, record::<Publication>(context, artifact)?.manifest.digest.0)))
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
        let manifest = record::<Publication>(context, artifact)?.manifest;
        registry::attach(&self.client(context)?, &manifest, &attachments)
    }

    /// Asks the registry what it has under the tag.
    fn materialize(&self, context: &StageContext, artifact: &Artifact) -> Result<Placement> {
        if context.settings.offline {
            return self.locate(context, artifact);
        }
        let expected = record::<Publication>(context, artifact)?.manifest.digest;
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
        let digest = record::<Publication>(context, artifact)?.manifest.digest;
        Ok(Placement::Present(self.to.at(digest).to_string().into()))
    }
}
