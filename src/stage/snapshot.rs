//! `snapshot`: freezes the disk of a machine under a name, so that clones can rest on it.

use crate::artifact::{Artifact, ArtifactKind, Output};
use crate::error::Result;
use crate::machine::{Driver, Replace, host_of, journal};
use crate::pipeline::{Fault, Fields};
use crate::recipe::Recipe;

use super::{Inputs, Kind, Parsed, Pin, Placement, Resource, Stage, StageContext, register};

/// The row of this kind.
pub const KIND: Kind = Kind { name: "snapshot", output: ArtifactKind::Snapshot, read };

struct Snapshot {
    name: String,
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let from = fields.required_input("from", &[ArtifactKind::Machine]);
    let name = fields.required_text("name");
    if let Some(name) = &name
        && !crate::machine::is_legal_name(&name.text)
    {
        let message = format!("{} cannot be a snapshot's name", name.shown());
        let hint = "a name is made of lower-case letters, digits and `-`";
        fields.fault(Fault::new(name.span.clone(), message).hint(hint));
    }
    Some(Parsed::one(vec![from?], Snapshot { name: name?.text }))
}

impl Stage for Snapshot {
    fn revision(&self) -> u32 {
        1
    }

    fn describe(&self, _context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        recipe.value("name", &self.name);
        Ok(())
    }

    fn resource(&self) -> Resource {
        Resource::Hypervisor
    }

    fn run(&self, context: &StageContext, inputs: &Inputs, _pins: &[Pin]) -> Result<Output> {
        let input = inputs.get("from")?;
        let machine = register::identity(context, input)?;
        let host = host_of(context, Replace::Never);
        journal::recover(&host, &machine.driver, &machine.machine)?;
        let identity = machine.row(&host)?.driver.snapshot(&host, &machine, &self.name)?;
        let grows = input.facts.machine().and_then(|machine| machine.grows.clone());
        register::made(context, ArtifactKind::Snapshot, &identity, grows)
    }

    fn materialize(&self, context: &StageContext, artifact: &Artifact) -> Result<Placement> {
        register::materialize(context, artifact, Replace::Never)
    }

    fn locate(&self, context: &StageContext, artifact: &Artifact) -> Result<Placement> {
        register::locate(context, artifact, Replace::Never)
    }
}
