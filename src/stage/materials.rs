//! What stages took from outside, in the words of provenance.

use super::Pin;
use crate::debian::{self, Distribution};
use crate::error::Result;
use crate::provenance::{Material, of_package};

/// The packages of these pins.
pub fn packages(distribution: &Distribution, pins: &[Pin]) -> Result<Vec<Material>> {
    let mut materials = Vec::new();
    for pin in pins {
        materials.extend(debian::packages(pin)?.iter().map(|package| {
            let debian::Package { name, version, architecture, sha256, .. } = package;
            of_package(distribution.name, name, version, architecture, *sha256)
        }));
    }
    Ok(materials)
}
