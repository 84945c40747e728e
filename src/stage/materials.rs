//! The packages of pins as materials of provenance.

use super::Pin;
use crate::debian::{self, Distribution};
use crate::error::Result;
use crate::provenance::Material;

/// The packages of these pins.
pub fn packages(distribution: &Distribution, pins: &[Pin]) -> Result<Vec<Material>> {
    let mut materials = Vec::new();
    for pin in pins {
        materials.extend(debian::packages(pin)?.iter().map(|package| {
            let debian::Package { name, version, architecture, sha256, .. } = package;
            Material::of_package(distribution.name, name, version, architecture, *sha256)
        }));
    }
    Ok(materials)
}
