//! `snapshot`: freezes the disk of a machine under a name, so that clones can rest on it.

use crate::artifact::{Artifact, Made, Product};
use crate::error::Result;
use crate::machine::{Host, Replace, journal};
use crate::pipeline::{Fault, Fields};
use crate::recipe::Recipe;

use super::{Inputs, Kind, Parsed, Pin, Placed, Pool, Site, Stage, register};

/// The row of this kind.
pub const KIND: Kind = Kind { name: "snapshot", product: Product::Snapshot, read };

struct Snapshot {
    name: String,
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let from = fields.required_input("from", &[Product::Machine]);
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

    fn describe(&self, _site: &Site, recipe: &mut Recipe) -> Result<()> {
        recipe.value("name", &self.name);
        Ok(())
    }

    fn pool(&self) -> Pool {
        Pool::Hypervisor
    }

    fn run(&self, site: &Site, inputs: &Inputs, _pins: &[Pin]) -> Result<Made> {
        let machine = register::identity(site, inputs.get("from")?)?;
        let host = Host::of(site, Replace::Never);
        journal::recover(&host, &machine.driver, &machine.machine)?;
        let identity = machine.row()?.driver.snapshot(&host, &machine, &self.name)?;
        register::made(site, Product::Snapshot, &identity)
    }

    fn place(&self, site: &Site, artifact: &Artifact) -> Result<Placed> {
        register::place(site, artifact, Replace::Never)
    }

    fn look(&self, site: &Site, artifact: &Artifact) -> Result<Placed> {
        register::look(site, artifact, Replace::Never)
    }
}
