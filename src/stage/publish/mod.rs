//! `publish`: an export to where others get it: a container image to a registry ([`registry`]), any file to an
//! object store ([`store`]). Input: an export. Output: a record of where it is. What is there is asked for in
//! each build, and nothing is sent that is.

use serde::de::DeserializeOwned;

use super::export::SidecarOptions;
use super::import::read_transport;
use super::{Kind, Parsed, StageContext};
use crate::artifact::{Artifact, ArtifactKind};
use crate::error::{Context, Result};
use crate::pipeline::{Fault, Fields};
use crate::registry::{Reference, Transport};
use crate::remote::STORES;

mod registry;
mod store;

use registry::ToRegistry;
use store::ToStore;

/// The row of the table of kinds.
pub const KIND: Kind = Kind { name: "publish", output: ArtifactKind::Publication, read };

/// The tag where the address has none, as everywhere.
const LATEST: &str = "latest";

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let from = fields.required_input("from", &[ArtifactKind::Export]);
    let documents = SidecarOptions::read(fields);
    let to = fields.require("to").text("to");
    let transport = read_transport(fields);
    let scheme = |text: &str| text.split_once("://").map(|(scheme, _)| scheme.to_string());
    match to.as_ref().and_then(|to| scheme(&to.text)) {
        Some(scheme) if STORES.contains(&scheme.as_str()) => {
            if transport == Transport::Plain
                && let Some(span) = fields.key_span("plain-http")
            {
                let fault = Fault::new(span, "`plain-http` is for registries alone");
                fields.fault(fault.hint("the environment gives the address of an object store"));
            }
            let to = to?;
            let Some(store) = ToStore::at(&to.text, documents) else {
                let message = format!("{} is not the address of a file", to.shown());
                let hint = format!("write `{scheme}://BUCKET/DIRECTORY/FILE`");
                fields.fault(Fault::new(to.span, message).hint(hint));
                return None;
            };
            Some(Parsed::one(vec![from?], store))
        }
        _ => {
            let to = fields.parsed::<Reference>("to", "an address in a registry or a store")?;
            if to.value.digest.is_some() {
                let fault = Fault::new(to.span.clone(), "`to` has a digest");
                fields.fault(fault.hint("the image has the digest that it has; write a tag"));
            }
            let mut to = to.value;
            let tag = to.tag.get_or_insert_with(|| LATEST.to_string()).clone();
            Some(Parsed::one(vec![from?], ToRegistry { to, tag, transport, documents }))
        }
    }
}

/// What the cache has of a publication.
fn record<T: DeserializeOwned>(context: &StageContext, artifact: &Artifact) -> Result<T> {
    let path = context.object(artifact);
    let what = || format!("reading {}", path.display());
    serde_json::from_slice(&std::fs::read(&path).with_context(what)?).with_context(what)
}
