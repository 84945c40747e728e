//! `import`: a disk image of others, whatever its format, as a tree that `customise` and `disk` take
//! like any other. Eats the image as a file, a disk or an export, or a folder with one image in it.

use crate::archive::extract;
use crate::artifact::{Made, Product};
use crate::error::{Context, Result};
use crate::import::{self, Beside, Options};
use crate::pipeline::{Fault, Fields};
use crate::recipe::Recipe;
use crate::units::Bytes;

use super::{Inputs, Kind, Parsed, Pin, Site, Stage};

/// The row of the table of kinds.
pub const KIND: Kind = Kind { name: "import", product: Product::Tree, read };

/// Raised when the same image gives another tar.
const REVISION: u32 = 1;

/// What a system's files may be together unless the user says otherwise.
const LIMIT: Bytes = Bytes::gib(64);

/// What may hold an image.
const PRODUCTS: &[Product] = &[Product::File, Product::Folder, Product::Disk, Product::Export];

struct Import {
    root: Option<String>,
    limit: Bytes,
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let from = fields.required_input("from", PRODUCTS);
    let root = fields.text("root").map(|root| root.text);
    let limit = fields.size("limit");
    if let Some(limit) = &limit
        && limit.value == Bytes(0)
    {
        let fault = Fault::new(limit.span.clone(), "a `limit` of nothing");
        fields.fault(fault.hint("say how much the system's files may be, such as \"100 GiB\""));
    }
    let limit = limit.map_or(LIMIT, |limit| limit.value);
    Some(Parsed::one(vec![from?], Import { root, limit }))
}

impl Stage for Import {
    fn revision(&self) -> u32 {
        REVISION
    }

    /// Without `limit`: what it lets pass is the same.
    fn describe(&self, _site: &Site, recipe: &mut Recipe) -> Result<()> {
        recipe.optional("root", self.root.as_ref());
        Ok(())
    }

    fn run(&self, site: &Site, inputs: &Inputs, _pins: &[Pin]) -> Result<Made> {
        let input = inputs.get("from")?;
        let object = site.object(input);
        let (path, beside) = match input.product {
            Product::Folder => {
                let folder = site.scratch("folder");
                extract::extract(&object, &folder, &site.cancel)?;
                (import::pick(&folder)?, Beside::Folder)
            }
            _ => (object, Beside::Nothing),
        };
        let image = import::open(&path, beside)?;
        let file = site.scratch("tree.tar");
        let options = Options {
            epoch: site.settings.epoch,
            limit: self.limit,
            cancel: &site.cancel,
            told: &|done| (site.progress)(done, 0, "B"),
        };
        let imported = import::import(&image, self.root.as_deref(), &file, &options)?;
        let notes = imported.notes.join("\n") + "\n";
        append(&site.log, &notes).context("writing the log")?;
        Ok(Made::hashed(Product::Tree, file, imported.digest, imported.size))
    }
}

fn append(log: &std::path::Path, text: &str) -> Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::options().create(true).append(true).open(log)?;
    Ok(file.write_all(text.as_bytes())?)
}
