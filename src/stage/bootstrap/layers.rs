//! `bootstrap` with `layers`: the tree of a system that a live medium of Ubuntu installs, from the
//! layers on the medium. Nothing is taken from a mirror, so it has no pins; its facts are read from
//! the layers.

use super::super::import::{made, usable};
use super::super::{Inputs, Parsed, Pin, Stage, StageContext};
use crate::archive::extract;
use crate::artifact::{ArtifactKind, Output};
use crate::error::{Context, Result};
use crate::format::install_sources::choose;
use crate::import::Options;
use crate::import::live::{self, LiveMedium};
use crate::pipeline::{Fault, Fields};
use crate::recipe::Recipe;
use crate::units::Bytes;

/// Raised when the same medium gives another tar.
const REVISION: u32 = 1;
/// The word for whatever the medium has as its default.
const DEFAULT: &str = "default";
/// The kinds of artifact that may be a medium.
const MEDIA: &[ArtifactKind] = &[ArtifactKind::File, ArtifactKind::Directory];

/// Keys that are about a mirror, and what to do instead.
const OF_A_MIRROR: [(&str, &str); 7] = [
    ("distribution", "the layers say whose they are"),
    ("suite", "the layers say what suite they are of"),
    ("components", "say it in the `customise` that installs further packages"),
    ("packages", "let a `customise` behind this stage install further packages"),
    ("mirror", "say it in the `customise` that installs further packages"),
    ("keyring", "say it in the `customise` that installs further packages"),
    ("variant", "leave it out"),
];

struct Layers {
    /// The source; `None`: the medium's default.
    selected: Option<String>,
    limit: Bytes,
}

/// Reads the table of a stage that has `layers`.
pub fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let from = fields.required_input("from", MEDIA);
    let layers = fields.required_text("layers");
    let limit = fields.size("limit");
    let limit = usable(fields, limit);
    if let Some(layers) = &layers
        && layers.text.is_empty()
    {
        let fault = Fault::new(layers.span.clone(), "`layers` is empty");
        fields.fault(fault.hint("name one of the medium's sources, or write \"default\""));
    }
    for (key, hint) in OF_A_MIRROR {
        // `has` marks the key as known, so that it is not reported a second time.
        if fields.has(key)
            && let (Some(here), Some(there)) = (fields.key_span(key), fields.key_span("layers"))
        {
            let fault = Fault::new(here, format!("`{key}` and `layers` exclude each other"));
            fields.fault(fault.also(there, "the other one").hint(hint));
        }
    }
    let selected = layers?.text;
    let selected = (selected != DEFAULT).then_some(selected);
    Some(Parsed::one(vec![from?], Layers { selected, limit }))
}

impl Stage for Layers {
    fn revision(&self) -> u32 {
        REVISION
    }

    /// Without `limit`: what it lets pass is the same.
    fn describe(&self, _context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        recipe.value("layers", self.selected.as_deref().unwrap_or(DEFAULT));
        Ok(())
    }

    /// The size that the medium declares for the system; for a directory, its own size.
    fn need(&self, context: &StageContext, inputs: &Inputs) -> u64 {
        let Ok(input) = inputs.get("from") else { return 0 };
        if input.kind == ArtifactKind::Directory {
            return input.size;
        }
        let selected = self.selected.as_deref();
        let offers =
            LiveMedium::open(&context.object(input)).and_then(|mut medium| medium.offers());
        let offer = offers.ok().and_then(|offers| Some(choose(&offers, selected).ok()?.clone()));
        offer.and_then(|offer| offer.size).map_or(0, |size| size.0)
    }

    fn run(&self, context: &StageContext, inputs: &Inputs, _pins: &[Pin]) -> Result<Output> {
        let input = inputs.get("from")?;
        let mut path = context.object(input);
        if input.kind == ArtifactKind::Directory {
            let directory = context.scratch("medium");
            extract::extract(&path, &directory, &context.cancel)?;
            path = directory;
        }
        let file = context.scratch("tree.tar");
        let options = Options {
            epoch: context.settings.epoch,
            limit: self.limit,
            cancel: &context.cancel,
            report: &|done| (context.progress)(done, 0, "B"),
        };
        let imported = LiveMedium::open(&path)
            .and_then(|mut medium| {
                live::import(&mut medium, self.selected.as_deref(), &file, &options)
            })
            .context("reading the medium")?;
        made(context, file, imported)
    }
}
