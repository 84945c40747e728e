//! What lies beside an export: its bills of materials and its provenance. None of it is in the
//! export's bytes, so none of this is in its recipe.

use std::path::Path;

use crate::pipeline::Fields;
use crate::provenance::{SbomFormat, Sidecars, Told};

/// What a pipeline wants beside an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    bills: Vec<SbomFormat>,
    provenance: Told,
}

/// Everything.
impl Default for Beside {
    fn default() -> Beside {
        Beside { bills: SbomFormat::ALL.to_vec(), provenance: Told::Yes }
    }
}

impl Beside {
    /// Reads `sbom` and `provenance`.
    pub fn read(fields: &mut Fields<'_>) -> Beside {
        let words = SbomFormat::ALL.map(SbomFormat::word);
        let bills = match fields.raw("sbom") {
            Some(_) => {
                let chosen = fields.choices("sbom", &words);
                let wanted =
                    |language: &SbomFormat| chosen.iter().any(|word| word.value == language.word());
                SbomFormat::ALL.into_iter().filter(wanted).collect()
            }
            None => SbomFormat::ALL.to_vec(),
        };
        let provenance = match fields.boolean("provenance", true) {
            true => Told::Yes,
            false => Told::No,
        };
        Beside { bills, provenance }
    }

    /// What lies beside `name` in `directory`.
    pub fn papers(&self, directory: &Path, name: String) -> Sidecars {
        let Beside { bills, provenance } = self.clone();
        Sidecars { directory: directory.to_path_buf(), name, bills, provenance }
    }
}
