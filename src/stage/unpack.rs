//! `unpack`: unpacks an archive of any format. Input: file. Output: directory.

use super::{Inputs, Kind, Parsed, Pin, Stage, StageContext};
use crate::archive::{self, Options, magic::Format};
use crate::artifact::{ArtifactKind, Output};
use crate::error::{Context, Result};
use crate::pipeline::{Fault, Fields};
use crate::recipe::Recipe;
use crate::units::Bytes;

/// Raised when the same archive gives another tar.
const REVISION: u32 = 1;

/// The row of the table of kinds.
pub const KIND: Kind = Kind { name: "unpack", output: ArtifactKind::Directory, read };

/// How many times larger a compressed archive's content is taken to be when free space is checked.
const GROWTH: u64 = 4;

struct Unpack {
    limit: Option<Bytes>,
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let from = fields.required_input("from", &[ArtifactKind::File]);
    let limit = fields.size("limit");
    if let Some(limit) = &limit
        && limit.value == Bytes(0)
    {
        let fault = Fault::new(limit.span.clone(), "a `limit` of nothing");
        fields.fault(fault.hint("say how much the archive may hold, such as \"100 GiB\""));
    }
    Some(Parsed::one(vec![from?], Unpack { limit: limit.map(|limit| limit.value) }))
}

impl Stage for Unpack {
    fn revision(&self) -> u32 {
        REVISION
    }

    /// Without `limit`: what it lets pass is the same.
    fn describe(&self, _context: &StageContext, _recipe: &mut Recipe) -> Result<()> {
        Ok(())
    }

    /// What it holds, once aside and once as the result.
    fn need(&self, context: &StageContext, inputs: &Inputs) -> u64 {
        let Ok(archive) = inputs.get("from") else { return 0 };
        let format = std::fs::File::open(context.object(archive))
            .and_then(|file| archive::magic::of_file(&file));
        match format {
            Ok(Some(Format::Tar)) => archive.size * 2,
            _ => archive.size.saturating_mul(2 * GROWTH),
        }
    }

    fn run(&self, context: &StageContext, inputs: &Inputs, _pins: &[Pin]) -> Result<Output> {
        let archive = context.object(inputs.get("from")?);
        let file = context.scratch("directory.tar");
        let options = Options {
            limit: self.limit,
            threads: context.settings.jobs,
            epoch: context.settings.epoch,
            work: &context.work,
            cancel: &context.cancel,
            report: &|done, total| (context.progress)(done, total, "B"),
        };
        let unpacked =
            archive::unpack(&archive, &file, &options).context("unpacking the archive")?;
        Ok(Output::hashed(ArtifactKind::Directory, file, unpacked.digest, unpacked.size.0))
    }
}
