//! The sidecar files of an export: its SBOMs and its provenance. They are not part of the export's
//! bytes, so they are not in its recipe.

use std::path::Path;

use crate::pipeline::Fields;
use crate::provenance::{Provenance, SbomFormat, Sidecars};

/// The keys `sbom` and `provenance` of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarOptions {
    sboms: Vec<SbomFormat>,
    provenance: Provenance,
}

/// All sidecar files.
impl Default for SidecarOptions {
    fn default() -> SidecarOptions {
        SidecarOptions { sboms: SbomFormat::ALL.to_vec(), provenance: Provenance::Write }
    }
}

impl SidecarOptions {
    /// Reads both keys.
    pub fn read(fields: &mut Fields<'_>) -> SidecarOptions {
        let words = SbomFormat::ALL.map(SbomFormat::word);
        let sboms = match fields.raw("sbom") {
            Some(_) => {
                let chosen = fields.choices("sbom", &words);
                let wanted =
                    |format: &SbomFormat| chosen.iter().any(|word| word.value == format.word());
                SbomFormat::ALL.into_iter().filter(wanted).collect()
            }
            None => SbomFormat::ALL.to_vec(),
        };
        let provenance = match fields.boolean("provenance", true) {
            true => Provenance::Write,
            false => Provenance::Omit,
        };
        SidecarOptions { sboms, provenance }
    }

    /// The sidecar files of the export `name` in `directory`.
    pub fn of(&self, directory: &Path, name: String) -> Sidecars {
        let SidecarOptions { sboms, provenance } = self.clone();
        Sidecars { directory: directory.to_path_buf(), name, sboms, provenance }
    }
}
